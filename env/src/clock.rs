//! Time: a trait, the machine's clock, and one that a test turns by hand.
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall-clock time since the Unix epoch; may jump.
    fn now(&self) -> Duration;
    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;
    /// Has `bell` rung whenever the clock is turned by hand. Who sleeps until some time need not look meanwhile: as long as
    /// nobody does that, time passes as the machine's does.
    fn ring_when_turned(&self, _bell: Arc<dyn Fn() + Send + Sync>) {}
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is told otherwise.
#[derive(Default)]
pub struct ManualClock {
    nanos: AtomicU64,
    bells: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock").field("nanos", &self.nanos).finish_non_exhaustive()
    }
}

impl ManualClock {
    /// A clock that shows `time` on both faces.
    pub fn at(time: Duration) -> Self {
        let clock = Self::default();
        clock.advance(time);
        clock
    }

    /// Moves both faces forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for bell in bells {
            bell();
        }
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn ring_when_turned(&self, bell: Arc<dyn Fn() + Send + Sync>) {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner).push(bell);
    }
}
