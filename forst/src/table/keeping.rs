//! Which blocks of what a job writes go into the block cache, so that a flush or a compaction makes nothing cold (design
//! D9).
//!
//! A small job hands over all it writes. A large one hands over the blocks of which most entries came from blocks that
//! were in memory when it began: those whose place in the cache falls free when its inputs go.
//!
//! **Invariants**: what jobs hold for the cache counts as if it was in the cache already, so that both together stay
//! within the cache's capacity.
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
    most_bytes: usize,
    bytes: Arc<AtomicUsize>,
}

impl Keeping {
    /// Up to `most_bytes` of blocks.
    pub(crate) fn new(which: Keep, most_bytes: usize) -> Self {
        Self { which, most_bytes, bytes: Arc::default() }
    }

    /// Bytes that are held for the cache.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether a block is to be kept; if so, it is counted.
    pub(crate) fn takes(&self, is_warm: bool, block_bytes: usize) -> bool {
        let wanted = match self.which {
            Keep::Nothing => false,
            Keep::Warm => is_warm,
            Keep::All => true,
        };
        // Two halves of a flush may pass the limit by a block each.
        let takes = wanted && self.bytes() + block_bytes <= self.most_bytes;
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
