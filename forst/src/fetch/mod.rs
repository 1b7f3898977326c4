//! Fetches tails and blocks for the reads of a store: disk tier first, then ranged reads of the object store.
//!
//! **Threads**: requests come from task and background threads; everything here runs on the I/O runtime. Blocks are
//! checked and unpacked here, once, so the task thread only searches them.
//!
//! **Failure**: what the store did not answer is tried again a few times, then `Unavailable`; a block that does not
//! check out is read once more past the disk tier, then `Corruption` with object and offset. The disk tier never fails
//! a read.
mod disk;
mod error;
mod ranges;

pub use disk::DiskCache;
pub(crate) use error::store_error;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Error, ErrorKind, IoRuntime, Result};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tokio::sync::Semaphore;

use crate::block::Block;
use crate::table::{TableFile, TableTail};

/// Requests of one store in flight; a request's memory is bounded by the coalescing gap and its blocks.
const MAX_REQUESTS: usize = 128;
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// One request may take this long before it is tried again.
const REQUEST_DEADLINE: Duration = Duration::from_secs(20);

/// Parts of one table that are wanted.
#[derive(Debug)]
pub(crate) struct FetchRequest {
    pub(crate) file: Arc<TableFile>,
    pub(crate) parts: FetchParts,
}

#[derive(Debug)]
pub(crate) enum FetchParts {
    Tail,
    /// Ascending block numbers.
    Blocks(Vec<u32>),
}

/// A part that arrived, or why it did not.
pub(crate) enum FetchedPart {
    Tail(Result<Arc<TableTail>>),
    Block(u32, Result<Arc<Block>>),
}

/// One answer to a request; a request may be answered in several.
pub(crate) struct Fetched {
    pub(crate) file: Arc<TableFile>,
    pub(crate) parts: Vec<FetchedPart>,
    pub(crate) from_disk: u64,
    pub(crate) from_store: u64,
}

/// How a store is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FetchPolicy {
    pub(crate) coalesce_gap_bytes: u64,
    pub(crate) vectored: bool,
}

/// The way to the store, shared by all that reads.
pub(crate) struct Fetcher {
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    disk: Option<Arc<DiskCache>>,
    policy: FetchPolicy,
    requests: Semaphore,
}

