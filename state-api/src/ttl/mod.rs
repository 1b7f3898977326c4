//! Time to live: state that vanishes some time after it was last written, or last used (Flink's `StateTtlConfig`).
//!
//! A state with a TTL stores with every value the processing time of its last update; the [`TtlBackend`] around a
//! [`StampedBackend`] writes and reads these stamps, so that user code, the controller and states without a TTL know
//! nothing of them. The backend inside holds stamped bytes, and asks [`Lifetimes`] what it may clean up.
//!
//! | kind | stored | lives until |
//! |---|---|---|
//! | value, map entry | `updated · value` | `updated + duration` |
//! | list | elements, each `updated · element` | each element: `updated + duration` |
//! | reducing, aggregating | `since · updated · accumulator` | `updated + duration`, `updated` being the last add |
//!
//! Stamps are milliseconds of the Unix epoch, `u64le`. An accumulator that had expired when something was added does not
//! count any more. To decide that for adds that have not met yet, both carry `since`: the first add of an unbroken chain,
//! in which none came later than the TTL after the one before ([`operator`](self)).
//!
//! **Invariants**: a subtask's time never goes back, not even over a restart on a machine whose clock is behind
//! ([`TtlTime`]), so stamps of one key only grow; and what has expired once stays expired, even if a restart makes the
//! duration longer ([`Lifetimes`]). Both together mean: of a value or a list that has expired, everything older has
//! expired too.
mod backend;
#[cfg(test)]
mod format_tests;
mod lifetime;
mod lifetimes;
mod operator;
mod reading;
mod stored;
mod time;

use std::time::Duration;

pub use backend::{StampedBackend, TtlBackend};
pub use lifetimes::{Age, Lifetimes};
pub use time::TtlTime;

pub(crate) use operator::Accumulating;

/// How long state lives, and what readers see of it once it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateTtl {
    /// How long a value lives after its last update, by processing time; counted in milliseconds. It may change over a
    /// restart, but what had expired before stays expired. Not so far for accumulators: an add after the restart, or one that had not
    /// been folded by then, goes by the new duration whatever the gap before it was.
    pub duration: Duration,
    /// What counts as an update.
    pub update: TtlUpdate,
    /// Whether an expired value can be seen.
    pub visibility: TtlVisibility,
}

/// What begins a value's life anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtlUpdate {
    /// Writes do.
    #[default]
    OnCreateAndWrite,
    /// Reads do too. A read writes, so it does only once a tenth of the duration has passed since the last update: a
    /// value that is read lives at least nine tenths of the duration from then on.
    OnReadAndWrite,
}

/// Whether an expired value can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtlVisibility {
    /// Never.
    #[default]
    NeverReturnExpired,
    /// Until it is cleaned up, at a time that nobody promises: fewer surprises for values that are merely stale.
    ReturnExpiredIfNotCleanedUp,
}

impl StateTtl {
    /// A value lives this long after it was written, and is not seen afterwards.
    pub fn new(duration: Duration) -> Self {
        Self { duration, update: TtlUpdate::default(), visibility: TtlVisibility::default() }
    }

    /// Says what counts as an update.
    #[must_use]
    pub fn with_update(self, update: TtlUpdate) -> Self {
        Self { update, ..self }
    }

    /// Says whether an expired value can be seen.
    #[must_use]
    pub fn with_visibility(self, visibility: TtlVisibility) -> Self {
        Self { visibility, ..self }
    }

    /// The duration in milliseconds; one beyond any clock if it does not fit.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }
}
