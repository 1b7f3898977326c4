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
//! the same command; two at once are fenced from one another by their claims.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, HashSet, IoRuntime, Result};
use alluvium_state_api::{CheckpointId, FileRef};

use crate::ledger::{Appended, Begin, Entry, EntryKind, Ledger, Looked};
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
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
    /// Objects that it names.
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

async fn create(request: &SavepointRequest<'_>, token: u64) -> Result<Savepoint> {
    let Transfer { from, to, .. } = &request.transfer;
    let Looked { metadata, origin } =
        Ledger::new(Objects::new(Arc::clone(from))).look_at(request.checkpoint, &request.url).await?;
    let files = distinct(&metadata);
    let objects = Objects::new(Arc::clone(to));
    let ledger = Ledger::new(objects.clone());
    let claim = ledger.claim(token, &Begin::From(origin)).await?.claim;
    probe::conditional_create(&objects, &claim).await?;
    request.transfer.copy_all(&files, &|file| (request.copied)(file.size_bytes)).await?;
    let metadata = CheckpointMetadata { incarnation: claim.writer.incarnation, ..metadata };
    let sequence = claim.sequence + 1;
    let entry = Entry {
        sequence,
        writer: claim.writer,
        retained: vec![sequence],
        dropped: Vec::new(),
        origin: None,
        kind: EntryKind::Complete(Box::new(metadata.clone())),
    };
    match ledger.append(&entry).await? {
        Appended::Ours(_) => {}
        Appended::Taken(other) => return Err(ledger.fenced_by(&other, claim.writer.incarnation)),
    }
    let bytes = files.iter().map(|file| file.size_bytes).sum();
    Ok(Savepoint { checkpoint: metadata, objects: files.len() as u64, bytes })
}

/// Every object of a checkpoint, once.
fn distinct(metadata: &CheckpointMetadata) -> Vec<FileRef> {
    let mut seen = HashSet::default();
    metadata.files().filter(|file| seen.insert(file.name.as_str())).cloned().collect()
}

/// The error for a root that a savepoint, or a state begun from one, cannot be put into.
pub(crate) fn not_empty(store: &str, what: &str) -> Error {
    Error::invalid(format!("{store} {what}; choose an empty folder or prefix"))
}
