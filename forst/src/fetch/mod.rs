//! Fetches tails and blocks for the reads of a store: disk tier first, then ranged reads of the object store.
//!
//! **Threads**: requests come from task and background threads; everything here runs on the I/O runtime, what a near store or
//! the disk tier has also on the task thread that helps (`queue.rs`). Blocks are
//! checked and unpacked here, once, so the task thread only searches them.
//!
//! **Failure**: what the store did not answer is tried again within a deadline, then `Unavailable`; a block that does
//! not check out is read once more past the disk tier, then `Corruption` with object and offset. The disk tier never
//! fails a read.
mod batch;
mod disk;
mod error;
mod hedge;
mod patience;
mod queue;
mod ranges;
mod requests;
#[cfg(test)]
pub(crate) mod tests;
mod under_way;
mod values;
mod warm_up;

#[cfg(fuzzing)]
pub(crate) use disk::fuzz_header;
#[cfg(benching)]
pub use disk::{BuiltPart, DiskPart, Filling};
pub use disk::{DiskCache, DiskLimits};
pub(crate) use ranges::Wanted;
#[cfg(benching)]
pub(crate) use ranges::coalesce;
pub(crate) use requests::Creation;
pub(crate) use under_way::{UnderWay, no_answer};
pub(crate) use values::ValueRequest;

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alluvium_env::{Entropy, Error, IoRuntime, Result};
use bytes::Bytes;
use futures_util::future::{Either, select, try_join_all};
use object_store::ObjectStore;
use object_store::path::Path;
use tracing::{Instrument as _, debug, debug_span};

use crate::block::Block;
use crate::coding::read_section;
use crate::key_range::KeyRange;
use crate::settings::ForstSettings;
use crate::table::{FileId, Filter, SlimTail, TableFile, TableTail, Tail, filter_hash};
use queue::Queue;
use requests::Requests;
use tokio::sync::{OwnedSemaphorePermit, watch};
use values::Room;

/// Parts of one table that are wanted.
#[derive(Debug)]
pub(crate) struct FetchRequest {
    pub(crate) file: Arc<TableFile>,
    pub(crate) parts: FetchParts,
}

#[derive(Debug)]
pub(crate) enum FetchParts {
    /// `slim` says that it need not be whole.
    Tail { slim: bool },
    /// Data blocks and index blocks, ascending.
    Blocks(Vec<Wanted>),
}

/// A part that arrived, or why it did not.
pub(crate) enum FetchedPart {
    /// It is kept with the file.
    Tail(Result<Tail>),
    Block(u32, Result<Block>),
    /// An index block, by its number among the table's blocks.
    Index(u32, Result<Block>),
}

/// One answer to a request; a request may be answered in several.
pub(crate) struct Fetched {
    /// Of which file.
    pub(crate) id: FileId,
    pub(crate) parts: Vec<FetchedPart>,
    pub(crate) from_disk: u64,
    pub(crate) from_store: u64,
    /// What large values take of the room for them.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// Tables of a batch that share a task of the runtime. What the disk answers at once is not worth a task of its own,
/// whose start and wake-up cost several times the read; what the store answers takes a thread's time only to unpack.
const TABLES_A_TASK: usize = 16;

/// So many blocks the disk tier has answered about as soon as another thread is awake. Of more the task thread leaves all to the
/// runtime: whoever asks for so many at once has other records to go on with, and these would wait while it reads.
const FEW_BLOCKS: usize = 128;

/// A tail of more bytes than this is opened slim, where it may be: a whole one travels as fast as a part, and saves the first
/// reads an index block each.
const LARGE_TAIL_BYTES: u64 = 64 << 10;
/// What a slim tail needs of a table is mostly within so many of its last bytes.
const TAIL_END_BYTES: u64 = 16 << 10;

/// The way to the store, shared by all that reads.
pub(crate) struct Fetcher {
    requests: Requests,
    room: Room,
    io: IoRuntime,
    disk: Option<Arc<DiskCache>>,
    coalesce_gap_bytes: u64,
    /// Whether a request costs microseconds and no round trip.
    near: bool,
    queue: Queue,
    /// Whether tails are kept slim, and whether those of the bottom run keep their filters then.
    slim: AtomicBool,
    filters: AtomicBool,
    /// What tails that jobs and scans read may take of memory until they are counted again.
    tail_room_bytes: AtomicUsize,
    /// What those take that were kept since somebody asked.
    kept_tail_bytes: AtomicUsize,
    /// Whether jobs begin no further object, and wait for no read.
    stopped: watch::Sender<bool>,
}

impl Fetcher {
    /// `prefix` seeds the jitter of retries: stores that fail together do not come back together.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        disk: Option<Arc<DiskCache>>,
        settings: &ForstSettings,
        prefix: &str,
    ) -> Arc<Self> {
        let entropy = Entropy::from_seed(filter_hash(prefix.as_bytes()));
        let requests = Requests::new(store, settings.fetch.clone(), entropy);
        Self::with_requests(requests, io, disk, settings)
    }

