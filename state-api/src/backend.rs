//! What a keyed state backend is: one subtask's state, owned by its task thread.
//!
//! **Threads**: every call comes from the task thread and none blocks on I/O; background work reports through
//! [`Notify`] and is taken over in [`KeyedStateBackend::poll`].
use std::borrow::Cow;
use std::sync::Arc;

use alluvium_env::{Clock, Error, Result};

use crate::{
    CheckpointId, FileOwnership, KeyGroupRange, PageRequest, ReadBatch, ReadId, RestoredPart, SnapshotTask,
    StateDescriptor, StateEntries, StateId, StateTable,
};

/// What memory knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The value; owned only where operands had to be folded.
    Hit(Cow<'a, [u8]>),
    /// The key certainly has no value.
    Absent,
    /// Only I/O can tell.
    Miss,
}

/// What is about to happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is read, and perhaps written.
    Read,
    /// It is written without being read.
    Write,
}

/// Whom [`KeyedStateBackend::poll`] hands each answer: the value or the encoded page, or `None` for an absent key.
pub type Answered<'a> = dyn FnMut(ReadId, Result<Option<&[u8]>>) + 'a;

/// One subtask's keyed state.
pub trait KeyedStateBackend {
    /// Registers a state; the same name gives the same id after a restore.
    ///
    /// # Errors
    /// As [`crate::StateTable::register`].
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId>;

    /// The states there are, those of the restored checkpoint as well as those that are registered: to be renamed or dropped
    /// before an operator registers its own. `None` of a backend that restores nothing.
    fn states(&mut self) -> Option<&mut StateTable> {
        None
    }

    /// Asks memory. Never does I/O.
    ///
    /// # Errors
    /// `Corruption` if what memory holds cannot be decoded.
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>>;

    /// Says which keys are about to be asked for or written, so that a backend can have the processor load what it will
    /// touch. Changes nothing; a backend may ignore it.
    fn prefetch(&self, _keys: &mut dyn Iterator<Item = &[u8]>, _access: Access) {}

    /// Replaces a value.
    ///
    /// # Errors
    /// `Invalid` if key or value is too large.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Folds an operand into a value by the state's merge operator.
    ///
    /// # Errors
    /// `Invalid` if the state has none, or key or operand is too large.
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()>;

    /// Removes a value.
    ///
    /// # Errors
    /// `Invalid` if the key is too large.
    fn delete(&mut self, key: &[u8]) -> Result<()>;

    /// Removes every entry whose state key begins with `prefix`: one tombstone, not a scan.
    ///
    /// # Errors
    /// `Invalid` if the prefix is too large.
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()>;

    /// Asks memory for a [`crate::Page`], which is a hit even without entries; never absent, never does I/O.
    ///
    /// # Errors
    /// As [`KeyedStateBackend::try_get`].
    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>>;

    /// Starts the reads of a batch; each is answered once, by [`KeyedStateBackend::poll`].
    fn submit(&mut self, batch: ReadBatch);

    /// Takes over what background work has finished, and answers reads.
    ///
    /// # Errors
    /// What the subtask cannot survive: a flush that failed for good, say.
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()>;

    /// Whether new records may be admitted now; after a `false`, [`Notify`] says when to ask again.
    fn admits(&self) -> bool;

    /// Fixes what checkpoint `id` holds. O(1) here; the task uploads.
    ///
    /// # Errors
    /// `Closed` or what `poll` would report.
    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask>;

    /// A consistent scan of one state in key order, to be run on any thread but this one.
    ///
    /// # Errors
    /// What `poll` would report.
    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>>;

    /// Takes over entries of a canonical savepoint, once its job's states are registered and before anything else. Blocks
    /// until they are written.
    ///
    /// # Errors
    /// `Invalid` if the backend cannot do that, or nothing folds the adds of a state; what reading the entries or writing
    /// them fails with.
    fn import(&mut self, _entries: &mut dyn StateEntries) -> Result<()> {
        Err(Error::invalid("this backend takes no canonical savepoints: restore one with another"))
    }

    /// Figures for a person.
    fn stats(&self) -> BackendStats;
}

/// A scan; it may block on I/O.
pub trait StateScan: Send {
    /// The next state key and value, `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>>;
}

/// Counters of one subtask since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Blocks found in the memory tier.
    pub memory_hits: u64,
    /// Blocks found in the disk tier.
    pub disk_hits: u64,
    /// Blocks fetched from the store.
    pub misses: u64,
    /// Flushes installed.
    pub flushes: u64,
    /// Compactions installed.
    pub compactions: u64,
}

impl std::ops::AddAssign for BackendStats {
    fn add_assign(&mut self, other: Self) {
        self.memory_hits += other.memory_hits;
        self.disk_hits += other.disk_hits;
        self.misses += other.misses;
        self.flushes += other.flushes;
        self.compactions += other.compactions;
    }
}

/// Wakes the task: something is there to [`KeyedStateBackend::poll`].
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// What a backend is opened with.
pub struct OpenRequest {
    /// The subtask's index.
    pub subtask: u16,
    /// The key groups it owns.
    pub key_groups: KeyGroupRange,
    /// The attempt (design D13); part of the name of everything that is written.
    pub incarnation: u64,
    /// What the checkpoint holds for these key groups; empty for a fresh start.
    pub restored: Vec<RestoredPart>,
    /// Whom to tell of files that are held and released (design D12).
    pub files: Arc<dyn FileOwnership>,
    /// Whom to wake.
    pub notify: Notify,
    /// The processing time by which state expires.
    pub clock: Arc<dyn Clock>,
}

/// Opens one backend a subtask, on the subtask's own thread.
pub trait BackendFactory: Send + Sync {
    /// Opens a subtask's state.
    ///
    /// # Errors
    /// `Corruption` or `Invalid` if the restored parts are not this backend's.
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>>;

    /// The states of a checkpoint, by its parts alone, so that a job that does not fit them is refused before it takes anything over.
    /// `None` of backends that do not tell: then their tasks find it out.
    ///
    /// # Errors
    /// As [`BackendFactory::open`].
    fn stored_states(&self, parts: &[RestoredPart]) -> Result<Option<StateTable>> {
        let _ = parts;
        Ok(None)
    }
}
