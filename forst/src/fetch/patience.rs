//! How long a request is tried: pure decisions, no waiting.
use std::time::Duration;

use alluvium_env::{Entropy, Error};

use super::error::Failure;
use crate::settings::FetchSettings;

/// The longest first pause; each further one may be twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Attempts at an object that is missing, or whose answers are wrong, before that is believed.
const DOUBTS: u32 = 3;
/// A body that moves slower than this may run into the deadline.
const SLOWEST_BYTES_A_SECOND: u64 = 1 << 20;

/// The attempts at one request.
pub(super) struct Patience<'a> {
    settings: &'a FetchSettings,
    name: &'a str,
    /// What a large body may take on top.
    allowance: Duration,
    attempts: u32,
    doubts: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(settings: &'a FetchSettings, name: &'a str, body_bytes: u64) -> Self {
        let allowance = Duration::from_millis(body_bytes * 1000 / SLOWEST_BYTES_A_SECOND);
        Self { settings, name, allowance, attempts: 0, doubts: 0 }
    }

    /// What the next attempt may take, `elapsed` after the first began.
    pub(super) fn attempt(&self, elapsed: Duration) -> Duration {
        let left = (self.settings.deadline + self.allowance).saturating_sub(elapsed);
        left.min(self.settings.attempt_timeout + self.allowance)
    }

    /// The pause before the next attempt, or why there is none.
    pub(super) fn after(
        &mut self,
        failure: Failure,
        elapsed: Duration,
        entropy: &Entropy,
    ) -> Result<Duration, Error> {
        self.attempts += 1;
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Missing(error) | Failure::Wrong(error) => {
                self.doubts += 1;
                if self.doubts == DOUBTS {
                    return Err(error);
                }
                Ok(self.pause(entropy))
            }
            Failure::Again(error) => {
                let pause = self.pause(entropy);
                if elapsed + pause < self.settings.deadline + self.allowance {
                    return Ok(pause);
                }
                let (name, attempts) = (self.name, self.attempts);
                Err(Error::unavailable(format!(
                    "object {name}: the store did not answer {attempts} attempts within {:.1} s; check the store \
                     and continue from the last checkpoint",
                    elapsed.as_secs_f64()
                ))
                .with_source(error))
            }
        }
    }

    /// Exponential with full jitter, so that clients that failed together do not come back together.
    fn pause(&self, entropy: &Entropy) -> Duration {
        let doublings = (self.attempts - 1).min(16);
        let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        let nanos = longest.as_nanos() as u64;
        Duration::from_nanos(nanos / 4 + entropy.next_u64() % (nanos * 3 / 4))
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn again() -> Failure {
        Failure::Again(Error::unavailable("503"))
    }

    #[test]
    fn a_store_that_is_away_is_asked_less_and_less_often_until_the_deadline() {
        let settings = FetchSettings { deadline: Duration::from_mins(1), ..FetchSettings::default() };
        let entropy = Entropy::from_seed(1);
        let mut patience = Patience::new(&settings, "a/b.sst", 0);
        let (mut elapsed, mut attempts) = (Duration::ZERO, 0);
        let error = loop {
            attempts += 1;
            match patience.after(again(), elapsed, &entropy) {
                Ok(pause) => {
                    assert!(pause <= FIRST_PAUSE * (1 << (attempts - 1)).min(100) && !pause.is_zero());
                    elapsed += pause;
                }
                Err(error) => break error,
            }
        };
        assert!(elapsed < settings.deadline && elapsed + LONGEST_PAUSE > settings.deadline, "{elapsed:?}");
        assert!((15..40).contains(&attempts), "{attempts} attempts in a minute");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let sentence = error.to_string();
        assert!(
            sentence.contains("a/b.sst") && sentence.contains(&format!("{attempts} attempts")),
            "{sentence}"
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_believed_after_a_few_attempts_and_a_refusal_at_once() {
        let (settings, entropy) = (FetchSettings::default(), Entropy::from_seed(1));
        let mut patience = Patience::new(&settings, "a", 0);
        for attempt in 1..=DOUBTS {
            let failure = Failure::Missing(Error::corruption("is missing"));
            let next = patience.after(failure, Duration::ZERO, &entropy);
            assert_eq!(next.is_err(), attempt == DOUBTS);
        }
        let refusal = Failure::Final(Error::invalid("no access"));
        assert!(Patience::new(&settings, "a", 0).after(refusal, Duration::ZERO, &entropy).is_err());
    }

    #[test]
    fn a_large_body_has_the_time_it_needs_and_no_attempt_outlives_the_deadline() {
        let settings = FetchSettings::default();
        let large = Patience::new(&settings, "a", 64 << 20);
        assert!(large.attempt(Duration::ZERO) >= Duration::from_secs(64));
        let small = Patience::new(&settings, "a", 4096);
        assert!(small.attempt(Duration::ZERO) < settings.attempt_timeout + Duration::from_millis(10));
        assert!(small.attempt(settings.deadline).as_millis() < 10);
    }
}