    /// For who writes in another's name: it creates objects and overwrites none. No disk tier.
    pub(crate) fn creating(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        settings: &ForstSettings,
        name: &str,
    ) -> Arc<Self> {
        let entropy = Entropy::from_seed(filter_hash(name.as_bytes()));
        let requests = Requests::new(store, settings.fetch.clone(), entropy).creating();
        Self::with_requests(requests, io, None, settings)
    }

    fn with_requests(
        requests: Requests,
        io: IoRuntime,
        disk: Option<Arc<DiskCache>>,
        settings: &ForstSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            requests,
            room: Room::new(settings.budget().values_under_way_bytes),
            io,
            disk,
            coalesce_gap_bytes: settings.coalesce_gap_bytes,
            near: settings.vectored_reads,
            queue: Queue::default(),
            slim: AtomicBool::new(false),
            filters: AtomicBool::new(false),
            tail_room_bytes: AtomicUsize::new(usize::MAX),
            kept_tail_bytes: AtomicUsize::new(0),
            stopped: watch::Sender::new(false),
        })
    }

    pub(crate) fn io(&self) -> &IoRuntime {
        &self.io
    }

    /// Starts the requests of a batch; `done` is called once for every group of blocks that arrives together, on the I/O
    /// runtime or by whoever helps.
    pub(crate) fn start(
        self: &Arc<Self>,
        requests: Vec<FetchRequest>,
        done: Arc<dyn Fn(Fetched) + Send + Sync>,
    ) {
        let fetcher = Arc::clone(self);
        let span = debug_span!("fetch", tables = requests.len(), blocks = blocks(&requests));
        let mut requests = requests;
        let near = self.take_near(&mut requests);
        if !near.is_empty() {
            self.enqueue(near, &done, &span);
        }
        if requests.is_empty() {
            return;
        }
        let whole = span.clone();
        let fetching = async move {
            while requests.len() > TABLES_A_TASK {
                let others = requests.split_off(requests.len() - TABLES_A_TASK);
                let (fetcher, done) = (Arc::clone(&fetcher), Arc::clone(&done));
                let answering = async move { fetcher.answer_all(others, done.as_ref()).await };
                drop(tokio::spawn(answering.instrument(span.clone())));
            }
            fetcher.answer_all(requests, done.as_ref()).await;
        };
        drop(self.io.spawn(fetching.instrument(whole)));
    }

    /// Takes out what the task thread should help with: of a near store everything, else what the disk tier has whole, if that is
    /// soon done.
    fn take_near(&self, requests: &mut Vec<FetchRequest>) -> Vec<FetchRequest> {
        match &self.disk {
            _ if self.near => std::mem::take(requests),
            Some(disk) if blocks(requests) <= FEW_BLOCKS => disk.take_mirrored(requests),
            _ => Vec::new(),
        }
    }

    /// Has tails that are read kept slim from now on, or whole: what those of live tables take together is too much for memory,
    /// or is not. `filters` says whether slim ones of the bottom run have their filters, `room_bytes` what there is room for.
    pub(crate) fn keep_tails(&self, slim: bool, filters: bool, room_bytes: usize) {
        self.slim.store(slim, Ordering::Relaxed);
        self.filters.store(filters, Ordering::Relaxed);
        self.tail_room_bytes.store(room_bytes, Ordering::Relaxed);
    }

    /// What tails take that jobs, scans and warm-ups have read and kept since this was asked before.
    pub(crate) fn take_kept_tails(&self) -> usize {
        match self.kept_tail_bytes.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.kept_tail_bytes.swap(0, Ordering::Relaxed),
        }
    }

    /// Whether tables have copies on a disk.
    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// What tables delete of older ones, as far as the references see. Only the tails of those that do are read.
    pub(crate) async fn deleted_by(&self, files: &[Arc<TableFile>]) -> Result<Vec<KeyRange>> {
        let files = || files.iter().filter(|file| file.meta.deleted_ranges > 0);
        let tails = try_join_all(files().map(|file| self.tail(file))).await?;
        let deleted = files().zip(&tails).flat_map(|(file, tail)| tail.deleted().clip(file.keys()));
        Ok(deleted.collect())
    }

    /// What memory has of a table's tail; else it is read.
    async fn tail(&self, file: &Arc<TableFile>) -> Result<Tail> {
        match file.tail() {
            Some(tail) => Ok(tail.clone()),
            None => self.whole_tail(file).await.map(Tail::Whole),
        }
    }

    /// A table's whole tail, for who passes over it. One that is read is kept with the file if there is room for it.
    pub(crate) async fn whole_tail(&self, file: &Arc<TableFile>) -> Result<Arc<TableTail>> {
        if let Some(tail) = file.whole() {
            return Ok(Arc::clone(tail));
        }
        let (tail, _) = self.read_tail(file).await?;
        let with_filter = self.filters.load(Ordering::Relaxed);
        let slim = self.slim.load(Ordering::Relaxed).then(|| Tail::slim(&tail, with_filter)).flatten();
        let kept = slim.unwrap_or_else(|| Tail::Whole(Arc::clone(&tail)));
        let takes = |room: usize| room.checked_sub(kept.size_bytes());
        // One that is slim already stays so.
        if file.tail().is_none()
            && self.tail_room_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, takes).is_ok()
        {
            self.kept_tail_bytes.fetch_add(kept.size_bytes(), Ordering::Relaxed);
            file.set_tail(kept);
        }
        Ok(tail)
    }

    /// Reads a whole tail, and says whether it came from the disk tier.
    async fn read_tail(&self, file: &Arc<TableFile>) -> Result<(Arc<TableTail>, bool)> {
        let start = file.data_bytes();
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.read_tail(file).await
            && let Ok(tail) = decode_tail(file, &bytes)
        {
            self.keep_offsets(file, &tail);
            return Ok((tail, true));
        }
        let read = || self.requests.read(file.path(), start..file.meta.size_bytes);
        let mut bytes = read().await?;
        let mut tail = decode_tail(file, &bytes);
        if tail.is_err() {
            // Bytes can break on the way; what is broken at rest breaks again.
            bytes = read().await?;
            tail = decode_tail(file, &bytes);
        }
        let tail = tail.map_err(|e| e.context(file.place(start)))?;
        debug!(table = file.name(), bytes = bytes.len(), requests = 1, "read a tail");
        self.keep_offsets(file, &tail);
        if let Some(disk) = &self.disk {
            disk.write(file, vec![(tail.index.blocks(), start, bytes)]);
        }
        Ok((tail, false))
    }

    /// Reads a tail for reads of keys: slim if it may be and there is no room for it, of a large one its end alone.
    async fn tail_for_reads(&self, file: &Arc<TableFile>, slim: bool) -> Result<(Tail, bool)> {
        let slim = slim && self.slim.load(Ordering::Relaxed) && file.meta.tail_bytes > LARGE_TAIL_BYTES;
        let with_filter = self.filters.load(Ordering::Relaxed);
        if slim
            && !with_filter
            && self.disk.is_none()
            && let Some(tail) = self.read_tail_end(file).await?
        {
            return Ok((tail, false));
        }
        let (tail, from_disk) = self.read_tail(file).await?;
        let slimmer = slim.then(|| Tail::slim(&tail, with_filter)).flatten();
        Ok((slimmer.unwrap_or(Tail::Whole(tail)), from_disk))
    }

    /// Reads a table's filter again, which its tail in memory has given up.
    pub(crate) async fn filter(&self, file: &Arc<TableFile>) -> Result<Filter> {
        if self.disk.is_none()
            && let Some(place) = file.filter_place()
        {
            let stored = self.requests.read(file.path(), place).await?;
            if let Ok(filter) = read_section("the filter", &stored).and_then(|bytes| Filter::decode(&bytes)) {
                return Ok(filter);
            }
        }
        let (tail, _) = self.read_tail(file).await?;
        Ok(tail.filter.clone())
    }

    /// Reads what a slim tail needs; `None` if that is more than was read, or broken.
    async fn read_tail_end(&self, file: &Arc<TableFile>) -> Result<Option<Tail>> {
        let size = file.meta.size_bytes;
        let bytes = self.requests.read(file.path(), size - TAIL_END_BYTES..size).await?;
        let Ok(Some((tail, properties))) = SlimTail::of_end(&bytes, size) else { return Ok(None) };
        debug!(table = file.name(), bytes = bytes.len(), requests = 1, "read the end of a tail");
        let is_same = tail.top.data_bytes() == file.data_bytes() && file.check_values(&properties).is_ok();
        Ok(is_same.then(|| Tail::Slim(Arc::new(tail))))
    }

    fn keep_offsets(&self, file: &TableFile, tail: &TableTail) {
        if self.disk.is_some() {
            file.keep_offsets(tail);
        }
    }

    /// Reads neighbouring blocks as they are stored, for a pass over a table: past the caches, which a scan must not
    /// flush, but from the disk where all of them are there.
    pub(crate) async fn read_span(
        &self,
        file: &Arc<TableFile>,
        blocks: Range<usize>,
        span: Range<u64>,
    ) -> Result<Bytes> {
        if let Some(disk) = &self.disk
            && let Some(bytes) = disk.read_span(file, blocks, &span).await
        {
            return Ok(bytes);
        }
        self.requests.read(file.path(), span).await
    }

    /// Reads a part of an object from the store itself.
    pub(crate) async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.requests.read(&Path::from(name), range).await
    }

    /// Reads a whole object.
    pub(crate) async fn read_object(&self, name: &str, size_bytes: u64) -> Result<Bytes> {
        self.read_part(name, 0..size_bytes, size_bytes).await
    }

    /// Reads a part of an object.
    pub(crate) async fn read_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.requests.read(&Path::from(name), range).await
    }

    /// Reads a part of an object that must have so many bytes.
    pub(crate) async fn read_part(&self, name: &str, range: Range<u64>, size_bytes: u64) -> Result<Bytes> {
        self.requests.read_part(&Path::from(name), range, size_bytes).await
    }

    /// Creates an object unless its name is taken.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<Creation> {
        self.requests.create(&Path::from(name), bytes.into()).await
    }

    /// What this one has created, if it only creates; asked again it is forgotten.
    pub(crate) fn take_created(&self) -> Vec<Path> {
        self.requests.take_created()
    }

    /// Lets no further request begin; resolves when those under way have ended.
    pub(crate) async fn close(&self) {
        self.requests.close().await;
    }

    /// Has flushes and compactions begin no further object, and wait for no read. Other reads, and what checkpoints upload, go on.
    pub(crate) fn stop_outputs(&self) {
        self.stopped.send_replace(true);
    }

    /// What ends a job whose outputs nobody wants any more.
    ///
    /// # Errors
    /// `Closed` if so.
    pub(crate) fn check_outputs_wanted(&self) -> Result<()> {
        if *self.stopped.borrow() { Err(unwanted()) } else { Ok(()) }
    }

    /// What a job reads, unless its outputs are wanted no more: a store that is down is asked for half a minute.
    pub(crate) async fn while_outputs_are_wanted<T>(
        &self,
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let mut stopped = self.stopped.subscribe();
        let stop = async move { stopped.wait_for(|is_stopped| *is_stopped).await.is_ok() };
        match select(pin!(stop), pin!(read)).await {
            Either::Left(_) => Err(unwanted()),
            Either::Right((read, _)) => read,
        }
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        self.requests.store()
    }

    /// Writes an object whole.
    pub(crate) async fn write(&self, name: &str, payload: Vec<Bytes>) -> Result<()> {
        self.requests.write(&Path::from(name), payload).await
    }

    /// Writes a table whole, to the disk tier as well if it is to be mirrored. Its tail is known.
    pub(crate) async fn write_table(
        &self,
        file: &Arc<TableFile>,
        payload: Vec<Bytes>,
        mirror: bool,
    ) -> Result<()> {
        let mirroring = self.disk.as_ref().filter(|_| mirror).and_then(|disk| disk.mirror(file, &payload));
        let written = self.requests.write(file.path(), payload).await;
        if let Some(mirroring) = mirroring {
            mirroring.end().await;
        }
        if written.is_err() {
            self.forget(file);
        }
        written
    }

    /// Whether the disk tier has most of what most of these tables hold.
    pub(crate) fn mirrors_most_of<'a>(&self, files: impl Iterator<Item = &'a Arc<TableFile>>) -> bool {
        let Some(disk) = &self.disk else { return false };
        let (mut mirrored, mut all) = (0, 0);
        for file in files {
            all += file.data_bytes();
            mirrored += if disk.has_most_of(file) { file.data_bytes() } else { 0 };
        }
        mirrored * 2 >= all
    }

    /// Lets the disk tier forget a table that is no longer read, and take in nothing of it that is under way.
    pub(crate) fn forget(&self, file: &TableFile) {
        file.leave();
        if let Some(disk) = &self.disk {
            let (disk, name) = (Arc::clone(disk), file.name().to_owned());
            drop(self.io.spawn(async move { tokio::task::spawn_blocking(move || disk.forget(&name)).await }));
        }
    }
}

/// Blocks that are asked for.
fn blocks(requests: &[FetchRequest]) -> usize {
    let blocks = requests.iter().map(|request| match &request.parts {
        FetchParts::Tail { .. } => 0,
        FetchParts::Blocks(blocks) => blocks.len(),
    });
    blocks.sum()
}

/// What a job hears whose store has ended.
pub(crate) fn unwanted() -> Error {
    Error::closed("the store is closed")
}

/// A tail, checked against what the manifest says of its table.
fn decode_tail(file: &TableFile, bytes: &[u8]) -> Result<Arc<TableTail>> {
    let tail = TableTail::decode(bytes, file.data_bytes())?;
    file.check_values(&tail.properties)?;
    Ok(tail)
}
