//! How far a benchmark is, for its progress line.
//!
//! **Threads**: task threads tell, the line's thread looks; all by relaxed atomics.
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::progress::{Pace, Seen};
use crate::results::grouped;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Load,
    Settle,
    WarmUp,
    Measure,
    Check,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: AtomicU8,
    /// How many operations the phase has, 0 if that is not known.
    total: AtomicU64,
    /// How many had been done when it began.
    before: AtomicU64,
    done: Arc<AtomicU64>,
}

impl Progress {
    /// Where operations are counted.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.done)
    }

    /// A phase begins; the threads that begin it later change nothing.
    pub(super) fn enter(&self, phase: Phase, total: u64) {
        let is_first = self.phase.swap(phase as u8, Ordering::Relaxed) != phase as u8;
        if is_first || self.total.load(Ordering::Relaxed) != total {
            self.total.store(total, Ordering::Relaxed);
            self.before.store(self.done.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// What the line shows now.
    pub(super) fn look(&self, pace: &mut Pace, now: Duration) -> Seen {
        let done = self.done.load(Ordering::Relaxed);
        let rate = grouped(pace.rate(done, now));
        let total = self.total.load(Ordering::Relaxed);
        let here = done.saturating_sub(self.before.load(Ordering::Relaxed));
        let of = if total == 0 { String::new() } else { format!(" of {}", grouped(total)) };
        let counted = format!("{}{of}  {rate}/s", grouped(here));
        let message = match self.phase.load(Ordering::Relaxed) {
            0 => format!("loading  {counted}"),
            1 => "waiting for flushes and compactions".to_owned(),
            2 => format!("warming up  {counted}"),
            3 => format!("measuring  {counted}"),
            _ => "comparing answers".to_owned(),
        };
        Seen { position: here, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_that_of_the_phase() {
        let (progress, mut pace) = (Progress::default(), Pace::default());
        progress.enter(Phase::Load, 1000);
        progress.counter().fetch_add(1000, Ordering::Relaxed);
        progress.enter(Phase::Measure, 5000);
        progress.enter(Phase::Measure, 5000);
        progress.counter().fetch_add(2500, Ordering::Relaxed);
        let message = progress.look(&mut pace, Duration::from_secs(1)).message;
        assert!(message.starts_with("measuring  2,500 of 5,000"), "{message}");
    }
}
