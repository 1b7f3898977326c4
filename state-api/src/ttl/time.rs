//! Processing time as stamps need it: the wall clock, but never going back.
//!
//! A clock that is set back, or a restart on a machine whose clock is behind, makes time stand still until the clock has
//! caught up; nothing expires meanwhile, and nothing is lost. The alternative, stamps that go back, would let a value
//! outlive the one that replaced it.
//!
//! **Threads**: any; background jobs ask it too.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Clock, SystemClock};

/// A subtask's processing time in milliseconds.
pub struct TtlTime {
    clock: Arc<dyn Clock>,
    latest_millis: AtomicU64,
}

impl TtlTime {
    /// Time by this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, latest_millis: AtomicU64::new(0) }
    }

    /// Now.
    pub fn now_millis(&self) -> u64 {
        let clock = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
        self.never_before(clock)
    }

    /// The latest time that anybody was told; 0 if nobody was. A snapshot keeps it.
    pub fn latest_millis(&self) -> u64 {
        self.latest_millis.load(Ordering::Relaxed)
    }

    /// Time is at least this from now on; returns now.
    pub fn never_before(&self, millis: u64) -> u64 {
        let latest = self.latest_millis();
        if millis <= latest {
            return latest;
        }
        self.latest_millis.fetch_max(millis, Ordering::Relaxed).max(millis)
    }
}

impl Default for TtlTime {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::new()))
    }
}

impl fmt::Debug for TtlTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TtlTime").field("latest_millis", &self.latest_millis()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alluvium_env::ManualClock;

    use super::*;

    #[test]
    fn time_goes_with_the_clock_and_never_back() {
        let clock = Arc::new(ManualClock::at(Duration::from_millis(100)));
        let time = TtlTime::new(Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(time.latest_millis(), 0);
        assert_eq!(time.now_millis(), 100);
        assert_eq!(time.never_before(150), 150, "a checkpoint of a clock that was ahead");
        clock.advance(Duration::from_millis(20));
        assert_eq!(time.now_millis(), 150, "the clock shows 120");
        clock.advance(Duration::from_millis(40));
        assert_eq!(time.now_millis(), 160);
    }
}
