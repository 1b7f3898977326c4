//! fjall, leveled, as its documentation sets it for keys that are read one by one.
//!
//! - Its journal cannot be turned off; it is left to the system when to write it (`manual_journal_persist`), and a batch
//!   asks for no durability. That is as close to "no log" as it comes.
//! - A quarter of the budget is memtables, two of them and up to 64 MiB each as it recommends; the rest is its cache.
//! - Blocks of 4 KiB with a hash index; its own filters; LZ4 on all levels as Alluvium has it.
//! - Where everything fits, indexes and filters are whole and pinned; where it does not, they are as it sets them.
use std::fmt::Display;

use alluvium_env::{Error, Result, cores};
use fjall::config::{CompressionPolicy, HashRatioPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};

use crate::bench::fold::{Fold, no_fold};
use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show, end_of};

/// One is written to, one is being flushed.
const MEMTABLES: u64 = 2;
const MAX_MEMTABLE_BYTES: u64 = 64 << 20;
const HASH_RATIO: f32 = 8.0;

/// See the module.
pub(crate) struct Fjall {
    db: Database,
    keys: Keyspace,
    batch: OwnedWriteBatch,
    fold: Option<Fold>,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("fjall failed: {error}"))
}

fn options(place: &Place) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size((place.write_bytes() / MEMTABLES).min(MAX_MEMTABLE_BYTES))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        .data_block_hash_ratio_policy(HashRatioPolicy::all(HASH_RATIO));
    if !place.is_resident {
        return options;
    }
    options
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
}

impl Peer for Fjall {
    async fn open(place: &Place) -> Result<Self> {
        let memtables = (MEMTABLES * MAX_MEMTABLE_BYTES).min(place.write_bytes());
        let db = Database::builder(place.folder.join("db"))
            .cache_size(place.memory_bytes - memtables)
            .manual_journal_persist(true)
            .worker_threads(cores())
            .open()
            .map_err(failed)?;
        let keys = db.keyspace("keys", || options(place)).map_err(failed)?;
        let batch = db.batch();
        Ok(Self { db, keys, batch, fold: place.fold })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keys.insert(key, value).map_err(failed)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.insert(&self.keys, key, value);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        std::mem::replace(&mut self.batch, self.db.batch()).commit().map_err(failed)
    }

    /// It has no merge: a value is read, folded and written back.
    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let fold = self.fold.ok_or_else(no_fold)?;
        let mut value = self.keys.get(key).map_err(failed)?.map_or_else(Vec::new, |value| value.to_vec());
        fold.fold(&mut value, operand);
        self.keys.insert(key, value).map_err(failed)
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let value = self.keys.get(key).map_err(failed)?;
        look(value.as_deref())
    }

    /// It has no read of several.
    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        keys.iter()
            .enumerate()
            .try_for_each(|(at, key)| look(at, self.keys.get(key).map_err(failed)?.as_deref()))
    }

    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
        let entries = if prefix.is_empty() {
            self.keys.iter()
        } else {
            self.keys.range(prefix.to_vec()..end_of(prefix))
        };
        for entry in entries {
            let (key, value) = entry.into_inner().map_err(failed)?;
            look(&key, &value)?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.keys.rotate_memtable_and_wait().map_err(failed)
    }

    async fn close(self) -> Result<()> {
        Ok(())
    }
}
