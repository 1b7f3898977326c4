//! Cobble on a local volume, as its documentation sets it.
//!
//! - Its write-ahead log is off, as it is by default. Files are flushed by a snapshot, which is what it calls durable.
//! - A quarter of the budget is memtables, four of them; the rest is its block cache.
//! - Memtables are `Adaptive`, which picks the kind that suits what is asked. Bloom filters of 10 bits; LZ4 on all levels
//!   as Alluvium has it; block checksums on, as all systems here have them.
//! - Where everything fits, indexes and filters of all levels are pinned; where it does not, they are partitioned, and
//!   those of the upper levels are pinned as by default.
use std::fmt::Display;
use std::sync::mpsc::sync_channel;

use ::cobble::{Config, Db, SstCompressionAlgorithm, VolumeDescriptor, WriteOptions};
use alluvium_env::{Error, Result, cores};
use size::Size;

use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show, end_of};

const MEMTABLES: u64 = 4;
const LEVELS: usize = 7;
const FILTER_BITS: u32 = 10;
const MAX_FILE_BYTES: u64 = 64 << 20;
/// All keys are in one bucket and one column.
const BUCKET: u16 = 0;
const COLUMN: u16 = 0;

/// See the module.
pub(crate) struct Cobble {
    db: Db,
    write: WriteOptions,
    batch: Vec<(Vec<u8>, Vec<u8>)>,
    added: usize,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("Cobble failed: {error}"))
}

fn config(place: &Place) -> Config {
    let memtable = place.write_bytes() / MEMTABLES;
    Config {
        volumes: VolumeDescriptor::single_volume(format!("file://{}", place.folder.join("db").display())),
        memtable_capacity: Size::from_bytes(memtable),
        memtable_buffer_count: MEMTABLES as usize,
        block_cache_size: Size::from_bytes(place.cache_bytes()),
        l1_base_bytes: Size::from_bytes(place.write_bytes()),
        base_file_size: Size::from_bytes((memtable / 2).min(MAX_FILE_BYTES)),
        compaction_threads: cores(),
        sst_bloom_filter_enabled: true,
        sst_bloom_bits_per_key: FILTER_BITS,
        sst_partitioned_index: !place.is_resident,
        sst_pinned_metadata_max_level: Some(if place.is_resident { LEVELS as u8 } else { 2 }),
        sst_compression_by_level: vec![SstCompressionAlgorithm::Lz4; LEVELS],
        log_level: log::LevelFilter::Off,
        ..Config::default()
    }
}

impl Cobble {
    fn only_column(columns: Option<&Vec<Option<bytes::Bytes>>>) -> Option<&[u8]> {
        columns?.first()?.as_deref()
    }
}

impl Peer for Cobble {
    async fn open(place: &Place) -> Result<Self> {
        let db = Db::open(config(place), vec![BUCKET..=BUCKET]).map_err(failed)?;
        Ok(Self { db, write: WriteOptions::default(), batch: Vec::new(), added: 0 })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.put(BUCKET, key, COLUMN, value).map_err(failed)
    }

    /// Into buffers that are kept from batch to batch: it borrows what it is to write.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.added == self.batch.len() {
            self.batch.push(Default::default());
        }
        if let Some((to_key, to_value)) = self.batch.get_mut(self.added) {
            to_key.clear();
            to_key.extend_from_slice(key);
            to_value.clear();
            to_value.extend_from_slice(value);
        }
        self.added += 1;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let added = std::mem::take(&mut self.added);
        let entries = self.batch.iter().take(added).map(|(key, value)| (key.as_slice(), value.as_slice()));
        self.db.put_column_batch_with_options(BUCKET, COLUMN, entries, &self.write).map_err(failed)
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let columns = self.db.get(BUCKET, key).map_err(failed)?;
        look(Self::only_column(columns.as_ref()))
    }

    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| (BUCKET, key)).collect();
        let found = self.db.multi_get(&keys).map_err(failed)?;
        found.iter().enumerate().try_for_each(|(at, columns)| look(at, Self::only_column(columns.as_ref())))
    }

    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
        let end = (!prefix.is_empty()).then(|| end_of(prefix));
        let mut entries = self.db.scan_bounds(BUCKET, Some(prefix), end.as_deref()).map_err(failed)?;
        let mut outcome = Ok(());
        let show = |key: &bytes::Bytes, columns: &[Option<bytes::Bytes>]| {
            outcome = look(key, columns.first().and_then(Option::as_deref).unwrap_or_default());
            Ok(outcome.is_ok())
        };
        let mut show = show;
        while let Some(true) = entries.consume_next_row(&mut show).map_err(failed)? {}
        outcome
    }

    async fn flush(&mut self) -> Result<()> {
        let (tell, told) = sync_channel(1);
        let done = move |snapshot: ::cobble::Result<_>| {
            // The other end waits for this one message.
            drop(tell.send(snapshot.map(drop).map_err(failed)));
        };
        self.db.snapshot_with_callback(done).map_err(failed)?;
        told.recv().map_err(failed)?
    }

    async fn close(self) -> Result<()> {
        self.db.close().map_err(failed)
    }
}
