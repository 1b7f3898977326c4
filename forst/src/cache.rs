//! The memory tier: decoded blocks of one store, owned by its task thread.
//!
//! There is no lock because there is no sharing: blocks are decoded on the I/O runtime and handed to the task thread,
//! which alone inserts and reads them. What filters and indexes take is taken from the blocks (design D14).
use std::sync::Arc;

use alluvium_env::RandomState;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::block::Block;
use crate::table::FileId;

type BlockKey = (FileId, u32);

#[derive(Clone, Debug)]
struct BySize;

impl Weighter<BlockKey, Arc<Block>> for BySize {
    fn weight(&self, _: &BlockKey, block: &Arc<Block>) -> u64 {
        (block.size_bytes() + size_of::<BlockKey>() + ENTRY_OVERHEAD_BYTES) as u64
    }
}

/// What the cache and the allocator add to a block.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Decoded blocks within a byte budget (S3-FIFO-like admission: a scan does not flush it).
pub(crate) struct BlockCache {
    blocks: Cache<BlockKey, Arc<Block>, BySize, RandomState>,
    resident_bytes: usize,
}

impl BlockCache {
    /// A cache that shares `resident_bytes` with the filters and indexes.
    pub(crate) fn new(resident_bytes: usize, block_size_bytes: usize) -> Self {
        let items = (resident_bytes / block_size_bytes).max(16);
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(items).weight_capacity(resident_bytes as u64);
        let lifecycle = DefaultLifecycle::default();
        let blocks = match options.build() {
            Ok(options) => Cache::with_options(options, BySize, RandomState::default(), lifecycle),
            Err(_) => Cache::with(items, resident_bytes as u64, BySize, RandomState::default(), lifecycle),
        };
        Self { blocks, resident_bytes }
    }

    #[inline]
    pub(crate) fn get(&self, file: FileId, block: u32) -> Option<&Arc<Block>> {
        self.blocks.get(&(file, block))
    }

    pub(crate) fn insert(&mut self, file: FileId, number: u32, block: Arc<Block>) {
        self.blocks.insert((file, number), block);
    }

    /// Gives the blocks what filters and indexes leave, at least an eighth.
    pub(crate) fn make_room(&mut self, tail_bytes: usize) {
        let left = self.resident_bytes.saturating_sub(tail_bytes).max(self.resident_bytes / 8);
        self.blocks.set_capacity(left as u64);
    }

    /// Bytes it may hold now.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.blocks.capacity()
    }

    /// Forgets the blocks of tables that are gone.
    pub(crate) fn forget(&mut self, gone: &[FileId]) {
        if !gone.is_empty() {
            self.blocks.retain(|(file, _), _| !gone.contains(file));
        }
    }
}
