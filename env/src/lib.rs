//! The world as Alluvium sees it: clock, randomness, threads (design D17), local files, and the error every crate
//! speaks.
//!
//! Everything a deterministic simulation must control enters through here, so that no other crate names
//! `Instant::now`, `thread::spawn` or a random number generator (`clippy.toml` bans the standard library's and names these
//! instead). The nouns:
//!
//! - a [`Clock`] tells the time: the machine's ([`SystemClock`]), or what a test has turned it to ([`ManualClock`]);
//! - [`Entropy`] gives random numbers, from a seed or from the operating system;
//! - [`spawn_thread`] starts a thread; a [`Background`] pool has some that flush and compact, and yield to those that records
//!   wait for;
//! - the [`IoRuntime`] makes every request to a store;
//! - [`read_ranges`] reads a local file, without a change of threads where the page cache has the bytes, and [`OpenFiles`]
//!   keeps such files open;
//! - an [`Error`] is a sentence, and an [`ErrorKind`] that says what the caller should do.
//!
//! ```text
//!  task threads ── flushes, compactions ──► Background ── uploads, reads ──┐
//!       │                                                                  ▼
//!       └──────────────── misses, checkpoints ────────────────────────► IoRuntime ──► object store, disk tier
//! ```
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use alluvium_env::{Clock, ManualClock};
//!
//! let clock = Arc::new(ManualClock::at(Duration::from_secs(10)));
//! clock.advance(Duration::from_millis(5));
//! assert_eq!(clock.monotonic(), Duration::from_millis(10_005));
//! ```
mod background;
mod clock;
mod collections;
mod entropy;
mod error;
mod files;
mod io;
mod open_files;
mod threads;

pub use background::{Background, JobQueue, Urgency};
pub use clock::{Clock, ManualClock, SystemClock};
pub use collections::{HashMap, HashSet, RandomState};
pub use entropy::Entropy;
pub use error::{Error, ErrorKind, Result};
pub use files::read_ranges;
pub use io::IoRuntime;
pub use open_files::OpenFiles;
pub use threads::{cores, spawn_thread};
