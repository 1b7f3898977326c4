//! Parts of the store, one by one, for the micro-benches (`benches/micro`). Only there with `--cfg benching`.
//!
//! What a bench repeats is a method that returns what it found, so that nothing can be left out as unused. Keys are
//! sixteen bytes, values a hundred, as in `alluvium bench`.
//!
//! **Failure**: errors are those of the parts; a key that is missing is one, because a bench of misses would look fast.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, Result};

use crate::block::{Block, BlockBuilder, BlockCursor};
use crate::cache::BlockCache;
use crate::coding::put_section;
use crate::compression::Compression;
use crate::entry::EntryKind;
pub use crate::fetch::{BuiltPart, DiskPart, Filling};
use crate::memtable::{Memtable, SortedMemtable};
use crate::scan::{Depth, MergeScan, Source};
use crate::store::Store;
use crate::table::{FileId, Filter, filter_hash};
use crate::{ForstSettings, NoMerges};

/// Bytes of a value.
const VALUE_BYTES: usize = 100;
/// The entries of a block of 4 KiB.
const BLOCK_ENTRIES: u64 = 36;

/// The key of a number: a key group, then bytes that look random and ascend with nothing.
pub fn key_of(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    key[1] = (spread >> 57) as u8;
    key[4..12].copy_from_slice(&spread.to_be_bytes());
    key[12..].copy_from_slice(&(number as u32).to_be_bytes());
    key
}

/// A value whose first half is random, as its key's number draws it.
pub fn value_of(number: u64) -> [u8; VALUE_BYTES] {
    let (random, mut value) = (Entropy::from_seed(number), [0; VALUE_BYTES]);
    for chunk in value[..VALUE_BYTES / 2].chunks_mut(8) {
        chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..chunk.len()]);
    }
    value
}

fn missing() -> Error {
    Error::internal("the bench asks for a key that is not there")
}

fn found<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(missing)
}

fn sorted_keys(numbers: std::ops::Range<u64>) -> Vec<[u8; 16]> {
    let mut keys: Vec<_> = numbers.map(key_of).collect();
    keys.sort_unstable();
    keys
}

/// A data block of 4 KiB.
#[derive(Debug)]
pub struct BlockPart {
    stored: Vec<u8>,
    block: Block,
    keys: Vec<[u8; 16]>,
}

impl BlockPart {
    /// Builds it.
    ///
    /// # Errors
    /// None, unless the builder is broken.
    pub fn new() -> Result<Self> {
        let keys = sorted_keys(0..BLOCK_ENTRIES);
        let mut builder = BlockBuilder::default();
        for (number, key) in (0..).zip(&keys) {
            builder.add(EntryKind::Put, key, &value_of(number));
        }
        let mut stored = Vec::new();
        put_section(&mut stored, builder.finish(), Compression::Lz4);
        let block = Block::decode(&stored)?;
        Ok(Self { stored, block, keys })
    }

    /// Checks and unpacks it, as after a fetch.
    ///
    /// # Errors
    /// `Corruption` if it is broken.
    pub fn decode(&self) -> Result<usize> {
        Ok(Block::decode(&self.stored)?.entries().len())
    }

    /// Seeks every key.
    ///
    /// # Errors
    /// `Corruption` if it is broken.
    pub fn seek_all(&self) -> Result<usize> {
        let (mut cursor, mut bytes) = (BlockCursor::default(), 0);
        for key in &self.keys {
            cursor.seek(&self.block, key)?;
            bytes += found(cursor.entry(&self.block))?.2.len();
        }
        Ok(bytes)
    }

    /// Walks all entries in order.
    ///
    /// # Errors
    /// `Corruption` if it is broken.
    pub fn iterate(&self) -> Result<usize> {
        let (mut cursor, mut bytes) = (BlockCursor::default(), 0);
        cursor.rewind(&self.block)?;
        while let Some((_, key, value)) = cursor.entry(&self.block) {
            bytes += key.len() + value.len();
            cursor.advance(&self.block)?;
        }
        Ok(bytes)
    }

    /// Gets every key, by search or, where the block is `hot`, by hash.
    ///
    /// # Errors
    /// `Corruption` if it is broken.
    pub fn get_all(&self, hot: bool) -> Result<usize> {
        let mut bytes = 0;
        for key in &self.keys {
            bytes += found(self.block.get(key, filter_hash(key), hot)?)?.1.len();
        }
        Ok(bytes)
    }
}

/// A memtable.
#[derive(Debug, Default)]
pub struct MemtablePart(Memtable);

