//! What user code sees of a timer.
use std::fmt;

use alluvium_env::Result;

use crate::KeyCodec;

/// A moment of event time or processing time, in milliseconds; of processing time, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before all others: the watermark of a stream that has not told any.
    pub const MIN: Self = Self(i64::MIN);
    /// After all others: the watermark at the end of the input.
    pub const MAX: Self = Self(i64::MAX);

    /// As many milliseconds later; [`Timestamp::MAX`] if that is past it.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// By which time a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeDomain {
    /// The stream's own: the watermark.
    EventTime,
    /// The machine's: the wall clock of the job.
    ProcessingTime,
}

impl TimeDomain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::EventTime, Self::ProcessingTime];

    /// The name of the state in which its timers are.
    pub(crate) fn state_name(self) -> &'static str {
        match self {
            Self::EventTime => "timers of event time",
            Self::ProcessingTime => "timers of processing time",
        }
    }
}

/// A timer that fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    pub(crate) domain: TimeDomain,
    pub(crate) time: Timestamp,
    pub(crate) namespace: Vec<u8>,
}

impl Timer {
    /// A timer with its domain, time and namespace.
    pub(crate) fn of((domain, time, namespace): (TimeDomain, Timestamp, &[u8])) -> Self {
        Self { domain, time, namespace: namespace.to_vec() }
    }

    /// What it was registered for. The time it fires at may be later.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// By which time it fires.
    pub fn domain(&self) -> TimeDomain {
        self.domain
    }

    /// The namespace it was registered in.
    ///
    /// # Errors
    /// `Corruption` if it was registered in a namespace of another type, or in none.
    pub fn namespace<N: KeyCodec + ?Sized>(&self) -> Result<N::Owned> {
        N::decode_key(&self.namespace)
    }
}
