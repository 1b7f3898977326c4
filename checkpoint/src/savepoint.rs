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
//! the same command, which first deletes what it would not write anew; two at once are fenced from one another by their claims.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, HashSet, IoRuntime, Result};
use alluvium_state_api::{CANONICAL, CheckpointId, FileRef, RestoredPart, StateEntries};

use futures_util::TryStreamExt;

use crate::canonical::{self, Folder};
use crate::ledger::{Appended, Begin, Entry, EntryKind, Ledger, Looked};
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
use crate::pages::PageReader;
use crate::probe;
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
    io.block_on(begun.complete(metadata, &objects))
}

async fn create(request: &SavepointRequest<'_>, token: u64) -> Result<Savepoint> {
    let (metadata, begun) = begin(request, token).await?;
    let objects = PageReader::new(Arc::clone(&request.transfer.from)).objects_of(&metadata).await?;
    request.transfer.copy_all(&objects, &|file| (request.copied)(file.size_bytes)).await?;
    begun.complete(metadata, &objects).await
}

/// A savepoint without an entry.
struct Begun {
    objects: Objects,
    ledger: Ledger,
    claim: Entry,
}

/// Claims the savepoint's root.
async fn begin(request: &SavepointRequest<'_>, token: u64) -> Result<(CheckpointMetadata, Begun)> {
    let Transfer { from, to, .. } = &request.transfer;
    let Looked { metadata, origin } =
        Ledger::new(Objects::new(Arc::clone(from))).look_at(request.checkpoint, &request.url).await?;
    let objects = Objects::new(Arc::clone(to));
    let ledger = Ledger::new(objects.clone());
    let claim = ledger.claim(token, &Begin::From(origin)).await?.claim;
    probe::conditional_create(&objects, &claim).await?;
    Ok((metadata, Begun { objects, ledger, claim }))
}

impl Begun {
    /// Deletes what interrupted attempts have left: their names are not given again, and nobody sweeps a savepoint.
    async fn clear(&self) -> Result<()> {
        if self.claim.sequence == 1 {
            return Ok(());
        }
        let left = self.objects.list("state").try_collect::<Vec<_>>().await?;
        match self.objects.delete_all(left).await.first() {
            None => Ok(()),
            Some(name) => Err(Error::unavailable(format!(
                "{name} is left of an attempt that was interrupted, and cannot be deleted; try again"
            ))),
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
