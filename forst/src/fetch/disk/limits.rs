//! What the disk tier may take.

/// Limits of the disk tier; they can change while it is in use ([`super::DiskCache::set_limits`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// What all mirrors may take on the disk, in bytes. More keeps more reads off the object store.
    pub size_bytes: u64,
    /// What others on the same disk need, in bytes: the tier shrinks before less is free.
    pub min_free_bytes: u64,
}

impl DiskLimits {
    /// What must go before `more` bytes can be taken.
    pub(super) fn excess(&self, taken: u64, free: u64, more: u64) -> u64 {
        let over = taken.saturating_add(more).saturating_sub(self.size_bytes);
        let short = self.min_free_bytes.saturating_add(more).saturating_sub(free);
        over.max(short)
    }
}
