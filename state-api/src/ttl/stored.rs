//! Stamped bytes: what the backend inside holds of a state with a TTL.
use alluvium_env::{Error, Result};

/// Bytes of a stamp.
pub(super) const STAMP_BYTES: usize = 8;

/// Takes the stamp off the front.
#[inline]
pub(super) fn split_stamp(stored: &[u8]) -> Result<(u64, &[u8])> {
    match stored.split_first_chunk::<STAMP_BYTES>() {
        Some((stamp, rest)) => Ok((u64::from_le_bytes(*stamp), rest)),
        None => Err(Error::corruption(format!("{} bytes of a state with a TTL are no stamp", stored.len()))),
    }
}

/// The head of a stored accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The first add.
    pub(super) since: u64,
    /// The last add; none between came later than the TTL after the one before.
    pub(super) updated: u64,
}

impl Chain {
    pub(super) const BYTES: usize = 2 * STAMP_BYTES;

    /// An add at a time.
    pub(super) fn at(now: u64) -> Self {
        Self { since: now, updated: now }
    }

    /// The head and the accumulator.
    #[inline]
    pub(super) fn split(stored: &[u8]) -> Result<(Self, &[u8])> {
        let (since, rest) = split_stamp(stored)?;
        let (updated, accumulator) = split_stamp(rest)?;
        Ok((Self { since, updated }, accumulator))
    }

    #[inline]
    pub(super) fn bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (since, updated) = bytes.split_at_mut(STAMP_BYTES);
        since.copy_from_slice(&self.since.to_le_bytes());
        updated.copy_from_slice(&self.updated.to_le_bytes());
        bytes
    }

    /// The chain of both, `later` having been added when this one had not expired; `None` if it had.
    #[inline]
    pub(super) fn extended(self, later: Self, ttl_millis: u64) -> Option<Self> {
        let unbroken = later.since < self.updated.saturating_add(ttl_millis);
        unbroken.then_some(Self { since: self.since, updated: self.updated.max(later.updated) })
    }
}
