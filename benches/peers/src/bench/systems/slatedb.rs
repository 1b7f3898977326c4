//! `SlateDB` on the same store, behind the same link, as Alluvium.
//!
//! - Its write-ahead log is off, as its durability is then the flush, like Alluvium's.
//! - Its writer runs on the driver's own thread (`with_write_runtime`), which it documents as the fast way for one
//!   writing thread; all else has threads of its own.
//! - A quarter of the budget is write buffers: 64 MiB each, its default, or less. Of the rest a quarter caches indexes
//!   and filters, and three quarters blocks. Where everything fits, output of compactions goes into the cache too.
//! - Blocks of 4 KiB, filters of 10 bits, LZ4 on all levels: its defaults, and what Alluvium has.
//! - From the S3 server it reads on the threads that it has besides, in parallel: requests and blocks take more CPU than
//!   one thread has.
//! - Its background loops look for work every 100 ms instead of every few seconds, so that compactions keep up; files
//!   that nobody needs are deleted without waiting.
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use ::slatedb::config::{
    CompactionWorkerOptions, CompactorOptions, CompressionCodec, GarbageCollectorOptions, ScanOptions,
    Settings,
};
use ::slatedb::db_cache::SplitCache;
use ::slatedb::db_cache::foyer::{FoyerCache, FoyerCacheOptions};
use ::slatedb::{BlockCachePolicy, CacheTarget, Db, MergeOperator, MergeOperatorError, WriteBatch};
use alluvium_env::{Error, Result, cores};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::bench::fold::Fold;
use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show, end_of};

const MAX_MEMTABLE_BYTES: u64 = 64 << 20;
const MEMTABLES: u64 = 4;
/// One part in so many of the cache is for indexes and filters.
const METADATA_SHARE: u64 = 4;
const POLL: Duration = Duration::from_millis(100);
/// What a whole scan reads ahead.
const READ_AHEAD_BYTES: usize = 2 << 20;
const READ_AHEAD_TASKS: usize = 4;

/// See the module.
pub(crate) struct SlateDb {
    db: Db,
    batch: WriteBatch,
    background: Runtime,
    /// Whether it speaks to a server.
    is_served: bool,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("SlateDB failed: {error}"))
}

fn settings(place: &Place) -> Settings {
    let worker = CompactionWorkerOptions {
        max_concurrent_compactions: cores(),
        compactions_poll_interval: POLL,
        max_subcompactions: cores(),
        compression_codec: Some(CompressionCodec::Lz4),
        ..CompactionWorkerOptions::default()
    };
    let compactor = CompactorOptions {
        poll_interval: POLL,
        commit_compacted_interval: POLL,
        max_concurrent_compactions: cores(),
        worker: Some(worker),
        ..CompactorOptions::default()
    };
    Settings {
        wal_enabled: false,
        flush_interval: None,
        manifest_poll_interval: POLL,
        l0_sst_size_bytes: (place.write_bytes() / MEMTABLES).min(MAX_MEMTABLE_BYTES) as usize,
        max_unflushed_bytes: place.write_bytes() as usize,
        compression_codec: Some(CompressionCodec::Lz4),
        compactor_options: Some(compactor),
        garbage_collector_options: Some(GarbageCollectorOptions::default()),
        ..Settings::default()
    }
}

fn cache(place: &Place) -> SplitCache {
    let metadata = place.cache_bytes() / METADATA_SHARE;
    let part = |max_capacity| {
        let options = FoyerCacheOptions { max_capacity, ..FoyerCacheOptions::default() };
        Some(Arc::new(FoyerCache::new_with_opts(options)) as _)
    };
    let blocks = part(place.cache_bytes() - metadata);
    SplitCache::new().with_block_cache(blocks).with_meta_cache(part(metadata)).build()
}

fn caching(place: &Place) -> BlockCachePolicy {
    let policy = BlockCachePolicy::default();
    if place.is_resident { policy.with_compaction_output_targets(&CacheTarget::all()) } else { policy }
}

impl MergeOperator for Fold {
    fn merge(
        &self,
        key: &Bytes,
        existing: Option<Bytes>,
        operand: Bytes,
    ) -> Result<Bytes, MergeOperatorError> {
        self.merge_batch(key, existing, &[operand])
    }

    fn merge_batch(
        &self,
        _: &Bytes,
        existing: Option<Bytes>,
        operands: &[Bytes],
    ) -> Result<Bytes, MergeOperatorError> {
        let mut value = existing.map_or_else(Vec::new, Vec::from);
        operands.iter().for_each(|operand| self.fold(&mut value, operand));
        Ok(value.into())
    }
}

impl SlateDb {
    async fn read(&self, key: &KeyBytes) -> Result<Option<Bytes>> {
        if !self.is_served {
            return self.db.get(key).await.map_err(failed);
        }
        let (db, key) = (self.db.clone(), *key);
        self.background.spawn(async move { db.get(key).await }).await.map_err(failed)?.map_err(failed)
    }
}

impl Peer for SlateDb {
    async fn open(place: &Place) -> Result<Self> {
        let background =
            Builder::new_multi_thread().worker_threads(cores()).enable_all().build().map_err(failed)?;
        let builder = Db::builder("db", Arc::clone(&place.storage.store))
            .with_settings(settings(place))
            .with_db_cache(Arc::new(cache(place)), 0)
            .with_block_cache_policy(caching(place))
            .with_write_runtime(Handle::current());
        let builder = match place.fold {
            Some(fold) => builder.with_merge_operator(Arc::new(fold)),
            None => builder,
        };
        let db = background.spawn(builder.build()).await.map_err(failed)?.map_err(failed)?;
        Ok(Self { db, batch: WriteBatch::new(), background, is_served: place.server.is_some() })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.put(key, value).await.map(drop).map_err(failed)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put(key, value);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() { Ok(()) } else { self.db.write(batch).await.map(drop).map_err(failed) }
    }

    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.db.merge(key, operand).await.map(drop).map_err(failed)
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let value = self.read(key).await?;
        look(value.as_deref())
    }

    /// It has no read of several; they do not wait for each other.
    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        let get = |(at, key)| async move { (at, self.read(key).await) };
        let mut under_way: FuturesUnordered<_> = keys.iter().enumerate().map(get).collect();
        while let Some((at, value)) = under_way.next().await {
            look(at, value?.as_deref())?;
        }
        Ok(())
    }

    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
        let options = ScanOptions::default().with_cache_blocks(true);
        let mut entries = if prefix.is_empty() {
            let options =
                options.with_read_ahead_bytes(READ_AHEAD_BYTES).with_max_fetch_tasks(READ_AHEAD_TASKS);
            self.db.scan_with_options::<std::ops::RangeFull>(.., &options).await
        } else {
            self.db.scan_with_options(prefix.to_vec()..end_of(prefix), &options).await
        }
        .map_err(failed)?;
        while let Some(entry) = entries.next().await.map_err(failed)? {
            look(&entry.key, &entry.value)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.db.flush().await.map_err(failed)
    }

    async fn close(self) -> Result<()> {
        let closed = self.db.close().await.map_err(failed);
        self.background.shutdown_background();
        closed
    }
}
