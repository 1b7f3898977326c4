//! A deterministic world for the checkpoint protocol (design D17): one seed is one schedule.
//!
//! ```text
//!  schedule ── starts, kills, leaves behind ──► process: Coordinator, CheckpointStore, SharedFileRegistry as they are
//!                                                  │ acknowledgements: lost, twice, late       ▲
//!                                               sources ──lanes──► subtasks (model backend) ───┘
//!                                                                     │ deltas, tables, pages, compactions
//!                              world: objects, trace, truth ◄── store: calls that fail, are slow, are done and fail,
//!                                                                      come later, or say that a name exists
//! ```
//!
//! One schedule in five has a second job, forked from a checkpoint of the first into a root of its own: one that claims
//! it, or one that leaves it alone. Each root has its own truth. Beside them garbage is collected from outside, at any moment: by one
//! that only looks, or by one that takes the state over and fences whoever runs.
//!
//! All runs on one thread, and simulated time passes only when everything waits. The coordinator, the ledger, the registry
//! and the sweep are the real ones; backend, sources and lanes are models that are smaller than `forst` and `host`, so
//! that a schedule takes milliseconds.
//!
//! What must hold: every completed checkpoint holds exactly what had been read up to its positions, at any parallelism;
//! no file that a retained checkpoint names is ever deleted; a checkpoint that was called complete is never lost; a job
//! that nobody disturbs finishes; after the last sweep nothing is there but what retained checkpoints name.
//!
//! ```
//! let once = alluvium_sim::simulate(7, false)?;
//! assert_eq!(once, alluvium_sim::simulate(7, false)?);
//! # Ok::<(), alluvium_env::Error>(())
//! ```
mod backend;
mod collection;
mod fork;
mod job;
mod network;
mod page;
mod process;
mod random;
mod report;
mod schedule;
mod store;
mod subtask;
mod world;

pub use report::Report;
pub use schedule::simulate;
