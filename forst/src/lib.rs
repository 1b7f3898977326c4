//! `ForSt`: a batched LSM store whose primary storage is an object store, with memory and disk as caches.
//!
//! The engine is a plain LSM over bytes ([`Store`]), which one thread owns; a [`ForstBackendFactory`] opens one for each
//! subtask, behind `state-api`. [`ForstSettings`] says what it may take. The nouns:
//!
//! - a *memtable* is a hash index over an arena that is also the log; a *delta* is a part of that log on the store;
//! - a *table* (SST) is an immutable object of sorted blocks; a *version* says which tables are live;
//! - a *value file* holds large values apart from their keys, to which tables point;
//! - a *walk* is a point read in memory; what it misses is *fetched* by ranged reads, in batches;
//! - a *scan* is an ordered pass over many sources: every flush, compaction and full read is one;
//! - a *snapshot* ([`Snapshot`]) is a store as a checkpoint keeps it: a manifest, and the files that it names;
//! - a *compactor* does the compactions of other processes' stores ([`Compactor`]).
//!
//! ```text
//!  put, merge ───► memtable ── full: flush ──► level 0 ── compaction ──► levels 1 … 6     on the object store
//!                     │ what is new of its log   │ which tables
//!                     └─► delta ◄─── Snapshot ───┴─► manifest                             what a checkpoint keeps
//!
//!  get_resident ─► memtables ─► filters, indexes of the version ─► cached blocks          the answer, or a miss
//!  read, poll ───► the same; what is missed, in batches ─► DiskCache ─► ranged reads       the answer in a later poll
//! ```
//!
//! ```
//! use std::sync::Arc;
//! use alluvium_env::{Background, IoRuntime};
//! use alluvium_forst::{ForstSettings, KeepAll, NoMerges, Resident, Store, StoreOptions};
//! use object_store::memory::InMemory;
//!
//! let mut store = Store::open(StoreOptions {
//!     settings: ForstSettings::default(),
//!     store: Arc::new(InMemory::new()),
//!     io: IoRuntime::new(1)?,
//!     background: Arc::new(Background::new(1)?),
//!     disk: None,
//!     operators: Arc::new(NoMerges),
//!     ownership: Arc::new(KeepAll),
//!     notify: Arc::new(|| ()),
//!     prefix: "state/1".to_owned(),
//!     restored: Vec::new(),
//! })?;
//! store.put(b"key", b"value")?;
//! assert_eq!(store.get_resident(b"key")?, Resident::Value(b"value".into()));
//! assert_eq!(store.get_resident(b"other")?, Resident::Absent);
//! # Ok::<(), alluvium_env::Error>(())
//! ```
//!
//! `forst/examples/store.rs` goes on from here: it opens a store on a `file://` URL with less memory than it writes, reads
//! in batches and pages, takes a snapshot and opens that again: `cargo run -p alluvium-forst --example store`. What lies on
//! the store can be read beside its owner: tables by [`inspect`], snapshots by [`SnapshotReader`], the states of a
//! checkpoint by [`SubtaskReader`].
//!
//! Flushes and compactions run within spans of their names (level info), fetches of a batch within `fetch` (debug), with
//! tables, bytes and requests as fields: [`tracing`] costs nothing where nobody subscribes.
mod backend;
#[cfg(benching)]
pub mod benching;
mod block;
mod cache;
mod coding;
mod compaction;
mod compression;
mod deleted;
mod entry;
mod expiry;
mod fetch;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hint;
pub mod inspect;
mod key_range;
mod memtable;
mod merge;
mod metrics;
mod naming;
mod remote;
mod scan;
mod settings;
mod store;
mod table;
mod touch;
mod values;
mod version;

pub use alluvium_env::{Error, ErrorKind, Result};
pub use backend::{
    ForstBackendFactory, Operands, StateOperators, StateSize, SubtaskEntries, SubtaskReader, claimed_objects,
};
pub use compression::Compression;
pub use expiry::{Expiry, Fate, Moment, Stamp};
pub use fetch::{DiskCache, DiskLimits};
pub use merge::{DescribedOperators, MergeOperator, MergeOperators, NoMerges};
pub use metrics::ForstMetrics;
pub use remote::{
    Compactor, CompactorOptions, CompactorSettings, RemoteCompactionSettings, StopHandle, Turn,
};
pub use settings::{FetchSettings, ForstSettings};
pub use store::{
    Answer, Answered, Packer, Page, PageQuery, ReaderScan, Resident, Restored, Share, Snapshot, SnapshotFile,
    SnapshotPage, SnapshotReader, Store, StoreCounters, StoreOptions, StoreScan,
};
pub use table::{KeepAll, Ownership};
