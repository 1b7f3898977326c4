//! Savepoints: a checkpoint as a root of its own, whole and relocatable.
//!
//! A savepoint is a state root like any other: a ledger with one complete entry, and the objects it names under the names
//! they had. Names are relative to the root, so it may be moved, and everything that reads checkpoints reads it as it is. A
//! job goes on in it (`--state`), or is begun from it elsewhere (`--restore`), any number of times.
//!
//! ```text
//!   origin                                      savepoint
//!   ledger/…07 (checkpoint 5)                   ledger/…01  claim: begun from checkpoint 5 of the origin
//!   state/00000001/0/3.sst          ── copy ──► state/00000001/0/3.sst
//!   state/00000002/0/1.sst          ── copy ──► state/00000002/0/1.sst
//!                                               ledger/…02  complete: checkpoint 5     (last: now it exists)
//! ```
//!
//! **Invariants**: it exists whole or not at all. An interrupted one is a root with nothing but a claim, and is done again by
//! the same command; two at once are fenced from one another by their claims. What makers that were interrupted have left is
//! deleted: before there is an entry only what nobody writes any more, the own files of makers with earlier claims, and not
//! copies, which a maker with a later claim writes under the same names; those once the entry is there, since nobody has a
//! later claim then.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, HashSet, IoRuntime, Result};
use alluvium_state_api::{CANONICAL, CheckpointId, FileRef, RestoredPart, StateEntries};

use futures_util::TryStreamExt;

use crate::canonical::{self, Folder};
use crate::ledger::{Appended, Begin, Entry, EntryKind, Ledger, Looked};
use crate::metadata::CheckpointMetadata;
use crate::objects::{Objects, Undeleted};
use crate::origin::OriginRecord;
use crate::pages::PageReader;
use crate::probe;
use crate::sweep::incarnation_of;
use crate::transfer::Transfer;

/// A savepoint to be made.
pub struct SavepointRequest<'a> {
    /// From the state's root to the savepoint's.
    pub transfer: Transfer,
    /// The state's URL, for messages and the ledger: without secrets.
    pub url: String,
    /// Which of the retained checkpoints; the latest without.
    pub checkpoint: Option<CheckpointId>,
    /// Told the size of each object that was copied.
    pub copied: &'a (dyn Fn(u64) + Send + Sync),
}

/// A savepoint that was made.
#[derive(Clone, Debug)]
pub struct Savepoint {
    /// What it holds.
    pub checkpoint: CheckpointMetadata,
    /// Objects that it needs.
    pub objects: u64,
    /// What they take.
    pub bytes: u64,
}

/// Makes a savepoint of a retained checkpoint. Blocks; not for the I/O runtime's own threads.
///
/// # Errors
/// `Invalid` if there is no such checkpoint, or something else is in the savepoint's root; `Corruption` names an object that
/// is missing or damaged, or was dropped meanwhile by its job; `Fenced` if another makes a savepoint there at this moment;
/// `Unavailable` or `Invalid` from the stores.
pub fn create_savepoint(
    request: &SavepointRequest<'_>,
    io: &IoRuntime,
    entropy: &Entropy,
) -> Result<Savepoint> {
    io.block_on(create(request, entropy.next_u64()))
}

/// What gives the entries of one subtask's part of a checkpoint, whichever backend wrote it.
pub type OpenEntries<'a> = dyn Fn(&RestoredPart) -> Result<Box<dyn StateEntries>> + 'a;

/// Makes a canonical savepoint of a retained checkpoint: one that every backend can restore. Blocks; not for the I/O
/// runtime's own threads.
///
/// # Errors
/// As [`create_savepoint`], and what `open` and the entries fail with.
pub fn create_canonical_savepoint(
    request: &SavepointRequest<'_>,
    open: &OpenEntries<'_>,
    io: &IoRuntime,
    entropy: &Entropy,
) -> Result<Savepoint> {
    let (mut metadata, begun) = io.block_on(begin(request, entropy.next_u64()))?;
    io.block_on(begun.clear())?;
    let clearing = begun.clone();
    let store = &request.transfer.to;
    let prefix = format!("state/{:08}/canonical", begun.claim.writer.incarnation);
    let mut folder = Folder { store, io, prefix: &prefix, files: 0 };
    for subtask in &mut metadata.subtasks {
        let part = RestoredPart {
            key_groups: subtask.key_groups,
            backend: subtask.backend.clone(),
            payload: subtask.payload.clone(),
        };
        let mut entries = open(&part)?;
        let payload = canonical::write(entries.as_mut(), &mut folder, request.copied)?;
        CANONICAL.clone_into(&mut subtask.backend);
        subtask.files = payload.files.iter().map(|file| file.file.clone()).collect();
        subtask.pages.clear();
        subtask.payload = payload.encode().into();
    }
    let objects = distinct(&metadata);
    let savepoint = io.block_on(begun.complete(metadata, &objects))?;
    // It exists: what of this fails costs bytes.
    let _ = io.block_on(clearing.clear_copies());
    Ok(savepoint)
}

