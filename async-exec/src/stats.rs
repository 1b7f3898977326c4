//! Figures of a controller, for reports and tests.
use std::ops::AddAssign;

/// Counters of one controller since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerStats {
    /// Records that ended.
    pub records: u64,
    /// Timers that ended.
    pub timers: u64,
    /// Records that waited for state, or for any other future, at least once when it was their turn.
    pub suspended: u64,
    /// Records that waited behind an earlier one of their key.
    pub queued: u64,
    /// Those of them whose preludes began meanwhile.
    pub begun_ahead: u64,
    /// Read batches handed to the backend.
    pub batches: u64,
    /// Reads in those batches.
    pub reads: u64,
    /// How many of the batches had 1 read, 2 to 9, 10 to 99, 100 to 999, and more.
    pub batch_sizes: [u64; 5],
}

impl ControllerStats {
    /// A batch of so many reads goes to the backend.
    pub(crate) fn submitted(&mut self, reads: usize) {
        self.batches += 1;
        self.reads += reads as u64;
        let class = match reads {
            0..=1 => 0,
            2..10 => 1,
            10..100 => 2,
            100..1000 => 3,
            _ => 4,
        };
        if let Some(batches) = self.batch_sizes.get_mut(class) {
            *batches += 1;
        }
    }
}

/// What one controller has in flight now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControllerLoad {
    /// Records, and timers, that have started and wait for state or another future, or to be polled. As many keys are
    /// busy.
    pub active: usize,
    /// Those that wait behind an earlier one of their key.
    pub blocked: usize,
    /// The keys behind which they wait.
    pub blocked_keys: usize,
    /// Those of them whose preludes have begun.
    pub preludes: usize,
    /// What all of them take.
    pub bytes: usize,
    /// Events that are not done.
    pub pending_events: usize,
}

impl AddAssign for ControllerStats {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.timers += other.timers;
        self.suspended += other.suspended;
        self.queued += other.queued;
        self.begun_ahead += other.begun_ahead;
        self.batches += other.batches;
        self.reads += other.reads;
        self.batch_sizes.iter_mut().zip(other.batch_sizes).for_each(|(sum, batches)| *sum += batches);
    }
}
