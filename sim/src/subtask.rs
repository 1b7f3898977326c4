//! A subtask of the simulated job: aligned barriers, records that are kept as inputs, uploads and compactions beside it.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use alluvium_checkpoint::{Origin, SubtaskAck};
use alluvium_env::{Error, Result};
use alluvium_state_api::{CheckpointId, FileRef, KeyGroupRange, ManifestPage, SubtaskSnapshot};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use crate::backend::{Backend, Compaction, Description, Held, Part, Taken, refs};
use crate::job::{BACKEND, Counts, add, encode};
use crate::network::{Message, Network};
use crate::page::Page;
use crate::store::ProcessStore;

/// Tries of a request, as a backend has them.
const TRIES: u32 = 3;

/// What comes through a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mail {
    Record(u16),
    Barrier(CheckpointId),
}

/// One subtask.
pub(crate) struct Subtask {
    pub(crate) index: usize,
    pub(crate) key_groups: KeyGroupRange,
    pub(crate) backend: Rc<RefCell<Backend>>,
    pub(crate) store: ProcessStore,
    /// Where the state was begun from, if that was another root.
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) network: Network,
    /// Records that have been admitted and have done nothing yet.
    pub(crate) inputs: VecDeque<u16>,
    pub(crate) compacts: Rc<std::cell::Cell<bool>>,
}

impl Subtask {
    /// Works until it is dropped: mail of `sources` lanes comes through one inbox.
    pub(crate) async fn run(mut self, mut inbox: UnboundedReceiver<(usize, Mail)>, sources: usize) {
        let mut held_back: Vec<VecDeque<Mail>> = vec![VecDeque::new(); sources];
        let mut at_barrier: Vec<bool> = vec![false; sources];
        while let Some((lane, mail)) = inbox.recv().await {
            if let Some(waiting) = held_back.get_mut(lane) {
                waiting.push_back(mail);
            }
            loop {
                let open = (0..sources).find(|lane| {
                    !at_barrier.get(*lane).copied().unwrap_or(true)
                        && held_back.get(*lane).is_some_and(|waiting| !waiting.is_empty())
                });
                let Some(lane) = open else { break };
                match held_back.get_mut(lane).and_then(VecDeque::pop_front) {
                    Some(Mail::Record(group)) => self.record(group),
                    Some(Mail::Barrier(id)) => {
                        if let Some(slot) = at_barrier.get_mut(lane) {
                            *slot = true;
                        }
                        if at_barrier.iter().all(|at| *at) {
                            self.barrier(id);
                            at_barrier.fill(false);
                        }
                    }
                    None => break,
                }
            }
        }
    }

    fn record(&mut self, group: u16) {
        let random = &self.store.world.random;
        self.inputs.push_back(group);
        let stays = random.below(4) as usize;
        while self.inputs.len() > stays {
            self.inputs.pop_front().into_iter().for_each(|group| self.backend.borrow_mut().add(group));
        }
    }

    fn barrier(&mut self, id: CheckpointId) {
        let taken = self.backend.borrow_mut().snapshot();
        let inputs = encode(self.inputs.iter().map(|group| u64::from(*group)));
        let answer = Answer {
            id,
            subtask: self.index,
            key_groups: self.key_groups,
            inputs,
            inputs_count: self.inputs.len() as u64,
        };
        tokio::task::spawn_local(upload(
            self.store.clone(),
            self.origin.clone(),
            self.network.clone(),
            taken,
            answer,
        ));
        if self.store.world.random.permille(300) && !self.compacts.replace(true) {
            let compaction = self.backend.borrow_mut().begin_compaction();
            match compaction {
                None => self.compacts.set(false),
                Some(compaction) => {
                    let (backend, compacts) = (Rc::clone(&self.backend), Rc::clone(&self.compacts));
                    let (store, origin) = (self.store.clone(), self.origin.clone());
                    tokio::task::spawn_local(async move {
                        if compact(&store, origin.as_deref(), &compaction).await.is_ok() {
                            backend.borrow_mut().end_compaction(compaction);
                        }
                        compacts.set(false);
                    });
                }
            }
        }
    }
}

