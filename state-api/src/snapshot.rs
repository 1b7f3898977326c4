//! Where backends and the checkpoint protocol meet: snapshots, restored parts, file ownership.
//!
//! `forst` and `checkpoint` know these types and not each other. File names are relative to the state URL's root.
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use alluvium_env::Result;
use bytes::Bytes;

use crate::KeyGroupRange;

/// A checkpoint, numbered from 1 within a state URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An immutable object that a checkpoint depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRef {
    /// Its name below the root.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
}

/// An immutable object that describes a part of a snapshot and names objects in turn, so that a checkpoint of a large state
/// need not: it is written once and named by many checkpoints (RFC 0006).
///
/// It is handed over as what its writer has of it. Whoever counts references asks it for its files when he first hears of it.
pub trait ManifestPage: Send + Sync {
    /// Its object.
    fn object(&self) -> FileRef;
    /// How many objects it names, and their bytes.
    fn totals(&self) -> (u64, u64);
    /// Gives every object that it names, none of which is a page. The writer keeps them as long as it keeps the page itself.
    fn files(&self, each: &mut dyn FnMut(&str, u64));
}

/// What one subtask adds to a checkpoint.
pub struct SubtaskSnapshot {
    /// The key groups it covers.
    pub key_groups: KeyGroupRange,
    /// The backend's name; a restore refuses another's.
    pub backend: &'static str,
    /// The backend's own description of its state, opaque to the protocol.
    pub payload: Bytes,
    /// Every object the payload names itself.
    pub files: Vec<FileRef>,
    /// Objects the payload names that name others. A small state has none.
    pub pages: Vec<Arc<dyn ManifestPage>>,
    /// What was uploaded for this checkpoint.
    pub uploaded_bytes: u64,
    /// Keeps the files from being released until the checkpoint has taken its own references.
    pub pins: Box<dyn Send>,
}

/// The asynchronous part of a snapshot, to be run on the I/O runtime.
pub type SnapshotTask = Pin<Box<dyn Future<Output = Result<SubtaskSnapshot>> + Send>>;

/// What a checkpoint holds of one former subtask, for a subtask that takes over some of its key groups.
#[derive(Clone, Debug)]
pub struct RestoredPart {
    /// The key groups to take over: a clip on what the payload describes.
    pub key_groups: KeyGroupRange,
    /// The backend that wrote it.
    pub backend: String,
    /// What it wrote.
    pub payload: Bytes,
}

/// The rule of D12 as its writers see it: hold what you write or read, release it when you are done. A file is
/// deleted once nobody holds it and no checkpoint, complete or pending, names it.
pub trait FileOwnership: Send + Sync {
    /// One more holder. A writer holds a name *before* it writes.
    fn hold(&self, name: &str);
    /// One holder less.
    fn release(&self, name: &str);
}
