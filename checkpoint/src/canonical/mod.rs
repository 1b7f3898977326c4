//! Canonical savepoints: what a checkpoint holds, in a form that every backend can take (`docs/formats/savepoint.md`).
//!
//! ```text
//!  any backend's checkpoint                        savepoint: a root, as every savepoint
//!  StateEntries, in order of their keys ─ write ─► state/{incarnation}/canonical/{number}.entries   cut at key groups
//!                                                  ledger: subtasks of backend "canonical", whose payloads name states and files
//!                                       ◄─ read ── StateEntries of any range of key groups, for any backend
//! ```
//!
//! Both ways entries are streamed: a block of them is in memory, and a part of a file on its way.
//!
//! **Failure**: what is damaged is `Corruption` that names file and offset; a newer version is `Invalid`.
mod block;
mod payload;
mod reader;
mod writer;

#[cfg(fuzzing)]
pub(crate) use block::{Block, Opened, check_header, seal};
#[cfg(fuzzing)]
pub(crate) use payload::Payload;
pub use reader::{CanonicalEntries, verify_entries};
pub(crate) use writer::{Folder, write};

#[cfg(test)]
mod tests;
