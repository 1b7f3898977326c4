//! Barrier alignment: a checkpoint is taken when its barrier has come through every lane that has not ended.
//!
//! Ids only grow. A newer barrier takes over from an older one, whose checkpoint was given up; what is left of the
//! older one in other lanes is ignored when it comes.
use alluvium_state_api::CheckpointId;

/// The barriers of one subtask's lanes.
#[derive(Debug)]
pub(super) struct Alignment {
    lanes: Vec<Lane>,
    /// The newest barrier seen.
    newest: CheckpointId,
    /// Whether `newest` still waits for lanes.
    aligning: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    delivered: bool,
    ended: bool,
}

/// What a barrier means for the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: its checkpoint was taken, or given up for a newer one.
    Stale,
    /// Its lane waits for the others.
    Joins,
    /// All lanes are free again, then its own waits for the others.
    Begins,
}

impl Alignment {
    pub(super) fn new(lanes: usize) -> Self {
        Self { lanes: vec![Lane::default(); lanes], newest: CheckpointId(0), aligning: false }
    }

    /// A barrier came through a lane.
    pub(super) fn barrier(&mut self, lane: usize, id: CheckpointId) -> Meaning {
        let meaning = self.order(id);
        if meaning != Meaning::Stale
            && let Some(lane) = self.lanes.get_mut(lane)
        {
            lane.delivered = true;
        }
        meaning
    }

    /// A barrier came past the lanes.
    pub(super) fn order(&mut self, id: CheckpointId) -> Meaning {
        if id < self.newest || (id == self.newest && !self.aligning) {
            return Meaning::Stale;
        }
        if id == self.newest {
            return Meaning::Joins;
        }
        self.newest = id;
        self.aligning = true;
        for lane in &mut self.lanes {
            lane.delivered = false;
        }
        Meaning::Begins
    }

    /// A lane ended: it counts as aligned for good.
    pub(super) fn end(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.ended = true;
        }
    }

    /// Whether nothing more will come.
    pub(super) fn all_ended(&self) -> bool {
        self.lanes.iter().all(|lane| lane.ended)
    }

    /// The checkpoint to take now; given once.
    pub(super) fn take_aligned(&mut self) -> Option<CheckpointId> {
        let aligned = self.aligning && self.lanes.iter().all(|lane| lane.delivered || lane.ended);
        self.aligning &= !aligned;
        aligned.then_some(self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CheckpointId = CheckpointId(1);
    const TWO: CheckpointId = CheckpointId(2);

    #[test]
    fn a_checkpoint_is_taken_once_every_lane_has_its_barrier() {
        let mut alignment = Alignment::new(2);
        assert_eq!(alignment.barrier(0, ONE), Meaning::Begins);
        assert_eq!(alignment.take_aligned(), None);
        assert_eq!(alignment.barrier(1, ONE), Meaning::Joins);
        assert_eq!(alignment.take_aligned(), Some(ONE));
        assert_eq!(alignment.take_aligned(), None);
        assert_eq!(alignment.order(ONE), Meaning::Stale);
    }

    #[test]
    fn a_newer_barrier_takes_over_and_the_older_ones_rest_is_ignored() {
        let mut alignment = Alignment::new(3);
        alignment.barrier(0, ONE);
        assert_eq!(alignment.barrier(1, TWO), Meaning::Begins);
        assert_eq!(alignment.barrier(2, ONE), Meaning::Stale);
        alignment.barrier(2, TWO);
        assert_eq!(alignment.take_aligned(), None, "lane 0 has only the older barrier");
        alignment.barrier(0, TWO);
        assert_eq!(alignment.take_aligned(), Some(TWO));
    }

    #[test]
    fn ended_lanes_count_as_aligned() {
        let mut alignment = Alignment::new(2);
        alignment.end(1);
        assert_eq!(alignment.barrier(0, ONE), Meaning::Begins);
        assert_eq!(alignment.take_aligned(), Some(ONE));
        alignment.end(0);
        assert!(alignment.all_ended());
        assert_eq!(alignment.order(TWO), Meaning::Begins);
        assert_eq!(alignment.take_aligned(), Some(TWO));
    }
}
