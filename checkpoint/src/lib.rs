//! Checkpoints of Alluvium: what makes the state of a job one state, who may write it, and who may delete it.
//!
//! The nouns:
//!
//! - the *ledger* is the truth: numbered objects below `ledger/`, each created once, conditionally. An entry is a
//!   *claim* (an attempt takes over, design D13) or a *completed checkpoint*;
//! - an *incarnation* is one attempt to run the job; it is part of the name of every file it writes;
//! - [`CheckpointStore::open`] takes a state URL over and yields an [`Opened`]: what can be restored
//!   ([`CheckpointMetadata`], [`RestorePlan`]), the [`SharedFileRegistry`] and the incarnation;
//! - [`RetainedCheckpoints`] are read by tools, which take nothing over;
//! - [`Garbage`] is what no retained checkpoint names, for whoever wants to see or delete it;
//! - a *savepoint* ([`create_savepoint`]) is a checkpoint as a root of its own; an [`Origin`] is a checkpoint of another
//!   root that a state is begun from;
//! - the [`Coordinator`] triggers checkpoints, collects a [`SubtaskAck`] from every subtask and a state from
//!   every source, and completes them;
//! - the [`SharedFileRegistry`] counts holders and checkpoints of every file and deletes what has neither
//!   (design D12).
//!
//! ```text
//!  sources   subtasks (backend + snapshot task)
//!     │ state     │ SubtaskAck: payload, names of files, kept inputs
//!     ▼           ▼
//!  ┌───────────────────┐  refer / forget   ┌────────────────────┐  hold / release
//!  │    Coordinator    ├──────────────────►│ SharedFileRegistry │◄──────────────── backends
//!  └─────────┬─────────┘                   └─────────┬──────────┘
//!            ▼ create entry n + 1                    ▼ delete: no holder, no checkpoint
//!   ledger/ …n-2  …n-1  …n              state/{incarnation}/…  (written by backends, never copied)
//! ```
//!
//! The store is listed at the start only: the ledger twice (before and after the claim), `state/` once for the
//! sweep. The bytes are described by `docs/formats/checkpoint.md`.
//!
//! A job of one source and one subtask takes a checkpoint, stops, and is restored as two subtasks:
//!
//! ```
//! use std::sync::Arc;
//! use alluvium_checkpoint::*;
//! use alluvium_env::{Entropy, IoRuntime, Result, SystemClock};
//! use alluvium_state_api::{KeyGroupRange, MaxParallelism, SubtaskSnapshot};
//! use bytes::Bytes;
//! use object_store::memory::InMemory;
//!
//! # fn main() -> Result<()> {
//! let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(1)?);
//! let shape =
//!     JobShape { job: "words".into(), max_parallelism: MaxParallelism::DEFAULT, subtasks: 1, sources: 1 };
//!
//! let opened = CheckpointStore::open(store.clone(), io.clone(), &Entropy::from_os())?;
//! assert!(opened.latest().is_none());
//! let clock = Arc::new(SystemClock::new());
//! let mut coordinator = Coordinator::new(opened.checkpoints, CheckpointSettings::default(), shape.clone(), clock)?;
//! let id = coordinator.trigger().expect("nothing is pending");
//! coordinator.acknowledge_source(id, 0, Bytes::from("line 7"));
//! let snapshot = SubtaskSnapshot {
//!     key_groups: KeyGroupRange { start: 0, end: 128 },
//!     backend: "heap",
//!     payload: Bytes::from("the state"),
//!     files: Vec::new(),
//!     pages: Vec::new(),
//!     uploaded_bytes: 9,
//!     pins: Box::new(()),
//! };
//! let ack =
//!     SubtaskAck { snapshot, inputs: Bytes::new(), inputs_count: 0, operator_states: Vec::new(), sync_micros: 12 };
//! coordinator.acknowledge_subtask(id, 0, Ok(ack));
//! let completed = coordinator.try_complete(&|sources| sources.concat().into(), false)?;
//! assert_eq!(completed.map(|completed| completed.id), Some(id));
//!
//! let next = CheckpointStore::open(store, io, &Entropy::from_os())?;
//! let checkpoint = next.latest().expect("one was completed");
//! checkpoint.check(&shape)?;
//! assert_eq!((next.incarnation, &checkpoint.source[..]), (2, &b"line 7"[..]));
//! let plan = checkpoint.restore_for(KeyGroupRange { start: 64, end: 128 });
//! assert_eq!(plan.parts[0].key_groups, KeyGroupRange { start: 64, end: 128 });
//! # Ok(())
//! # }
//! ```
mod canonical;
mod checkpoints;
mod coordinator;
mod envelope;
#[cfg(fuzzing)]
pub mod fuzzing;
mod garbage;
mod ledger;
mod metadata;
mod objects;
mod origin;
mod pages;
mod probe;
mod prospect;
mod registry;
mod restore;
mod retained;
mod retire;
mod savepoint;
mod settings;
mod survey;
mod sweep;
mod transfer;
mod wire;

pub use canonical::{CanonicalEntries, verify_entries};
pub use checkpoints::{CheckpointStore, Opened};
pub use coordinator::{CheckpointCounters, CompletedCheckpoint, Coordinator, SubtaskAck};
pub use garbage::{Garbage, GarbageReport, Orphan};
pub use metadata::{CheckpointMetadata, SubtaskMetadata};
pub use origin::{Origin, RestoreMode};
pub use pages::{PageReader, PageRef, encode_page};
pub use prospect::{Check, Prospect};
pub use registry::{RegistryStats, SharedFileRegistry};
pub use restore::RestorePlan;
pub use retained::RetainedCheckpoints;
pub use retire::{Retired, retire_checkpoints};
pub use savepoint::{OpenEntries, Savepoint, SavepointRequest, create_canonical_savepoint, create_savepoint};
pub use settings::{CheckpointSettings, JobShape};
pub use transfer::{SharedStore, Transfer};
