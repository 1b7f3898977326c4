//! Which blocks of what a job writes go into the block cache, so that a flush or a compaction makes nothing cold (design
//! D9).
//!
//! A small job hands over all it writes. A large one hands over the blocks of which most entries came from blocks that
//! were in memory when it began: those whose place in the cache falls free when its inputs go.
//!
//! **Invariants**: what jobs hold for the cache counts as if it was in the cache already, so that all together stay
//! within the cache's capacity: none takes of what there was room for when it began what another has taken since.
//!
//! **Threads**: jobs count on background threads, the task thread looks.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alluvium_env::HashMap;

use super::FileId;
use crate::block::Block;

/// Which blocks a job hands over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Keep {
    #[default]
    Nothing,
    /// Those that come of warm ones.
    Warm,
    All,
}

/// What a job hands over, with its account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeping {
    which: Keep,
    /// The most that all may hold together.
    most_bytes: usize,
    bytes: Arc<AtomicUsize>,
    all_bytes: Arc<AtomicUsize>,
}

impl Keeping {
    /// Up to `most_bytes` of blocks, less what others count in `all_bytes` from now on.
    pub(crate) fn new(which: Keep, most_bytes: usize, all_bytes: Arc<AtomicUsize>) -> Self {
        let most_bytes = all_bytes.load(Ordering::Relaxed).saturating_add(most_bytes);
        Self { which, most_bytes, bytes: Arc::default(), all_bytes }
    }

    /// The job has ended: they are the cache's, or nobody's.
    pub(crate) fn end(&mut self) {
        self.all_bytes.fetch_sub(self.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        self.which = Keep::Nothing;
    }

    /// Whether a block is to be kept; if so, it is counted.
    pub(crate) fn takes(&self, is_warm: bool, block_bytes: usize) -> bool {
        let wanted = match self.which {
            Keep::Nothing => false,
            Keep::Warm => is_warm,
            Keep::All => true,
        };
        let within = |all: usize| all.checked_add(block_bytes).filter(|all| *all <= self.most_bytes);
        let takes =
            wanted && self.all_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        if takes {
            self.bytes.fetch_add(block_bytes, Ordering::Relaxed);
        }
        takes
    }
}

/// A block that was kept.
pub(crate) struct KeptBlock {
    pub(crate) number: u32,
    pub(crate) block: Block,
    /// Whether it came of blocks that were in memory.
    pub(crate) is_warm: bool,
}

/// Which blocks of some tables are in memory: a bit a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct WarmBlocks(HashMap<FileId, Arc<[u64]>>);

impl WarmBlocks {
    pub(crate) fn add(&mut self, file: FileId, blocks: Arc<[u64]>) {
        self.0.insert(file, blocks);
    }

    pub(crate) fn of(&self, file: FileId) -> Option<&Arc<[u64]>> {
        self.0.get(&file)
    }
}

/// Whether the bit of a block is set.
pub(crate) fn is_warm(blocks: &[u64], number: usize) -> bool {
    blocks.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_job_takes_another_that_began_before_has_no_more() {
        let all = Arc::new(AtomicUsize::new(0));
        let mut first = Keeping::new(Keep::All, 100, Arc::clone(&all));
        assert!(first.takes(false, 30));
        // As much room as the cache has left by then.
        let mut second = Keeping::new(Keep::Warm, 70, Arc::clone(&all));
        assert!(second.takes(true, 60) && !second.takes(false, 1));
        assert!(!first.takes(false, 20) && first.takes(false, 10) && !second.takes(true, 1));
        assert_eq!(all.load(Ordering::Relaxed), 100);
        second.end();
        assert_eq!(all.load(Ordering::Relaxed), 40);
        assert!(first.takes(false, 60), "the cache has its part again");
        first.end();
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
