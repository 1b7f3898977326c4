//! `RocksDB`, leveled, as its tuning guide and the state backends of stream processors set it.
//!
//! - No write-ahead log: durability is the checkpoint's, as for Alluvium. One thread writes, so the machinery for
//!   concurrent writers is off.
//! - A quarter of the budget is memtables: four of up to 64 MiB, because larger ones are slower to write (a skip list)
//!   and make files whose indexes are slower to search. The rest is one `HyperClockCache`. Where everything fits, indexes and
//!   filters are outside of it, where they are found without a look-up; where it does not, they are in it, so that the
//!   budget is kept, partitioned, with their top pinned.
//! - Bloom filters of 10 bits, also in the memtable; a hash index in data blocks; LZ4 on all levels as Alluvium has it.
//! - Level 1 holds as much as all memtables, levels are sized from the bottom. One set of read options is kept.
use std::fmt::Display;

use alluvium_env::{Error, Result, cores};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BlockBasedTablePinningTier, Cache, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, DataBlockIndexType, FlushOptions, Options, ReadOptions, WriteBatch,
    WriteOptions,
};

use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show, end_of};

/// How many memtables share the budget of write buffers.
const MEMTABLES: u64 = 4;
const MAX_MEMTABLE_BYTES: u64 = 64 << 20;
const FILTER_BITS: f64 = 10.0;
const HASH_RATIO: f64 = 0.75;
const MEMTABLE_FILTER_SHARE: f64 = 0.05;

/// See the module.
pub(crate) struct RocksDb {
    db: DB,
    batch: WriteBatch,
    write: WriteOptions,
    read: ReadOptions,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("RocksDB failed: {error}"))
}

fn memtable_bytes(place: &Place) -> u64 {
    (place.write_bytes() / MEMTABLES).min(MAX_MEMTABLE_BYTES)
}

fn table(place: &Place, cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_bloom_filter(FILTER_BITS, false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(HASH_RATIO);
    if !place.is_resident {
        table.set_cache_index_and_filter_blocks(true);
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_top_level_index_pinning_tier(BlockBasedTablePinningTier::All);
    }
    table
}

fn options(place: &Place, cache: &Cache) -> Options {
    let memtable = memtable_bytes(place);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table(place, cache));
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(memtable as usize);
    options.set_max_write_buffer_number(MEMTABLES.try_into().unwrap_or(i32::MAX));
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_SHARE);
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_bytes_for_level_base(memtable * MEMTABLES);
    options.set_target_file_size_base(memtable / 2);
    options.set_level_compaction_dynamic_level_bytes(true);
    let cores = cores();
    options.set_max_background_jobs(cores.max(2).try_into().unwrap_or(i32::MAX));
    options.set_max_subcompactions(cores as u32);
    if let Some(fold) = place.fold {
        options.set_merge_operator_associative("fold", move |_, existing, operands| {
            let mut value = existing.unwrap_or_default().to_vec();
            operands.into_iter().for_each(|operand| fold.fold(&mut value, operand));
            Some(value)
        });
    }
    options.set_max_open_files(-1);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

impl Peer for RocksDb {
    async fn open(place: &Place) -> Result<Self> {
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        // By its name, because a read of several asks for a handle.
        let cache_bytes = place.memory_bytes - MEMTABLES * memtable_bytes(place);
        let cache = Cache::new_hyper_clock_cache(cache_bytes as usize, 0);
        let options = options(place, &cache);
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, options.clone())];
        let db = DB::open_cf_with_opts(&options, place.folder.join("db"), families).map_err(failed)?;
        Ok(Self { db, batch: WriteBatch::default(), write, read: ReadOptions::default() })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.put_opt(key, value, &self.write).map_err(failed)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(key, value);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.db.write_opt(batch, &self.write).map_err(failed) }
    }

    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.db.merge_opt(key, operand, &self.write).map_err(failed)
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let value = self.db.get_pinned_opt(key, &self.read).map_err(failed)?;
        look(value.as_deref())
    }

    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME);
        let family = family.ok_or_else(|| failed("it has no default column family"))?;
        let values = self.db.batched_multi_get_cf_opt(family, keys, true, &self.read);
        values.into_iter().enumerate().try_for_each(|(at, value)| look(at, value.map_err(failed)?.as_deref()))
    }

    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
        let mut read = ReadOptions::default();
        if !prefix.is_empty() {
            read.set_iterate_upper_bound(end_of(prefix));
        }
        let mut entries = self.db.raw_iterator_opt(read);
        entries.seek(prefix);
        while let Some((key, value)) = entries.item() {
            look(key, value)?;
            entries.next();
        }
        entries.status().map_err(failed)
    }

    async fn flush(&mut self) -> Result<()> {
        self.db.flush_opt(&FlushOptions::default()).map_err(failed)
    }

    async fn close(self) -> Result<()> {
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}