async fn create(request: &SavepointRequest<'_>, token: u64) -> Result<Savepoint> {
    let (metadata, begun) = begin(request, token).await?;
    begun.clear().await?;
    let objects = PageReader::new(Arc::clone(&request.transfer.from)).objects_of(&metadata).await?;
    request.transfer.copy_all(&objects, &|file| (request.copied)(file.size_bytes)).await?;
    begun.complete(metadata, &objects).await
}

/// A savepoint without an entry.
#[derive(Clone)]
struct Begun {
    objects: Objects,
    ledger: Ledger,
    claim: Entry,
    origin: OriginRecord,
}

/// Claims the savepoint's root.
async fn begin(request: &SavepointRequest<'_>, token: u64) -> Result<(CheckpointMetadata, Begun)> {
    let Transfer { from, to, .. } = &request.transfer;
    let Looked { metadata, origin } =
        Ledger::new(Objects::new(Arc::clone(from))).look_at(request.checkpoint, &request.url).await?;
    let objects = Objects::new(Arc::clone(to));
    let ledger = Ledger::new(objects.clone());
    let claim = ledger.claim(token, &Begin::From(origin.clone())).await?.claim;
    probe::conditional_create(&objects, &claim).await?;
    Ok((metadata, Begun { objects, ledger, claim, origin }))
}

impl Begun {
    /// Deletes the own files of interrupted makers: their names are not given again, and nobody sweeps a savepoint.
    async fn clear(&self) -> Result<()> {
        let own = self.claim.writer.incarnation;
        self.delete(|writer| writer < own && !self.origin.can_name(writer)).await
    }

    /// Deletes what interrupted makers have copied, behind an entry that names no copies.
    async fn clear_copies(&self) -> Result<()> {
        self.delete(|writer| self.origin.can_name(writer)).await
    }

    async fn delete(&self, is_left: impl Fn(u64) -> bool) -> Result<()> {
        if self.claim.sequence == 1 {
            return Ok(());
        }
        let mut left = self.objects.list("state").try_collect::<Vec<_>>().await?;
        left.retain(|name| incarnation_of("state", name).is_some_and(&is_left));
        let Undeleted { names, why } = self.objects.delete_all(left).await;
        match (names.first(), why) {
            (None, _) => Ok(()),
            (Some(name), why) => {
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                Err(Error::unavailable(format!(
                    "{name} is left of an attempt that was interrupted, and cannot be deleted{why}; try again"
                )))
            }
        }
    }

    /// Writes the entry: all that it needs is there.
    async fn complete(self, metadata: CheckpointMetadata, objects: &[FileRef]) -> Result<Savepoint> {
        let Self { ledger, claim: Entry { sequence, writer, .. }, .. } = self;
        let metadata = CheckpointMetadata { incarnation: writer.incarnation, ..metadata };
        let sequence = sequence + 1;
        let (retained, dropped) = (vec![sequence], Vec::new());
        let kind = EntryKind::Complete(Box::new(metadata.clone()));
        let entry = Entry { sequence, writer, retained, dropped, origin: None, kind };
        match ledger.append(&entry).await? {
            Appended::Ours(_) => {}
            Appended::Taken(other) => return Err(ledger.fenced_by(&other, writer.incarnation)),
        }
        let bytes = objects.iter().map(|file| file.size_bytes).sum();
        Ok(Savepoint { checkpoint: metadata, objects: objects.len() as u64, bytes })
    }
}

/// Every object of a checkpoint without pages, once.
fn distinct(metadata: &CheckpointMetadata) -> Vec<FileRef> {
    let mut seen = HashSet::default();
    metadata.files().filter(|file| seen.insert(file.name.as_str())).cloned().collect()
}

