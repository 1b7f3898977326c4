//! Alluvium: disaggregated state for stream processing. This crate re-exports the rooms of the house.
//!
//! State lives on an object store; memory and a local disk are caches of it, and a record that has to wait for it waits
//! alone. The nouns, from the user's end to the store's:
//!
//! - a [`KeyedProcess`](state_api::KeyedProcess) is a keyed function, with handles on its states such as
//!   [`ValueState`](state_api::ValueState);
//! - an [`AsyncExecutionController`](async_exec::AsyncExecutionController) keeps its records in flight, in order per key;
//! - a [`KeyedStateBackend`](state_api::KeyedStateBackend) is one subtask's state: a store that a
//!   [`ForstBackendFactory`](forst::ForstBackendFactory) has opened, or a [`HeapBackend`](state_api::HeapBackend), a map;
//! - a [`Coordinator`](checkpoint::Coordinator) completes checkpoints, and a
//!   [`SharedFileRegistry`](checkpoint::SharedFileRegistry) deletes what none of them needs;
//! - a [`Job`](host::Job) runs all of that on threads, on the [`storage`](host::storage) that a URL names;
//! - an [`Error`](env::Error) says what its caller should do.
//!
//! ```text
//!  source threads        task threads, one a subtask                      object store
//!  split ─► records ═══► controller ─► KeyedProcess ─► sink
//!                                          │ get, put, add
//!                                          ▼
//!                        backend: memtable, cached blocks ◄── misses ──── tables
//!                                          │ full: flush, compaction ───► tables
//!  barriers ═══════════► snapshot ─────────┴ what is new of the log ────► deltas
//!                            └─ acknowledges ─► Coordinator ────────────► ledger
//! ```
//!
//! A first function, in memory; [`host`] begins with a whole job:
//!
//! ```
//! use alluvium::state_api::*;
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
//! let counts = harness::run(|states| Ok(Count { seen: states.value("seen")? }), [("ox", ()), ("ant", ()), ("ox", ())])?;
//! assert_eq!(counts, [1, 1, 2]);
//! # Ok::<(), Error>(())
//! ```
//!
//! `ARCHITECTURE.md` follows a record, a miss and a checkpoint through the rooms; `docs/decisions.md` lists the decisions
//! that are cited as D1 to D18.
pub use alluvium_async_exec as async_exec;
pub use alluvium_checkpoint as checkpoint;
pub use alluvium_env as env;
pub use alluvium_forst as forst;
pub use alluvium_host as host;
pub use alluvium_state_api as state_api;
