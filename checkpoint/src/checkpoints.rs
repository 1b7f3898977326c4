//! The checkpoints of one state URL, as the attempt that owns them sees them: ledger and registry in step.
//!
//! **Invariants**: a checkpoint's references are taken before its entry can exist and dropped after it certainly
//! does not count any more. An append whose answer was lost is *in doubt*: its references stay until the ledger
//! has shown what became of it, which it does at the next append, because both want the same number.
//!
//! **Threads**: owned by the coordinator, one call at a time; only [`CheckpointStore::open`] blocks.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_state_api::CheckpointId;
use object_store::ObjectStore;

use crate::ledger::{
    Appended, Begin, CLAIM_ATTEMPTS, Claimed, Entry, EntryKind, Ledger, Looked, Writer, name_of,
};
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
use crate::origin::{Origin, RestoreMode};
use crate::prospect::{Check, Prospect};
use crate::registry::SharedFileRegistry;
use crate::retained::by_id;
use crate::sweep::Former;
use crate::{probe, sweep};

/// The checkpoints of a state URL, owned by one attempt.
pub struct CheckpointStore {
    ledger: Ledger,
    io: IoRuntime,
    files: Arc<SharedFileRegistry>,
    writer: Writer,
    /// Where the next entry goes.
    next_sequence: u64,
    /// The checkpoints that count, oldest first.
    retained: Vec<Retained>,
    /// Entries that were handed to the deleter and may still be there.
    dropped: Vec<u64>,
    in_doubt: Vec<CheckpointId>,
    /// The state is begun from another root, and none of its own checkpoints is complete.
    has_origin: bool,
}

/// What the registry knows an origin's checkpoint by; own ones are numbered from 1. Its files stay in the own root, as far
/// as they were brought, until an own checkpoint says which are needed.
const ORIGIN: CheckpointId = CheckpointId(0);

#[derive(Clone, Copy)]
struct Retained {
    sequence: u64,
    id: CheckpointId,
}

/// A state URL that was taken over.
pub struct Opened {
    /// For the coordinator.
    pub checkpoints: CheckpointStore,
    /// This attempt: part of the name of every file it writes, `state/{incarnation:08}/…`.
    pub incarnation: u64,
    /// For the backends; what the retained checkpoints name is in it already.
    pub files: Arc<SharedFileRegistry>,
    /// What can be restored, oldest first.
    pub retained: Vec<CheckpointMetadata>,
    /// The origin's checkpoint, if it was opened from one ([`CheckpointStore::open_from`]).
    pub origin: Option<CheckpointMetadata>,
    /// What the state was begun from, for a message, as long as nothing of its own can be restored.
    pub begun_from: Option<String>,
}

impl Opened {
    /// The newest checkpoint.
    pub fn latest(&self) -> Option<&CheckpointMetadata> {
        self.retained.last()
    }

    /// A checkpoint by number.
    ///
    /// # Errors
    /// `Invalid` if it is not retained; says which are.
    pub fn checkpoint(&self, id: CheckpointId) -> Result<&CheckpointMetadata> {
        by_id(self.retained.iter(), id)
    }
}

impl CheckpointStore {
    /// Takes over the state below the root of `store`: reads the ledger, claims the next incarnation, probes the
    /// store and starts the sweep. Every former attempt is fenced from then on. Blocks; not for the I/O runtime's
    /// own threads.
    ///
    /// # Errors
    /// `Corruption` names the ledger object that is damaged; `Invalid` if a newer Alluvium wrote it, the store has
    /// no conditional put, or bucket or keys are wrong; `Fenced` if another attempt claims at this very moment;
    /// `Unavailable` if the store does not answer.
    pub fn open(store: Arc<dyn ObjectStore>, io: IoRuntime, entropy: &Entropy) -> Result<Opened> {
        io.clone().block_on(Self::take_over(store, io, entropy))
    }

