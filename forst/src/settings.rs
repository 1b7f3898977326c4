//! Settings of a store, and the split of its memory (design D14).
use std::path::PathBuf;

use alluvium_env::{Error, Result};

/// Settings of one subtask's store. Plain data; [`ForstSettings::validate`] says what contradicts.
#[derive(Clone, Debug)]
pub struct ForstSettings {
    /// All memory of one store in bytes: memtables, blocks, filters and indexes, buffers of background jobs. More
    /// keeps more state resident and flushes less often. At least [`ForstSettings::MIN_MEMORY_BYTES`].
    pub memory_bytes: u64,
    /// A data block's size before compression. More costs bytes a miss, less costs index memory.
    pub block_size_bytes: usize,
    /// Two blocks of one table this close are fetched in one request. More costs bytes, less costs requests.
    pub coalesce_gap_bytes: u64,
    /// Fetch all ranges of a table in one call instead of one request each: for stores that answer from an open file.
    pub vectored_reads: bool,
    /// The folder of the disk tier; `None` goes without.
    pub cache_dir: Option<PathBuf>,
    /// What the disk tier may take, for all stores of the process together.
    pub cache_size_bytes: u64,
}

impl Default for ForstSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            block_size_bytes: 4 << 10,
            coalesce_gap_bytes: 16 << 10,
            vectored_reads: false,
            cache_dir: None,
            cache_size_bytes: 1 << 30,
        }
    }
}

/// A larger memtable saves few merges more, but its flush is a long one that ends late.
const MAX_MEMTABLE_BYTES: usize = 256 << 20;
/// Two sources with reads of 1 MiB and two ahead for each of a dozen runs, and the tables being built.
const MAX_BACKGROUND_BYTES: usize = 128 << 20;

impl ForstSettings {
    /// Below this the smallest memtables and buffers do not fit.
    pub const MIN_MEMORY_BYTES: u64 = 1 << 20;

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// `Invalid`, naming the settings that contradict.
    pub fn validate(&self) -> Result<()> {
        if self.memory_bytes < Self::MIN_MEMORY_BYTES {
            let (memory, least) = (self.memory_bytes, Self::MIN_MEMORY_BYTES);
            return Err(Error::invalid(format!(
                "memory_bytes is {memory} but a store needs at least {least}: give more memory or fewer subtasks"
            )));
        }
        if self.block_size_bytes < 512 || self.block_size_bytes as u64 > self.memory_bytes / 64 {
            let (block, memory) = (self.block_size_bytes, self.memory_bytes);
            return Err(Error::invalid(format!(
                "block_size_bytes is {block}: it must be at least 512 and at most a 64th of memory_bytes ({memory})"
            )));
        }
        Ok(())
    }

    pub(crate) fn budget(&self) -> Budget {
        let memory = self.memory_bytes as usize;
        let memtable_bytes = (memory / 4).min(MAX_MEMTABLE_BYTES);
        let background_bytes = (memory / 8).min(MAX_BACKGROUND_BYTES);
        Budget {
            memtable_bytes,
            background_bytes,
            table_size_bytes: (memory / 16).min(32 << 20),
            level_base_bytes: memtable_bytes as u64 * 2,
            resident_bytes: memory - 2 * memtable_bytes - background_bytes,
        }
    }
}

/// How a store's memory is split. A memtable fills while one is being flushed: two large ones write fewer tables than
/// three small ones.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "units last")]
pub(crate) struct Budget {
    /// One memtable: a quarter, so that two are half, up to [`MAX_MEMTABLE_BYTES`].
    pub(crate) memtable_bytes: usize,
    /// Buffers of flush and compaction: an eighth, up to [`MAX_BACKGROUND_BYTES`].
    pub(crate) background_bytes: usize,
    /// One output table.
    pub(crate) table_size_bytes: usize,
    /// The most that the first level below level 0 holds.
    pub(crate) level_base_bytes: u64,
    /// Blocks, filters and indexes: the rest, at least three eighths. What filters and indexes take is taken from the blocks.
    pub(crate) resident_bytes: usize,
}
