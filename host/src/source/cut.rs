//! Cuts through all sources: what the coordinator knows of their progress at the barriers of checkpoints.
//!
//! **Invariants**: what a source said is folded in once, in order, and never before the checkpoint it belongs to: a
//! source may be behind the barriers of later checkpoints, or have ended, while an earlier one waits for another source.
use std::collections::VecDeque;

use alluvium_state_api::CheckpointId;
use bytes::Bytes;

use super::{SourceProgress, Standing};

/// The progress at the barrier that was cut last, and what sources said behind it.
pub(crate) struct SourceCut {
    progress: SourceProgress,
    sources: Vec<Seen>,
}

#[derive(Clone)]
struct Seen {
    /// The last barrier it sent.
    barrier: CheckpointId,
    ended: bool,
    /// What it said, by the first checkpoint it belongs to.
    said: VecDeque<(CheckpointId, Standing)>,
}

impl SourceCut {
    pub(crate) fn new(progress: SourceProgress, sources: usize) -> Self {
        let unseen = Seen { barrier: CheckpointId(0), ended: false, said: VecDeque::new() };
        Self { progress, sources: vec![unseen; sources] }
    }

    /// A source has sent a barrier.
    pub(crate) fn at_barrier(&mut self, source: usize, id: CheckpointId, standing: Standing) {
        if let Some(seen) = self.sources.get_mut(source) {
            seen.barrier = id;
            seen.said.push_back((id, standing));
        }
    }

    /// A source has ended. Returns the last barrier that it sent: its end is its barrier for all later ones.
    pub(crate) fn ended(&mut self, source: usize, standing: Standing) -> CheckpointId {
        let Some(seen) = self.sources.get_mut(source) else { return CheckpointId(u64::MAX) };
        seen.ended = true;
        seen.said.push_back((CheckpointId(seen.barrier.0 + 1), standing));
        seen.barrier
    }

    /// The sources that have ended: they acknowledge whatever begins now.
    pub(crate) fn gone(&self) -> Vec<usize> {
        (0..).zip(&self.sources).filter(|(_, seen)| seen.ended).map(|(index, _)| index).collect()
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.sources.iter().all(|seen| seen.ended)
    }

    /// Moves the cut to a checkpoint that all sources have acknowledged.
    pub(crate) fn advance(&mut self, id: CheckpointId) {
        for seen in &mut self.sources {
            while let Some((_, standing)) = seen.said.pop_front_if(|(of, _)| *of <= id) {
                self.progress.update(standing);
            }
        }
    }

    /// The progress at the cut, as a checkpoint holds it.
    pub(crate) fn encode(&self) -> Bytes {
        self.progress.encode()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::{Error, Result};

    use super::super::{SplitReader, SplitSource};
    use super::*;

    struct Splits(u64);

    impl SplitSource for Splits {
        fn splits(&self) -> u64 {
            self.0
        }
        fn fingerprint(&self) -> String {
            String::new()
        }
        fn open(&self, _: u64, _: u64) -> Result<Box<dyn SplitReader>> {
            Err(Error::internal("nobody reads"))
        }
    }

    fn done(cut: &SourceCut) -> Vec<u64> {
        (0..9).filter(|split| cut.progress.done().contains(*split)).collect()
    }

    fn finished(splits: &[u64]) -> Standing {
        Standing { finished: splits.to_vec(), reading: None }
    }

    #[test]
    fn what_a_source_did_after_its_barrier_belongs_to_the_next_checkpoint() {
        let [one, two] = [1, 2].map(CheckpointId);
        let mut cut = SourceCut::new(SourceProgress::start(&Splits(9)), 3);
        cut.at_barrier(0, one, finished(&[0]));
        assert_eq!(cut.ended(0, finished(&[1])), one, "it has acknowledged the first by its barrier");
        assert_eq!(cut.ended(1, finished(&[2])), CheckpointId(0), "its end is its barrier");
        cut.at_barrier(2, one, finished(&[]));
        assert_eq!(cut.gone(), [0, 1]);
        cut.advance(one);
        assert_eq!(done(&cut), [0, 2]);
        cut.ended(2, finished(&[3]));
        assert!(cut.all_ended());
        assert_eq!(done(&cut), [0, 2]);
        cut.advance(two);
        assert_eq!(done(&cut), [0, 1, 2, 3]);
    }

    #[test]
    fn a_source_far_ahead_changes_no_earlier_cut() {
        let [one, two, three] = [1, 2, 3].map(CheckpointId);
        let mut cut = SourceCut::new(SourceProgress::start(&Splits(9)), 2);
        cut.at_barrier(0, one, finished(&[0]));
        cut.at_barrier(0, two, finished(&[1]));
        cut.at_barrier(0, three, finished(&[2]));
        cut.at_barrier(1, one, finished(&[3]));
        cut.advance(one);
        assert_eq!(done(&cut), [0, 3]);
        cut.at_barrier(1, three, finished(&[4]));
        cut.advance(three);
        assert_eq!(
            done(&cut),
            [0, 1, 2, 3, 4],
            "the second was given up, and what was said at it is not lost"
        );
    }
}
