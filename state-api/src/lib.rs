//! What user code sees of Alluvium, and what a backend must do for it. No I/O happens here.
//!
//! The nouns, from the user's end to the store's:
//!
//! - a [`KeyedProcess`] is a keyed function: `async fn process(&self, record, ctx)`;
//! - a [`Context`] is what one running record sees: its key, its outputs, its task;
//! - [`ValueState`] and [`ReducingState`] are typed handles on state of the current key; a `get` is a
//!   [`StateFuture`], a write is done when the call returns (design D3);
//! - a [`StateTtl`] is how long a state's values live; a [`TtlBackend`] sees to it in any backend;
//! - a [`StateKey`](state_key) is `key_group · state_id · key · namespace` in bytes, and its order is the scan order;
//! - a [`KeyedStateBackend`] answers what memory knows at once and takes the rest in batches;
//! - a [`SubtaskSnapshot`] is what one subtask adds to a checkpoint, and [`FileOwnership`] who may delete what.
//!
//! ```text
//!  process() ── get ──► StateFuture ──ready──► value            resident: same poll, no queue
//!                           │ miss
//!                           ▼
//!                        ReadTable ──batch──► backend.submit ──► … ──► backend.poll ──► record runs on
//! ```
//!
//! A complete function on the heap backend, driven by hand (the controller of `alluvium-async-exec` does this
//! for thousands of records at a time):
//!
//! ```
//! use std::rc::Rc;
//! use alluvium_state_api::*;
//!
//! struct Count { seen: ValueState<u64> }
//! impl KeyedProcess for Count {
//!     type In = ();
//!     type Out = u64;
//!     async fn process(&self, _: (), ctx: &Context<u64>) -> Result<()> {
//!         let seen = self.seen.get(ctx).await?.unwrap_or(0) + 1;
//!         self.seen.put(ctx, &seen)?;
//!         ctx.emit(seen);
//!         Ok(())
//!     }
//! }
//!
//! let task = Rc::new(TaskContext::new(Box::new(HeapBackend::default())));
//! let count = Count { seen: task.states().value("seen")? };
//! let mut batch = RecordBatchBuilder::new(MaxParallelism::default());
//! batch.push("hello", &());
//! batch.push("hello", &());
//! let batch = Rc::new(batch.finish());
//! for index in 0..batch.len() {
//!     let ctx = Context::new(Rc::clone(&task), Rc::clone(&batch), index, RecordSlot(0));
//!     let future = std::pin::pin!(count.process((), &ctx));
//!     let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
//!     assert!(matches!(future.poll(&mut cx), std::task::Poll::Ready(Ok(()))));
//! }
//! assert_eq!(task.take_outputs(), [1, 2]);
//! # Ok::<(), Error>(())
//! ```
mod backend;
mod codec;
mod combinators;
pub mod conformance;
mod context;
mod descriptor;
mod future;
pub mod harness;
mod heap;
mod iterator;
mod key_group;
mod merge;
mod operators;
mod page;
mod process;
mod reads;
mod record;
mod schema;
mod scope;
pub mod snapshot;
mod state;
pub mod state_key;
mod ttl;

pub use alluvium_env::{Error, ErrorKind, Result};
pub use backend::{
    Access, Answered, BackendFactory, BackendStats, KeyedStateBackend, Lookup, Notify, OpenRequest, StateScan,
};
pub use codec::{Codec, KeyCodec, by_serde};
pub use combinators::{StateFutureExt, combine_all};
pub use context::{Context, TaskContext};
pub use descriptor::{StateDescriptor, StateId, StateKind, StateTable};
pub use future::StateFuture;
pub use heap::{HeapBackend, HeapBackendFactory, HeapStore};
pub use iterator::StateIterator;
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_hash};
pub use merge::{Aggregate, MergeOperator, Reduce, Sum, list_elements, push_list_element};
pub use operators::OperatorRegistry;
pub use page::{DEFAULT_PAGE_ENTRIES, Page, PageBuilder, PageRequest};
pub use process::KeyedProcess;
pub use reads::{ReadBatch, ReadId, ReadTable, RecordSlot};
pub use record::{RecordBatch, RecordBatchBuilder, RecordRef};
pub use schema::{Schema, StoredSchema};
pub use scope::{InNamespace, Scope};
pub use snapshot::{CheckpointId, FileOwnership, FileRef, RestoredPart, SnapshotTask, SubtaskSnapshot};
pub use state::{AggregatingState, ListState, MapState, ReducingState, States, ValueState};
pub use ttl::{Age, Lifetimes, StampedBackend, StateTtl, TtlBackend, TtlTime, TtlUpdate, TtlVisibility};
