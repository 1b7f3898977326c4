//! What one task thread measures: operations, the latency of each, bytes written by the user.
//!
//! The clock is read once an operation: where one ends, the next one begins.
//!
//! **Threads**: the task thread's own, but for the count that a progress line looks at.
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::{Clock as _, Error, Result, SystemClock};
use hdrhistogram::Histogram;

/// Nanoseconds to three digits; it grows with what it holds.
pub(super) type Latencies = Histogram<u64>;
const DIGITS: u8 = 3;
/// Longer than this is recorded as this.
const LONGEST_NANOS: u64 = 3_600_000_000_000;
const SECOND_NANOS: u64 = 1_000_000_000;
/// The progress line is told once in so many operations.
const TELL: u64 = 256;

/// An empty histogram.
///
/// # Errors
/// Never, with these constants.
pub(super) fn latencies() -> Result<Latencies> {
    Histogram::new_with_bounds(1, LONGEST_NANOS, DIGITS)
        .map_err(|e| Error::internal("cannot make a histogram").with_source(e))
}

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Readings {
    pub(super) operations: u64,
    pub(super) user_bytes: u64,
    pub(super) latencies: Latencies,
    /// Operations that ended in each second, the last one possibly cut short.
    pub(super) per_second: Vec<u64>,
}

/// See the module.
pub(super) struct Gauge {
    clock: SystemClock,
    last: Cell<u64>,
    operations: Cell<u64>,
    user_bytes: Cell<u64>,
    latencies: RefCell<Latencies>,
    /// When the second ends in which operations are being counted, and how many there were before it.
    second_ends: Cell<u64>,
    before_second: Cell<u64>,
    per_second: RefCell<Vec<u64>>,
    progress: Arc<AtomicU64>,
}

impl Gauge {
    pub(super) fn new(progress: Arc<AtomicU64>) -> Result<Self> {
        Ok(Self {
            clock: SystemClock::new(),
            last: Cell::new(0),
            operations: Cell::new(0),
            user_bytes: Cell::new(0),
            latencies: RefCell::new(latencies()?),
            second_ends: Cell::new(u64::MAX),
            before_second: Cell::new(0),
            per_second: RefCell::default(),
            progress,
        })
    }

    /// Reads the clock.
    #[inline]
    pub(super) fn tick(&self) -> u64 {
        let now = u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        self.last.set(now);
        while now >= self.second_ends.get() {
            self.next_second();
        }
        now
    }

    #[cold]
    fn next_second(&self) {
        let operations = self.operations.get();
        self.per_second.borrow_mut().push(operations - self.before_second.replace(operations));
        self.second_ends.set(self.second_ends.get().saturating_add(SECOND_NANOS));
    }

    /// What the clock showed when it was read last: where an operation begins.
    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }

    /// The same as a duration.
    #[inline]
    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.last.get())
    }

    /// An operation that began at `start` is done.
    #[inline]
    pub(super) fn done(&self, start: u64) {
        self.count(1);
        self.record(start);
    }

    /// Operations without a latency of their own.
    #[inline]
    pub(super) fn count(&self, operations: u64) {
        let (before, after) = (self.operations.get(), self.operations.get() + operations);
        self.operations.set(after);
        let told = (after / TELL - before / TELL) * TELL;
        if told > 0 {
            self.progress.fetch_add(told, Ordering::Relaxed);
        }
    }

    /// A latency from `start` until now.
    #[inline]
    pub(super) fn record(&self, start: u64) {
        let now = self.tick();
        self.latencies.borrow_mut().saturating_record(now.saturating_sub(start));
    }

    /// The user wrote so many bytes.
    #[inline]
    pub(super) fn wrote(&self, bytes: usize) {
        self.user_bytes.set(self.user_bytes.get() + bytes as u64);
    }

    /// The first second begins now.
    pub(super) fn begin_seconds(&self) {
        self.second_ends.set(u64::MAX);
        self.second_ends.set(self.tick() + SECOND_NANOS);
    }

    /// What was measured since the last call.
    ///
    /// # Errors
    /// As for [`latencies`].
    pub(super) fn take(&self) -> Result<Readings> {
        self.next_second();
        self.second_ends.set(u64::MAX);
        self.before_second.set(0);
        Ok(Readings {
            per_second: self.per_second.take(),
            operations: self.operations.take(),
            user_bytes: self.user_bytes.take(),
            latencies: self.latencies.replace(latencies()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_taken_once_and_the_seconds_add_up() {
        let gauge = Gauge::new(Arc::default()).unwrap();
        gauge.begin_seconds();
        for _ in 0..700 {
            gauge.done(gauge.last());
        }
        gauge.wrote(5);
        let readings = gauge.take().unwrap();
        assert_eq!((readings.operations, readings.user_bytes, readings.latencies.len()), (700, 5, 700));
        assert_eq!(readings.per_second.iter().sum::<u64>(), 700);
        assert_eq!(gauge.progress.load(Ordering::Relaxed), 512, "told in steps");
        let readings = gauge.take().unwrap();
        assert_eq!((readings.operations, readings.latencies.len()), (0, 0));
    }
}