/// What a subtask says of a snapshot besides its files.
struct Answer {
    id: CheckpointId,
    subtask: usize,
    key_groups: KeyGroupRange,
    inputs: Bytes,
    inputs_count: u64,
}

async fn upload(
    store: ProcessStore,
    origin: Option<Arc<Origin>>,
    network: Network,
    taken: Taken,
    answer: Answer,
) {
    let Taken { parts, pins, pages, uploads } = taken;
    let mut outcome = Ok(());
    for (name, content, uploaded) in uploads {
        outcome = outcome.and(write(&store, &name, &content).await.map(|()| uploaded.set(true)));
    }
    // What it names must be in its own root before it is complete.
    if let (Ok(()), Some(origin)) = (&outcome, origin) {
        outcome = origin.bring(&refs(&parts), &protocols(&pages)).await.map(|_| ());
    }
    network.send(|| {
        let ack = outcome.as_ref().map_err(Error::duplicate).map(|()| ack(&parts, (&pins, &pages), &answer));
        Message::Subtask { id: answer.id, subtask: answer.subtask, ack }
    });
}

/// As the protocol knows them.
fn protocols(pages: &[Arc<Page>]) -> Vec<Arc<dyn ManifestPage>> {
    pages.iter().map(|page| Arc::clone(page) as _).collect()
}

fn ack(parts: &[Part], (pins, pages): (&[Held], &[Arc<Page>]), answer: &Answer) -> SubtaskAck {
    let is_inline = |file: &FileRef| !pages.iter().any(|page| page.names(&file.name));
    let snapshot = SubtaskSnapshot {
        key_groups: answer.key_groups,
        backend: BACKEND,
        payload: Description::encode(parts, pages),
        files: refs(parts).into_iter().filter(is_inline).collect(),
        pages: protocols(pages),
        uploaded_bytes: 0,
        pins: Box::new((pins.to_vec(), pages.to_vec())),
    };
    let (inputs, inputs_count) = (answer.inputs.clone(), answer.inputs_count);
    SubtaskAck { snapshot, inputs, inputs_count, operator_states: Vec::new(), sync_micros: 0 }
}

async fn write(store: &ProcessStore, name: &str, content: &Bytes) -> Result<()> {
    let mut last = Error::internal("no try was made");
    for _ in 0..TRIES {
        match store.put(&Path::from(name), content.clone().into()).await {
            Ok(_) => return Ok(()),
            Err(error) => last = Error::unavailable(format!("{name} was not written")).with_source(error),
        }
        sleep(store.world.random.millis(1, 20)).await;
    }
    Err(last)
}

/// Reads parts, from where they are, and adds up what they hold.
///
/// # Errors
/// `Corruption` if one is not there, `Unavailable` if the store does not answer.
pub(crate) async fn read(store: &ProcessStore, origin: Option<&Origin>, parts: &[Part]) -> Result<Counts> {
    let mut counts = Counts::default();
    for part in parts {
        let mut content = Err(Error::internal("no try was made"));
        for _ in 0..TRIES * 2 {
            let path = Path::from(part.name.as_str());
            let read = async {
                match origin.filter(|origin| origin.holds(&part.name)) {
                    Some(origin) => origin.store().get(&path).await?.bytes().await,
                    None => store.get(&path).await?.bytes().await,
                }
            };
            content = read.await.map_err(|error| match error {
                object_store::Error::NotFound { .. } => Error::corruption(format!("{} is gone", part.name)),
                error => Error::unavailable(format!("{} was not read", part.name)).with_source(error),
            });
            if !content.as_ref().is_err_and(|error| error.kind() == alluvium_env::ErrorKind::Unavailable) {
                break;
            }
        }
        for (group, count) in part.counted(&content?) {
            add(&mut counts, group, count);
        }
    }
    Ok(counts)
}

async fn compact(store: &ProcessStore, origin: Option<&Origin>, compaction: &Compaction) -> Result<()> {
    let counts = read(store, origin, &compaction.inputs).await?;
    write(store, &compaction.output.name, &encode(counts)).await
}
