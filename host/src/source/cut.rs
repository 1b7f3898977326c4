//! One cut through all sources: what the coordinator knows of their progress at the barrier of one checkpoint.
//!
//! **Invariants**: a source's standing is folded in once, in order, and never before the checkpoint it belongs to:
//! what a source reported by ending after its barrier waits for the next checkpoint.
use alluvium_state_api::CheckpointId;
use bytes::Bytes;

use super::{SourceProgress, Standing};

/// The progress at the last barrier, and which sources may still send one.
pub(crate) struct SourceCut {
    progress: SourceProgress,
    sources: Vec<Seen>,
}

#[derive(Clone, Default)]
struct Seen {
    /// The last barrier it sent.
    barrier: Option<CheckpointId>,
    ended: bool,
    /// What it said when it ended, if that is behind the pending checkpoint's barrier.
    after_barrier: Option<Standing>,
}

impl SourceCut {
    pub(crate) fn new(progress: SourceProgress, sources: usize) -> Self {
        Self { progress, sources: vec![Seen::default(); sources] }
    }

    /// A source has sent its barrier.
    pub(crate) fn at_barrier(&mut self, source: usize, id: CheckpointId, standing: Standing) {
        if let Some(seen) = self.sources.get_mut(source) {
            seen.barrier = Some(id);
            self.progress.update(standing);
        }
    }

    /// A source has ended. Returns whether that is its acknowledgement of the pending checkpoint.
    pub(crate) fn ended(&mut self, source: usize, standing: Standing, pending: Option<CheckpointId>) -> bool {
        let Some(seen) = self.sources.get_mut(source) else { return false };
        seen.ended = true;
        if pending.is_some() && seen.barrier == pending {
            seen.after_barrier = Some(standing);
            return false;
        }
        self.progress.update(standing);
        pending.is_some()
    }

    /// A checkpoint begins: the sources that have ended acknowledge it at once.
    pub(crate) fn begin(&mut self) -> Vec<usize> {
        for seen in &mut self.sources {
            if let Some(standing) = seen.after_barrier.take() {
                self.progress.update(standing);
            }
        }
        (0..).zip(&self.sources).filter(|(_, seen)| seen.ended).map(|(index, _)| index).collect()
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.sources.iter().all(|seen| seen.ended)
    }

    /// The progress as a checkpoint holds it.
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
        let one = CheckpointId(1);
        let mut cut = SourceCut::new(SourceProgress::start(&Splits(9)), 3);
        assert!(cut.begin().is_empty());
        cut.at_barrier(0, one, finished(&[0]));
        assert!(!cut.ended(0, finished(&[1]), Some(one)), "it has acknowledged by its barrier");
        assert!(cut.ended(1, finished(&[2]), Some(one)), "its end is its barrier");
        assert_eq!(done(&cut), [0, 2]);
        assert!(!cut.ended(2, finished(&[3]), None));
        assert_eq!(cut.begin(), [0, 1, 2]);
        assert_eq!(done(&cut), [0, 1, 2, 3]);
        assert!(cut.all_ended());
    }
}
