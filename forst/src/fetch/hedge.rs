//! When a slow read is asked a second time: a running estimate of how long reads take, and a budget.
//!
//! The first answer wins and the other request is dropped (Dean and Barroso, "The Tail at Scale", 2013). A second
//! request is worth its price only against a tail that is not the store's load, so there is a budget: one in twenty.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Reads seen before the estimate is trusted.
const MIN_SAMPLES: u64 = 64;
/// The estimate moves up by this share of itself for a slower read, and down by a nineteenth of that for a faster one:
/// at rest one read in twenty is slower (stochastic approximation of the 95th percentile).
const STEP_UP: u64 = 19;
const STEP_DOWN: u64 = 1;
const STEP_SCALE: u64 = 400;
/// Requests that pay for one second request.
const PRICE: u64 = 20;
/// Second requests that can be saved up.
const MAX_SAVED: u64 = 10;

/// Estimate and budget of one store. Updates may be lost to each other: both are approximate.
#[derive(Debug, Default)]
pub(super) struct Hedge {
    estimate_nanos: AtomicU64,
    samples: AtomicU64,
    saved: AtomicU64,
}

impl Hedge {
    /// Notes how long a read took.
    pub(super) fn saw(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / STEP_SCALE).max(1);
        let samples = self.samples.fetch_add(1, Ordering::Relaxed);
        let estimate = self.estimate_nanos.load(Ordering::Relaxed);
        let next = match estimate {
            // To the scale of things first.
            _ if samples < MIN_SAMPLES / 4 => estimate.max(nanos),
            _ if nanos > estimate => estimate.saturating_add(estimate / STEP_SCALE * STEP_UP),
            _ => estimate - estimate / STEP_SCALE * STEP_DOWN,
        };
        self.estimate_nanos.store(next, Ordering::Relaxed);
        let saved = self.saved.load(Ordering::Relaxed);
        self.saved.store((saved + 1).min(PRICE * MAX_SAVED), Ordering::Relaxed);
    }

    /// How long to wait for a first answer; `None` while too little is known.
    pub(super) fn delay(&self, factor: f64) -> Option<Duration> {
        if self.samples.load(Ordering::Relaxed) < MIN_SAMPLES {
            return None;
        }
        Some(Duration::from_nanos(self.estimate_nanos.load(Ordering::Relaxed)).mul_f64(factor))
    }

    /// Pays for a second request, if the budget has it.
    pub(super) fn pay(&self) -> bool {
        let paid = |saved: u64| saved.checked_sub(PRICE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::Entropy;

    use super::*;

    #[test]
    fn the_estimate_settles_where_one_read_in_twenty_is_slower() {
        let (hedge, entropy) = (Hedge::default(), Entropy::from_seed(7));
        let draw = |scale: u64| Duration::from_micros(scale + entropy.next_u64() % scale);
        assert_eq!(hedge.delay(1.0), None);
        for scale in [10_000, 1_000, 50_000] {
            for _ in 0..20_000 {
                hedge.saw(draw(scale));
            }
            let estimate = hedge.delay(1.0).unwrap();
            let slower = (0..10_000).filter(|_| draw(scale) > estimate).count();
            assert!((200..1000).contains(&slower), "{slower} of 10000 above {estimate:?} at {scale} µs");
        }
    }

    #[test]
    fn at_most_one_request_in_twenty_is_asked_twice() {
        let hedge = Hedge::default();
        let mut second = 0_u64;
        for _ in 0..10_000 {
            hedge.saw(Duration::from_millis(1));
            second += u64::from(hedge.pay());
        }
        assert!((490..=500).contains(&second), "{second} of 10000");
        for _ in 0..10_000 {
            hedge.saw(Duration::from_millis(1));
        }
        assert_eq!(
            (0..1000).filter(|_| hedge.pay()).count() as u64,
            MAX_SAVED,
            "a quiet time is not saved for long"
        );
    }
}
