//! What a schedule was.

/// The figures of one schedule, or the sums of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Of every event with its time: two runs of one seed have the same.
    pub hash: u64,
    /// Calls to the store, their effects, and what processes did.
    pub events: u64,
    /// Processes that claimed the state.
    pub claims: u64,
    /// Jobs that were begun from a checkpoint of another root, which they claimed or left alone.
    pub forks: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Processes that went on after a later one had started.
    pub zombies: u64,
    /// Processes that ended because they were fenced.
    pub fenced: u64,
    /// Checkpoints that coordinators called complete.
    pub completed: u64,
    /// Checkpoints that were given up.
    pub failed: u64,
    /// Checkpoints that were given up for a newer one.
    pub subsumed: u64,
    /// Checkpoints whose every byte was compared with what should be counted.
    pub verified: u64,
    /// Calls to the store that went wrong in some way.
    pub faults: u64,
    /// Pages that were taken over from the checkpoint a process began with.
    pub adopted: u64,
    /// Files of former attempts that were swept.
    pub deleted: u64,
    /// Collections of garbage from outside that went to their end.
    pub collections: u64,
    /// What they deleted.
    pub collected: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.hash = self.hash.rotate_left(1) ^ other.hash;
        self.events += other.events;
        self.claims += other.claims;
        self.forks += other.forks;
        self.kills += other.kills;
        self.zombies += other.zombies;
        self.fenced += other.fenced;
        self.completed += other.completed;
        self.failed += other.failed;
        self.subsumed += other.subsumed;
        self.verified += other.verified;
        self.faults += other.faults;
        self.adopted += other.adopted;
        self.deleted += other.deleted;
        self.collections += other.collections;
        self.collected += other.collected;
    }
}
