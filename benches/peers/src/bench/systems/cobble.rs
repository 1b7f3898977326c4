//! Cobble, with SSTs, as its configuration's documentation sets it for what is asked here.
//!
//! - Its write-ahead log is off, as it is by default: durability is its snapshot, as Alluvium's is the checkpoint. A flush
//!   is a snapshot that is complete; it is given back at once, so that it keeps no files.
//! - A quarter of the budget is memtables: four of up to 64 MiB, which it fills anew itself (`Adaptive`: a skip list, a
//!   hash table or a vector, after what is asked). The rest is its block cache.
//! - LZ4 on all levels as Alluvium has it; bloom filters of 10 bits, which it leaves off by default. Level 1 holds as much
//!   as all memtables, files hold one.
//! - Where everything fits, indexes and filters of all levels are pinned; where it does not, they are partitioned and in
//!   the cache, with the tops of levels up to 2 pinned, its default.
//! - Several writes are one `put_column_batch`, which takes fewer steps than its `WriteBatch`; several reads one
//!   `multi_get`.
//! - On the S3 server it is asked through its own client, on threads of its own because its calls block: as many as
//!   there are reads under way.
use std::fmt::Display;
use std::mem::ManuallyDrop;
use std::sync::{Arc, mpsc};

use ::cobble::{
    Config, Db, ScanOptions, SstCompressionAlgorithm, U64CounterMergeOperator, VolumeDescriptor, WriteOptions,
};
use alluvium_env::{Error, Result, cores};
use bytes::Bytes;
use size::Size;
use tokio::runtime::{Builder, Runtime};

use crate::bench::fold::Fold;
use crate::bench::peer::{KeyBytes, Look, Peer, Place, Show, end_of};
use crate::s3;

const MEMTABLES: u64 = 4;
const MAX_MEMTABLE_BYTES: u64 = 64 << 20;
/// Below the deepest level there is.
const ALL_LEVELS: u8 = 6;
/// What scans read ahead from S3: a whole scan, and one of a few kilobytes.
const READ_AHEAD_BYTES: u64 = 2 << 20;
const SHORT_READ_AHEAD_BYTES: u64 = 16 << 10;

/// There is one bucket, with one column.
const BUCKET: u16 = 0;
const COLUMN: u16 = 0;

type Row = Vec<Option<Bytes>>;

/// Writes that go together, one after the other in one buffer.
#[derive(Default)]
struct Writes {
    bytes: Vec<u8>,
    /// Where a key ends, and where its value ends.
    ends: Vec<(usize, usize)>,
}

impl Writes {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        let mut begin = 0;
        self.ends.iter().map_while(move |(key_end, end)| {
            let (key, after) = rest.split_at_checked(key_end - begin)?;
            let (value, after) = after.split_at_checked(end - key_end)?;
            (rest, begin) = (after, *end);
            Some((key, value))
        })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// See the module.
pub(crate) struct Cobble {
    /// Dropped by [`Peer::close`] alone: it drops runtimes, which the driver's thread must not. Where a measurement fails it
    /// ends with the process.
    db: ManuallyDrop<Arc<Db>>,
    writes: Writes,
    write: WriteOptions,
    /// For calls that may wait for S3: it must not block the driver's runtime, which its own runtime refuses.
    threads: Option<Runtime>,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("Cobble failed: {error}"))
}

fn sized(count: u64) -> Size {
    Size::from_const(i64::try_from(count).unwrap_or(i64::MAX))
}

fn volume(place: &Place) -> VolumeDescriptor {
    let Some(server) = &place.server else {
        let url = format!("file://{}", place.folder.join("db").display());
        return VolumeDescriptor::single_volume(url).swap_remove(0);
    };
    let url = format!("s3://{}/{}/cobble?endpoint_scheme=http", server.address(), s3::BUCKET);
    let mut volume = VolumeDescriptor::single_volume(url).swap_remove(0);
    volume.access_id = Some(s3::ACCESS_KEY.to_owned());
    volume.secret_key = Some(s3::SECRET_KEY.to_owned());
    volume.custom_options = Some([("region".to_owned(), "us-east-1".to_owned())].into());
    volume
}

fn config(place: &Place) -> Config {
    let memtable = (place.write_bytes() / MEMTABLES).min(MAX_MEMTABLE_BYTES);
    Config {
        volumes: vec![volume(place)],
        memtable_capacity: sized(memtable),
        memtable_buffer_count: MEMTABLES as usize,
        block_cache_size: sized(place.memory_bytes - MEMTABLES * memtable),
        l1_base_bytes: sized(MEMTABLES * memtable),
        base_file_size: sized(memtable),
        compaction_threads: cores(),
        sst_bloom_filter_enabled: true,
        sst_partitioned_index: !place.is_resident,
        sst_pinned_metadata_max_level: if place.is_resident { Some(ALL_LEVELS) } else { Some(2) },
        sst_compression_by_level: vec![SstCompressionAlgorithm::Lz4],
        ..Config::default()
    }
}

/// The one column.
fn value(row: Option<&Row>) -> Option<&[u8]> {
    row?.first()?.as_deref()
}

