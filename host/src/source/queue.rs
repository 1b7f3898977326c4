//! The split queue: hands out splits to whichever source thread is free.
//!
//! **Invariants**: a split is claimed once in a run. A claim is not part of a checkpoint; only what a source says of
//! its claimed splits at its barrier is.
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::progress::SourceProgress;
use super::ranges::SplitRanges;

/// The splits that nobody has claimed yet.
pub(crate) struct SplitQueue {
    unclaimed: Mutex<Unclaimed>,
}

struct Unclaimed {
    /// Begun in an earlier run; with the position to go on from.
    begun: VecDeque<(u64, u64)>,
    /// The next split that was not begun.
    next: u64,
    splits: u64,
    /// What `next` steps over: done, or among `begun`.
    skip: SplitRanges,
}

impl SplitQueue {
    /// The splits that `progress` leaves to do.
    pub(crate) fn new(progress: &SourceProgress) -> Self {
        let mut skip = progress.done().clone();
        for (split, _) in progress.begun() {
            skip.insert(split..split + 1);
        }
        let begun = progress.begun().collect();
        Self { unclaimed: Mutex::new(Unclaimed { begun, next: 0, splits: progress.splits(), skip }) }
    }

    /// The next split and the position to open it at.
    pub(crate) fn claim(&self) -> Option<(u64, u64)> {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claim) = unclaimed.begun.pop_front() {
            return Some(claim);
        }
        let split = unclaimed.skip.next_missing(unclaimed.next);
        unclaimed.next = split + 1;
        (split < unclaimed.splits).then_some((split, 0))
    }
}
