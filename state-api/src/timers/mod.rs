//! Timers: what a function asked to be called for, when event time or processing time has come to a moment.
//!
//! A timer is an entry of keyed state (`docs/formats/timers.md`): one a record key, namespace and time, in one state a time
//! domain. So timers are checkpointed, restored, rescaled and kept on the store like any state, and however many there are,
//! memory holds the next few of each key group only: its *head*.
//!
//! ```text
//!  register, delete ──► state: key group · state · time · record key · namespace
//!         │                          │ pages, read when a head has run out and its next timer is due
//!         └── below the floor ──► head of the key group ── due ──► taken ── begins ──► on_timer
//! ```
//!
//! **Invariants**: all timers of a key group up to its head's *floor* are in the head or taken; those above are in state
//! alone. The floor moves up by what a page has shown, never past what was written while that page was being read, and
//! down when the head is full. A timer leaves state with the first thing it does, so a checkpoint holds each that has done
//! nothing.
//!
//! **Threads**: the task thread's own.
#[cfg(test)]
mod format_tests;
mod head;
mod key;
mod queue;
#[cfg(test)]
mod tests;
mod timer;

pub use timer::{TimeDomain, Timer, Timestamp};

use key::TimerKey;
pub(crate) use key::{KeyLength, build as build_key, decode_record, within as timer_within};
pub(crate) use queue::TimerQueue;

/// How many timers are in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerLimits {
    /// Of one key group, at most.
    pub(crate) head: usize,
    /// Read at once.
    pub(crate) page: u32,
}

/// Timers in memory a subtask and time domain, unless it has so many key groups that each gets [`LEAST_HEAD`].
const HEAD_TIMERS: usize = 8192;
const LEAST_HEAD: usize = 8;
const MOST_HEAD: usize = 1024;

impl TimerLimits {
    /// What a subtask of this many key groups has.
    pub(crate) fn of(key_groups: usize) -> Self {
        let head = (HEAD_TIMERS / key_groups.max(1)).clamp(LEAST_HEAD, MOST_HEAD);
        // Half of it leaves room for what is registered meanwhile.
        Self { head, page: (head / 2) as u32 }
    }
}