impl Fetcher {
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        disk: Option<Arc<DiskCache>>,
        policy: FetchPolicy,
    ) -> Arc<Self> {
        Arc::new(Self { store, io, disk, policy, requests: Semaphore::new(MAX_REQUESTS) })
    }

    pub(crate) fn io(&self) -> &IoRuntime {
        &self.io
    }

    /// Starts the requests of a batch; `done` is called on the I/O runtime, once for every group of blocks that arrives
    /// together.
    pub(crate) fn start(
        self: &Arc<Self>,
        requests: Vec<FetchRequest>,
        done: Arc<dyn Fn(Fetched) + Send + Sync>,
    ) {
        let fetcher = Arc::clone(self);
        drop(self.io.spawn(async move {
            // From here each table goes its own way; from the task thread they came as one.
            for request in requests {
                let (fetcher, done) = (Arc::clone(&fetcher), Arc::clone(&done));
                drop(tokio::spawn(async move { fetcher.answer(request, done.as_ref()).await }));
            }
        }));
    }

    async fn answer(&self, request: FetchRequest, done: &(dyn Fn(Fetched) + Send + Sync)) {
        let file = request.file;
        match request.parts {
            FetchParts::Tail => {
                let tail = self.tail(&file).await;
                done(Fetched { file, parts: vec![FetchedPart::Tail(tail)], from_disk: 0, from_store: 1 });
            }
            FetchParts::Blocks(blocks) => self.blocks(&file, &blocks, done).await,
        }
    }

    /// Reads a table's tail and keeps it with the file.
    pub(crate) async fn tail(&self, file: &Arc<TableFile>) -> Result<Arc<TableTail>> {
        if let Some(tail) = file.tail() {
            return Ok(Arc::clone(tail));
        }
        let bytes = self.read(file.name(), file.data_bytes()..file.meta.size_bytes).await?;
        let tail = TableTail::decode(&bytes, file.data_bytes())
            .map_err(|e| e.context(place(file, file.data_bytes())))?;
        file.set_tail(Arc::clone(&tail));
        Ok(tail)
    }

    async fn blocks(&self, file: &Arc<TableFile>, blocks: &[u32], done: &(dyn Fn(Fetched) + Send + Sync)) {
        let wanted = match self.wanted(file, blocks).await {
            Ok(wanted) => wanted,
            Err(error) => {
                let parts = blocks.iter().map(|b| FetchedPart::Block(*b, Err(error.duplicate()))).collect();
                return done(Fetched { file: Arc::clone(file), parts, from_disk: 0, from_store: 0 });
            }
        };
        let remote = self.take_from_disk(file, wanted, done).await;
        if remote.is_empty() {
            return;
        }
        let groups = ranges::coalesce(remote, self.policy.coalesce_gap_bytes);
        if self.policy.vectored {
            let spans: Vec<_> = groups.iter().map(|g| g.span.clone()).collect();
            let pieces = self.read_all(file.name(), &spans).await;
            self.deliver(file, groups, pieces, done).await;
        } else {
            let reads: FuturesUnordered<_> = groups
                .into_iter()
                .map(|group| async move {
                    (self.read(file.name(), group.span.clone()).await.map(|piece| vec![piece]), group)
                })
                .collect();
            reads
                .for_each(
                    |(pieces, group)| async move { self.deliver(file, vec![group], pieces, done).await },
                )
                .await;
        }
    }

    async fn wanted(&self, file: &Arc<TableFile>, blocks: &[u32]) -> Result<Vec<ranges::Wanted>> {
        let tail = self.tail(file).await?;
        let locate = |block: &u32| match tail.index.range(*block as usize) {
            Some(range) => Ok(ranges::Wanted { block: *block, range }),
            None => Err(Error::internal(format!("{} has no block {block}", file.name()))),
        };
        blocks.iter().map(locate).collect()
    }

    /// Answers what the disk tier has; returns the rest.
    async fn take_from_disk(
        &self,
        file: &Arc<TableFile>,
        wanted: Vec<ranges::Wanted>,
        done: &(dyn Fn(Fetched) + Send + Sync),
    ) -> Vec<ranges::Wanted> {
        let Some(disk) = &self.disk else { return wanted };
        let (found, rest) = Arc::clone(disk).read(file.name(), wanted).await;
        // Garbage from the disk is a miss.
        let (parts, mut bad) = (Vec::with_capacity(found.len()), Vec::new());
        let parts = found.into_iter().fold(parts, |mut parts, (wanted, bytes)| {
            match Block::decode(&bytes) {
                Ok(block) => parts.push(FetchedPart::Block(wanted.block, Ok(Arc::new(block)))),
                Err(_) => bad.push(wanted),
            }
            parts
        });
        if !parts.is_empty() {
            let from_disk = parts.len() as u64;
            done(Fetched { file: Arc::clone(file), parts, from_disk, from_store: 0 });
        }
        bad.extend(rest);
        bad.sort_unstable_by_key(|w| w.block);
        bad
    }

    /// Decodes the blocks of spans that were fetched together and hands them over together.
    async fn deliver(
        &self,
        file: &Arc<TableFile>,
        groups: Vec<ranges::Group>,
        pieces: Result<Vec<Bytes>>,
        done: &(dyn Fn(Fetched) + Send + Sync),
    ) {
        let mut parts = Vec::with_capacity(groups.iter().map(|group| group.wanted.len()).sum());
        for (number, group) in groups.iter().enumerate() {
            let piece = pieces.as_ref().map(|pieces| pieces.get(number));
            for wanted in &group.wanted {
                let block = match &piece {
                    Ok(piece) => self.decode(file, group, wanted, piece.unwrap_or(&Bytes::new())).await,
                    Err(error) => Err(error.duplicate()),
                };
                parts.push(FetchedPart::Block(wanted.block, block));
            }
        }
        let from_store = parts.len() as u64;
        done(Fetched { file: Arc::clone(file), parts, from_disk: 0, from_store });
    }

    async fn decode(
        &self,
        file: &Arc<TableFile>,
        group: &ranges::Group,
        wanted: &ranges::Wanted,
        piece: &Bytes,
    ) -> Result<Arc<Block>> {
        let from = (wanted.range.start - group.span.start) as usize;
        let to = (wanted.range.end - group.span.start) as usize;
        let stored = piece.get(from..to).unwrap_or_default();
        let block = match Block::decode(stored) {
            Ok(block) => {
                if let Some(disk) = &self.disk {
                    Arc::clone(disk).write(file.name(), file.data_bytes(), wanted, piece.slice(from..to));
                }
                Ok(block)
            }
            // Bytes can break on the way; what is broken at rest breaks again.
            Err(_) => Block::decode(&self.read(file.name(), wanted.range.clone()).await?),
        };
        block.map(Arc::new).map_err(|e| e.context(place(file, wanted.range.start)))
    }

    /// One ranged read, with retries.
    pub(crate) async fn read(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let path = Path::from(name);
        let length = range.end - range.start;
        let read = || async { self.store.get_ranges(&path, std::slice::from_ref(&range)).await };
        let bytes = self.persist(name, read).await?.pop().unwrap_or_default();
        check_length(name, length, &bytes)?;
        Ok(bytes)
    }

    async fn read_all(&self, name: &str, spans: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let path = Path::from(name);
        let pieces = self.persist(name, || async { self.store.get_ranges(&path, spans).await }).await?;
        for (span, piece) in spans.iter().zip(&pieces) {
            check_length(name, span.end - span.start, piece)?;
        }
        Ok(pieces)
    }

    /// Lets the disk tier forget a table that is no longer read.
    pub(crate) fn forget(&self, name: &str) {
        if let Some(disk) = &self.disk {
            disk.forget(name);
        }
    }

    /// Reads a whole object.
    pub(crate) async fn read_object(&self, name: &str) -> Result<Bytes> {
        let path = Path::from(name);
        self.persist(name, || async { self.store.get(&path).await?.bytes().await }).await
    }

    /// Writes an object whole.
    pub(crate) async fn write(&self, name: &str, payload: Vec<Bytes>) -> Result<()> {
        let path = Path::from(name);
        let payload: object_store::PutPayload = payload.into_iter().collect();
        self.persist(name, || async { self.store.put(&path, payload.clone()).await }).await?;
        Ok(())
    }

    /// Tries an operation until it works, is hopeless, or has been tried often enough.
    async fn persist<T, F>(&self, name: &str, operation: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let _permit = self.requests.acquire().await.map_err(|_| Error::closed("the store is closed"))?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let error = match tokio::time::timeout(REQUEST_DEADLINE, operation()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => store_error(name, error),
                Err(_) => Error::unavailable(format!(
                    "no answer for {name} within {} s",
                    REQUEST_DEADLINE.as_secs()
                )),
            };
            if error.kind() != ErrorKind::Unavailable || attempt == ATTEMPTS {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
            attempt += 1;
        }
    }
}

/// Object and offset, for an error.
fn place(file: &TableFile, offset: u64) -> String {
    format!("{} at offset {offset}", file.name())
}

fn check_length(name: &str, expected: u64, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 == expected {
        return Ok(());
    }
    let got = bytes.len();
    Err(Error::corruption(format!(
        "{name} is truncated: expected {expected} bytes, got {got}; restore an older checkpoint"
    )))
}