impl MemtablePart {
    /// Puts the keys of these numbers.
    ///
    /// # Errors
    /// `Invalid` if it is full.
    pub fn insert(&mut self, numbers: std::ops::Range<u64>) -> Result<usize> {
        let value = [7; VALUE_BYTES];
        for number in numbers {
            self.0.write(EntryKind::Put, &key_of(number), &value)?;
        }
        Ok(self.0.size_bytes())
    }

    /// Gets the keys of these numbers.
    ///
    /// # Errors
    /// `Internal` if one is not there.
    pub fn get(&self, numbers: std::ops::Range<u64>) -> Result<usize> {
        let mut bytes = 0;
        for number in numbers {
            let mut pieces = found(self.0.get(&key_of(number)))?;
            bytes += found(pieces.next())?.1.len();
        }
        Ok(bytes)
    }
}

/// A table's filter.
#[derive(Debug)]
pub struct FilterPart(Filter);

impl FilterPart {
    /// The filter of so many keys.
    pub fn new(keys: u64) -> Self {
        Self(Filter::build((0..keys).map(|number| filter_hash(&key_of(number))).collect()))
    }

    /// Asks for the keys of these numbers, their hashes included; returns how many it lets pass.
    pub fn probe(&self, numbers: std::ops::Range<u64>) -> usize {
        numbers.filter(|number| self.0.may_contain(filter_hash(&key_of(*number)))).count()
    }
}

/// Sorted runs that hold different keys.
#[derive(Debug)]
pub struct MergePart(Vec<Arc<Memtable>>);

impl MergePart {
    /// So many runs with so many keys each.
    ///
    /// # Errors
    /// `Invalid` if a memtable is full.
    pub fn new(runs: u64, keys: u64) -> Result<Self> {
        let run = |run| {
            let mut table = Memtable::default();
            for number in 0..keys {
                let number = number * runs + run;
                table.write(EntryKind::Put, &key_of(number), &value_of(number))?;
            }
            Ok(Arc::new(table))
        };
        (0..runs).map(run).collect::<Result<_>>().map(Self)
    }

    /// The runs in order, ready to be merged.
    pub fn sorted(&self) -> SortedRuns {
        let sources = self.0.iter().map(|table| Source::memtable(SortedMemtable::new(Arc::clone(table))));
        SortedRuns(MergeScan::new(sources.collect(), Arc::new(NoMerges), Depth::Bottom))
    }
}

/// Runs at their first entry.
pub struct SortedRuns(MergeScan<Source>);

impl std::fmt::Debug for SortedRuns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SortedRuns")
    }
}

impl SortedRuns {
    /// Merges them to the end; returns how many bytes there were.
    ///
    /// # Errors
    /// What a merge can meet.
    pub fn merge(&mut self) -> Result<usize> {
        let mut bytes = 0;
        while let Some(merged) = self.0.next_merged()? {
            bytes += merged.entry.1.len() + merged.entry.2.len();
        }
        Ok(bytes)
    }
}

/// A block cache that holds all blocks of a few tables.
pub struct CachePart {
    cache: BlockCache,
    blocks: u32,
}

/// Tables in the cache.
const CACHED_TABLES: u64 = 8;

impl std::fmt::Debug for CachePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachePart").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

impl CachePart {
    /// So many blocks a table.
    ///
    /// # Errors
    /// None, unless a block's builder is broken.
    pub fn new(blocks: u32) -> Result<Self> {
        let mut cache = BlockCache::new(1 << 30);
        let stored = BlockPart::new()?.stored;
        let block = Block::decode(&stored)?;
        for table in 0..CACHED_TABLES {
            (0..blocks).for_each(|number| cache.insert(FileId(table), number, block.clone()));
        }
        Ok(Self { cache, blocks })
    }

    /// Asks for so many blocks that are there.
    ///
    /// # Errors
    /// `Internal` if one is not.
    pub fn hits(&self, asked: u64) -> Result<usize> {
        let (random, mut bytes) = (Entropy::from_seed(1), 0);
        for _ in 0..asked {
            let drawn = random.next_u64();
            let (table, number) = (FileId(drawn % CACHED_TABLES), (drawn >> 32) as u32 % self.blocks);
            bytes += found(self.cache.get(table, number))?.0.entries().len();
        }
        Ok(bytes)
    }
}

/// Plans the reads of a batch and makes none: sorted, through filters and indexes, by table, neighbours together.
/// Returns how many requests there would be.
pub fn plan<'k>(store: &mut Store, batch: impl IntoIterator<Item = &'k [u8]>) -> usize {
    store.plan_only(batch, ForstSettings::default().coalesce_gap_bytes)
}
