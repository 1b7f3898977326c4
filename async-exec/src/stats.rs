//! Figures of a controller, for reports and tests.
use std::ops::AddAssign;

/// Counters of one controller since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerStats {
    /// Records that ended.
    pub records: u64,
    /// Records that waited for state, or for any other future, at least once.
    pub suspended: u64,
    /// Records that waited behind an earlier one of their key.
    pub queued: u64,
    /// Read batches handed to the backend.
    pub batches: u64,
    /// Reads in those batches.
    pub reads: u64,
}

impl AddAssign for ControllerStats {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.suspended += other.suspended;
        self.queued += other.queued;
        self.batches += other.batches;
        self.reads += other.reads;
    }
}