    /// [`CheckpointStore::open`] for who must not block: a future of the I/O runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn take_over(store: Arc<dyn ObjectStore>, io: IoRuntime, entropy: &Entropy) -> Result<Opened> {
        Self::begin((store, io), entropy.next_u64(), (Begin::Here, None), &mut |_| Ok(())).await
    }

    /// [`CheckpointStore::open`], or [`CheckpointStore::open_from`] an origin, by somebody who takes it only if it fits: nothing is
    /// written, and nobody fenced, before `check` has seen what there is. Blocks; not for the I/O runtime's own threads.
    ///
    /// # Errors
    /// The same; what `check` says.
    pub fn open_checked(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        entropy: &Entropy,
        origin: Option<&Origin>,
        check: Check<'_>,
    ) -> Result<Opened> {
        io.clone().block_on(async {
            match origin {
                Some(origin) => Self::take_over_from_checked(store, io, entropy, origin, check).await,
                None => Self::begin((store, io), entropy.next_u64(), (Begin::Here, None), check).await,
            }
        })
    }

    /// Begins a state below the root of `store` from a checkpoint of another root: as [`CheckpointStore::open`], and in claim
    /// mode whoever owns the origin is fenced as well. Blocks; not for the I/O runtime's own threads.
    ///
    /// # Errors
    /// As [`CheckpointStore::open`], of either root; `Invalid` if the origin has no such checkpoint, or `store` holds
    /// anything but an earlier beginning from the same one.
    pub fn open_from(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        entropy: &Entropy,
        origin: &Origin,
    ) -> Result<Opened> {
        io.clone().block_on(Self::take_over_from(store, io, entropy, origin))
    }

    /// [`CheckpointStore::open_from`] for who must not block: a future of the I/O runtime.
    ///
    /// # Errors
    /// The same.
    pub async fn take_over_from(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        entropy: &Entropy,
        origin: &Origin,
    ) -> Result<Opened> {
        Self::take_over_from_checked(store, io, entropy, origin, &mut |_| Ok(())).await
    }

    async fn take_over_from_checked(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        entropy: &Entropy,
        origin: &Origin,
        check: Check<'_>,
    ) -> Result<Opened> {
        let Looked { metadata, origin: found } = match origin.mode {
            RestoreMode::NoClaim => Self::look_at(origin, check).await?,
            RestoreMode::Claim => {
                Self::claim(origin, &Objects::new(Arc::clone(&store)), entropy, check).await?
            }
        };
        let begin = Begin::From(found.clone());
        let there = (metadata, Objects::new(Arc::clone(&origin.transfer.from)));
        let begin = (begin, Some(there));
        let opened = Self::begin((store, io), entropy.next_u64(), begin, &mut |_| Ok(())).await?;
        origin.set_found(found)?;
        Ok(opened)
    }

    /// The origin's checkpoint, if it fits.
    async fn look_at(origin: &Origin, check: Check<'_>) -> Result<Looked> {
        let ledger = Ledger::new(Objects::new(Arc::clone(&origin.transfer.from)));
        let looked = ledger.look_at(origin.checkpoint, &origin.url).await?;
        check(&Prospect { origin: Some(&looked.metadata), ..Prospect::default() })?;
        Ok(looked)
    }

    /// The origin's checkpoint, as its owner. Whoever owned it is fenced by the last call, when nothing but an accident can
    /// keep the state from being begun in `own`.
    async fn claim(origin: &Origin, own: &Objects, entropy: &Entropy, check: Check<'_>) -> Result<Looked> {
        let ledger = Ledger::new(Objects::new(Arc::clone(&origin.transfer.from)));
        let mut again = 1..CLAIM_ATTEMPTS;
        loop {
            let mut looked = Self::look_at(origin, check).await?;
            Ledger::new(own.clone()).can_begin(&Begin::From(looked.origin.clone())).await?;
            probe::before_a_claim(own, entropy.next_u64()).await?;
            let (id, url) = (looked.metadata.id, &origin.url);
            let mut is_there = true;
            let mut is_retained = |prospect: &Prospect<'_>| {
                is_there = prospect.checkpoint(id).is_ok();
                let gone = || {
                    Error::unavailable(format!(
                        "checkpoint {id} was dropped by the job that runs on {url} before it could be claimed: take one that \
                         is retained now, or stop that job"
                    ))
                };
                if is_there { Ok(()) } else { Err(gone()) }
            };
            match ledger.claim_checked(entropy.next_u64(), &Begin::Here, &mut is_retained).await {
                Ok(claimed) => {
                    looked.origin.last_incarnation = claimed.claim.writer.incarnation;
                    return Ok(looked);
                }
                // The latest is another by now.
                Err(_) if !is_there && origin.checkpoint.is_none() && again.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn begin(
        (store, io): (Arc<dyn ObjectStore>, IoRuntime),
        token: u64,
        (begin, origin): (Begin, Option<(CheckpointMetadata, Objects)>),
        check: Check<'_>,
    ) -> Result<Opened> {
        let objects = Objects::new(store);
        let ledger = Ledger::new(objects.clone());
        let Claimed { claim, retained, leftovers } = ledger.claim_checked(token, &begin, check).await?;
        probe::conditional_create(&objects, &claim).await?;
        let files = SharedFileRegistry::new(objects.clone(), io.clone());
        if let Some((origin, objects)) = &origin {
            files.refer_restored(origin, ORIGIN, objects);
        }
        for (_, checkpoint) in &retained {
            files.refer_restored(checkpoint, checkpoint.id, &objects);
        }
        files.read_pages();
        files.delete(claim.dropped.iter().copied().map(name_of).chain(leftovers).collect());
        let incarnation = claim.writer.incarnation;
        let spares = claim.origin.clone().filter(|_| origin.is_none());
        sweep::start(&files, objects, Former { incarnation, spares });
        let checkpoints = Self {
            ledger,
            io,
            files: Arc::clone(&files),
            writer: claim.writer,
            next_sequence: claim.sequence + 1,
            retained: retained
                .iter()
                .map(|(sequence, c)| Retained { sequence: *sequence, id: c.id })
                .collect(),
            dropped: claim.dropped,
            in_doubt: Vec::new(),
            has_origin: origin.is_some(),
        };
        let retained = retained.into_iter().map(|(_, checkpoint)| checkpoint).collect();
        let begun_from = claim.origin.map(|origin| origin.to_string());
        let origin = origin.map(|(checkpoint, _)| checkpoint);
        Ok(Opened { checkpoints, incarnation, files, retained, origin, begun_from })
    }

    /// This attempt.
    pub fn incarnation(&self) -> u64 {
        self.writer.incarnation
    }

    /// The registry.
    pub fn files(&self) -> &Arc<SharedFileRegistry> {
        &self.files
    }

    /// Where its requests are made.
    pub(crate) fn io(&self) -> &IoRuntime {
        &self.io
    }

    /// The first number that no retained checkpoint has.
    pub(crate) fn next_id(&self) -> CheckpointId {
        CheckpointId(self.retained.iter().map(|retained| retained.id.0).max().unwrap_or(0) + 1)
    }

    /// Completes a checkpoint whose files the registry knows under its id; returns the size of its entry.
    ///
    /// # Errors
    /// `Fenced` if another incarnation took over. After any other error the checkpoint is in doubt, and the
    /// registry keeps its files until that is settled.
    pub(crate) async fn complete(&mut self, metadata: CheckpointMetadata, keep: usize) -> Result<u64> {
        let id = metadata.id;
        let kind = EntryKind::Complete(Box::new(metadata));
        let (retained, dropped) = (Vec::new(), Vec::new());
        let mut entry = Entry { sequence: 0, writer: self.writer, retained, dropped, origin: None, kind };
        loop {
            entry.sequence = self.next_sequence;
            let mut all: Vec<u64> = self.retained.iter().map(|retained| retained.sequence).collect();
            all.push(entry.sequence);
            entry.retained = all.split_off(all.len().saturating_sub(keep));
            self.dropped.retain(|sequence| self.files.is_to_be_deleted(&name_of(*sequence)));
            entry.dropped = self.dropped.iter().copied().chain(all).collect();
            match self.ledger.append(&entry).await {
                Ok(Appended::Ours(size_bytes)) => {
                    self.settle_doubts(id, keep);
                    return Ok(size_bytes);
                }
                Ok(Appended::Taken(other)) => match other.checkpoint() {
                    Some(earlier) if other.writer == self.writer && self.in_doubt.contains(&earlier) => {
                        self.settle_doubts(earlier, keep);
                    }
                    _ => return Err(self.ledger.fenced_by(&other, self.writer.incarnation)),
                },
                Err(error) => {
                    if !self.in_doubt.contains(&id) {
                        self.in_doubt.push(id);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// The next entry turned out to be `id`'s: it counts, and what else wanted its number never will.
    fn settle_doubts(&mut self, id: CheckpointId, keep: usize) {
        self.retained.push(Retained { sequence: self.next_sequence, id });
        self.next_sequence += 1;
        let beyond = self.retained.len().saturating_sub(keep);
        let dropped: Vec<Retained> = self.retained.drain(..beyond).collect();
        self.dropped.extend(dropped.iter().map(|retained| retained.sequence));
        self.files.delete(dropped.iter().map(|retained| name_of(retained.sequence)).collect());
        let refused = std::mem::take(&mut self.in_doubt).into_iter().filter(|other| *other != id);
        for gone in refused.chain(dropped.iter().map(|retained| retained.id)) {
            self.files.forget(gone);
        }
        if std::mem::take(&mut self.has_origin) {
            self.files.forget(ORIGIN);
        }
        self.files.retry();
    }
}