/// The error for a root that a savepoint, or a state begun from one, cannot be put into.
pub(crate) fn not_empty(store: &str, what: &str) -> Error {
    Error::invalid(format!("{store} {what}; choose an empty folder or prefix"))
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::{StoredEntry, StoredState, StoredStates};
    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    use super::*;
    use crate::ledger::Writer;
    use crate::ledger::tests::complete;
    use crate::retained::RetainedCheckpoints;

    const FILE: &str = "state/00000001/0/1.sst";
    const COPY: &str = "state/00000001/0/2.sst";

    /// A root with one checkpoint of one file.
    async fn original() -> Arc<dyn ObjectStore> {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let objects = Objects::new(Arc::clone(&store));
        objects.create(FILE, "bytes".into()).await.unwrap();
        let ledger = Ledger::new(objects);
        let writer: Writer = ledger.claim(7, &Begin::Here).await.unwrap().claim.writer;
        let mut entry = complete(2, writer, 1, &[2]);
        let EntryKind::Complete(metadata) = &mut entry.kind else { panic!("a checkpoint") };
        metadata.subtasks[0].backend = "toy".into();
        metadata.subtasks[0].files.push(FileRef { name: FILE.into(), size_bytes: 5 });
        assert!(matches!(ledger.append(&entry).await.unwrap(), Appended::Ours(_)));
        store
    }

    fn request<'a>(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>) -> SavepointRequest<'a> {
        let transfer = Transfer { from: Arc::clone(from), to: Arc::clone(to), shared: None };
        SavepointRequest { transfer, url: "mem:///state".into(), checkpoint: None, copied: &|_| () }
    }

    async fn names(store: &Arc<dyn ObjectStore>) -> Vec<String> {
        let mut names: Vec<String> =
            Objects::new(Arc::clone(store)).list("state").try_collect().await.unwrap();
        names.sort();
        names
    }

    struct NoEntries(StoredStates);

    impl StateEntries for NoEntries {
        fn states(&self) -> &StoredStates {
            &self.0
        }

        fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
            Ok(None)
        }
    }

    #[test]
    fn a_maker_that_was_fenced_deletes_nothing_of_the_one_that_made_it() {
        let io = IoRuntime::new(1).unwrap();
        io.block_on(async {
            let (from, to) = (original().await, Arc::new(InMemory::new()) as Arc<dyn ObjectStore>);
            let request = request(&from, &to);
            // One is interrupted, so that the next has something to clear; that is overtaken before it does.
            let (_, interrupted) = begin(&request, 1).await.unwrap();
            let left = format!("state/{:08}/canonical/1", interrupted.claim.writer.incarnation);
            interrupted.objects.create(&left, "x".into()).await.unwrap();
            let (metadata, fenced) = begin(&request, 2).await.unwrap();
            create(&request, 3).await.unwrap();
            let own = format!("state/{:08}/canonical/1", fenced.claim.writer.incarnation + 2);
            fenced.objects.create(&own, "of a job that goes on in it".into()).await.unwrap();
            fenced.clear().await.unwrap();
            assert_eq!(names(&to).await, [FILE, own.as_str()], "the first one's goes, and nothing else");
            let error = fenced.complete(metadata, &[]).await.unwrap_err();
            assert_eq!(error.kind(), alluvium_env::ErrorKind::Fenced);
        });
    }

    #[test]
    fn makers_of_either_kind_leave_nothing_of_those_that_were_interrupted() {
        let io = IoRuntime::new(1).unwrap();
        let from = io.block_on(original());
        for canonical in [false, true] {
            let to: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let request = request(&from, &to);
            io.block_on(async {
                let (_, interrupted) = begin(&request, 1).await.unwrap();
                let own = format!("state/{:08}/canonical/1", interrupted.claim.writer.incarnation);
                for name in [FILE, own.as_str()].into_iter().chain(canonical.then_some(COPY)) {
                    interrupted.objects.create(name, "bytes".into()).await.unwrap();
                }
            });
            let entropy = Entropy::from_seed(5);
            if canonical {
                let state = StoredState { name: "none".into(), kind: "value".into(), ..Default::default() };
                let states = StoredStates { time_millis: 0, states: vec![state] };
                let open =
                    |_: &RestoredPart| Ok(Box::new(NoEntries(states.clone())) as Box<dyn StateEntries>);
                create_canonical_savepoint(&request, &open, &io, &entropy).unwrap();
            } else {
                create_savepoint(&request, &io, &entropy).unwrap();
            }
            let read = RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap();
            let named: Vec<String> =
                read.all().iter().flat_map(CheckpointMetadata::files).map(|file| file.name.clone()).collect();
            assert_eq!(io.block_on(names(&to)), named, "canonical: {canonical}");
        }
    }
}