/// Has all that was written put into files.
fn flush(db: &Db) -> Result<()> {
    let (sender, receiver) = mpsc::channel();
    let done = move |result: ::cobble::Result<_>| {
        // Nobody waits any more where the measurement was given up.
        let _ = sender.send(result.map(drop));
    };
    let snapshot = db.snapshot_with_callback(done).map_err(failed)?;
    receiver.recv().map_err(failed)?.map_err(failed)?;
    db.expire_snapshot(snapshot).map(drop).map_err(failed)
}

fn scan(db: &Db, prefix: &[u8], look: Show<'_>) -> Result<()> {
    let mut options = ScanOptions::default();
    let is_whole = prefix.is_empty();
    options.read_ahead_bytes = sized(if is_whole { READ_AHEAD_BYTES } else { SHORT_READ_AHEAD_BYTES });
    let (start, end) = (prefix, end_of(prefix));
    let (start, end) = if is_whole { (None, None) } else { (Some(start), Some(end.as_slice())) };
    let mut entries = db.scan_with_options_bounds(BUCKET, start, end, &options).map_err(failed)?;
    let mut show = |key: &Bytes, columns: &[Option<Bytes>]| {
        Ok(look(key, columns.first().and_then(Option::as_deref).unwrap_or_default()))
    };
    while let Some(looked) = entries.consume_next_row(&mut show).map_err(failed)? {
        looked?;
    }
    Ok(())
}

impl Cobble {
    /// Runs what may wait for S3: on a thread of its own, if that is where it is.
    async fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Db) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(threads) = &self.threads else { return what(&self.db) };
        let db = Arc::clone(&*self.db);
        threads.spawn_blocking(move || what(&db)).await.map_err(failed)?
    }
}

impl Peer for Cobble {
    async fn open(place: &Place) -> Result<Self> {
        let threads = place.server.as_ref().map(|_| {
            Builder::new_multi_thread().worker_threads(1).max_blocking_threads(place.in_flight).build()
        });
        let threads = threads.transpose().map_err(failed)?;
        let config = config(place);
        let open = move || Db::open(config, vec![BUCKET..=BUCKET]).map_err(failed);
        let db = match &threads {
            Some(threads) => threads.spawn_blocking(open).await.map_err(failed)??,
            None => open()?,
        };
        if place.fold == Some(Fold::Sum) {
            // Operands of the other kind are put one behind the other if nothing is said.
            let mut schema = db.update_schema();
            schema
                .set_column_operator(None, COLUMN.into(), Arc::new(U64CounterMergeOperator))
                .map_err(failed)?;
            schema.commit();
        }
        let (writes, write) = (Writes::default(), WriteOptions::default());
        Ok(Self { db: ManuallyDrop::new(Arc::new(db)), writes, write, threads })
    }

    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.threads.is_none() {
            return self.db.put(BUCKET, key, COLUMN, value).map_err(failed);
        }
        self.add(key, value)?;
        self.commit().await
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writes.add(key, value);
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        let (mut writes, write) = (std::mem::take(&mut self.writes), self.write.clone());
        let put = move |db: &Db| {
            let put = db.put_column_batch_with_options(BUCKET, COLUMN, writes.entries(), &write);
            put.map_err(failed)?;
            writes.clear();
            Ok(writes)
        };
        self.writes = self.call(put).await?;
        Ok(())
    }

    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        if self.threads.is_none() {
            return self.db.merge(BUCKET, key, COLUMN, operand).map_err(failed);
        }
        let (key, operand) = (key.to_vec(), operand.to_vec());
        self.call(move |db| db.merge(BUCKET, key, COLUMN, operand).map_err(failed)).await
    }

    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()> {
        let key = *key;
        let row = self.call(move |db| db.get(BUCKET, &key).map_err(failed)).await?;
        look(value(row.as_ref()))
    }

    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(|key| (BUCKET, *key)).collect();
        let rows = self.call(move |db| db.multi_get(&keys).map_err(failed)).await?;
        rows.iter().enumerate().try_for_each(|(at, row)| look(at, value(row.as_ref())))
    }

    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()> {
        if self.threads.is_none() {
            return scan(&self.db, prefix, look);
        }
        let prefix = prefix.to_vec();
        let collect = move |db: &Db| {
            let mut all = Vec::new();
            scan(db, &prefix, &mut |key, value| {
                all.push((key.to_vec(), value.to_vec()));
                Ok(())
            })?;
            Ok(all)
        };
        self.call(collect).await?.iter().try_for_each(|(key, value)| look(key, value))
    }

    async fn flush(&mut self) -> Result<()> {
        self.call(flush).await
    }

    async fn close(self) -> Result<()> {
        let Self { db, threads, .. } = self;
        let db = ManuallyDrop::into_inner(db);
        let close = move || {
            let closed = db.close().map_err(failed);
            drop(db);
            closed
        };
        let closed = tokio::task::spawn_blocking(close).await.map_err(failed)?;
        if let Some(threads) = threads {
            threads.shutdown_background();
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_that_go_together_come_out_as_they_came_in() {
        let mut writes = Writes::default();
        let all: [(&[u8], &[u8]); 3] = [(b"a", b"one"), (b"", b""), (b"key", b"")];
        for (key, value) in all {
            writes.add(key, value);
        }
        assert_eq!(writes.entries().collect::<Vec<_>>(), all);
        writes.clear();
        assert_eq!(writes.entries().count(), 0);
    }
}
