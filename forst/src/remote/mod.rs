//! Compactions that are done elsewhere: jobs and results are objects on the store that both sides share (design D11).
//!
//! ```text
//!  owner (`poster`)                     objects, below compaction/              compactor (`worker`)
//!  names its outputs, describes ──────► {number}.job    ──────────────────────► looks from time to time
//!  waits for somebody           ◄────── {number}.claim  ◄── created, so once ── takes it, opens the inputs
//!  waits for life, then result  ◄────── {number}.beat   ◄── written again ───── compacts, writes the outputs
//!  checks, installs             ◄────── {number}.result ◄── created ─────────── is done
//!  lets go of all four, and of the outputs that are not in the result: so they are deleted
//! ```
//!
//! The store does not know where its compaction runs: it gets what a job at home would give it, or an error. Whatever goes
//! wrong elsewhere, the job is done at home.
//!
//! **Invariants**, beside those of a compaction at home:
//!
//! - outputs are written under names that the owner has chosen and holds, so that letting go of them deletes them, whoever
//!   wrote them; the next attempt's sweep finds what nobody let go of, as it does at home;
//! - a number is used for one attempt at one job, and its objects are created conditionally: a compactor that is late, or
//!   two that believe that they have the job, overwrite nothing, neither of each other nor of what was installed;
//! - a job goes before the outputs that its owner gives up. So a compactor that has written everything and still sees the
//!   job need not clean up after itself: its owner will. One that does not see it deletes what it has created, and it has
//!   told nobody of that;
//! - from the moment on that a compactor tries to write a result the outputs are the owner's.
//!
//! **Threads**: the owner's side is a future on the I/O runtime. A compactor works on the thread that calls it and on one
//! of its own.
mod accept;
mod describe;
mod format;
#[cfg(test)]
mod format_tests;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod objects;
mod poster;
mod settings;
mod worker;

pub(crate) use poster::{Ended, Posted, Poster, Trip, input_bytes};
pub use settings::{CompactorSettings, RemoteCompactionSettings};
pub use worker::{Compactor, CompactorOptions, StopHandle, Turn};
