//! What the driver asks of a system, and what a system is given.
//!
//! **Threads**: the driver's alone; a system brings threads of its own for what it does in the background. Calls are
//! `async` because one system's are; those of the others end without waiting, so that nothing is added to them but a
//! `return`.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_host::storage::{self, Link, Storage, StoreRequests};

use super::args::{BenchArgs, name};
use super::fold::Fold;
use super::keys::KEY_BYTES;
use super::process;
use crate::s3::{self, ServerClient};

/// Write buffers may take one part in so many of the budget, the cache has the rest.
const WRITE_SHARE: u64 = 4;

/// A key as the workload makes it.
pub(super) type KeyBytes = [u8; KEY_BYTES];

/// Looks at an answer of several: which one it is, and the value.
pub(super) type Look<'a> = &'a mut dyn FnMut(usize, Option<&[u8]>) -> Result<()>;

/// Looks at an entry of a scan: its key and its value.
pub(super) type Show<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// A system under measurement.
pub(super) trait Peer: Sized {
    /// Opens an empty one.
    async fn open(place: &Place) -> Result<Self>;

    /// Writes one value.
    async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Adds a value to those that [`Peer::commit`] writes together.
    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Writes what was added.
    async fn commit(&mut self) -> Result<()>;

    /// Folds an operand into a value, without reading it where the system can do that.
    async fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()>;

    /// Reads one value and shows it.
    async fn get(&self, key: &KeyBytes, look: impl FnOnce(Option<&[u8]>) -> Result<()>) -> Result<()>;

    /// Reads several, ascending and all different, in the way the system has for that.
    async fn get_all(&self, keys: &[KeyBytes], look: Look<'_>) -> Result<()>;

    /// Shows all entries whose keys begin so, in order; an empty prefix is the whole store.
    async fn scan(&self, prefix: &[u8], look: Show<'_>) -> Result<()>;

    /// Has all that was written put into files.
    async fn flush(&mut self) -> Result<()>;

    /// Ends it.
    async fn close(self) -> Result<()>;
}

/// Where a system writes and what it may take.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    /// The folder as an object store, at the far end of the link that was asked for, or what the server has.
    pub(super) storage: Storage,
    /// Where the data is on a server, with a client of whose making is the system's own matter.
    pub(super) server: Option<ServerClient>,
    /// Reads under way at once.
    #[cfg_attr(not(feature = "cobble"), expect(dead_code, reason = "Cobble takes a thread for each"))]
    pub(super) in_flight: usize,
    /// What becomes of operands.
    pub(super) fold: Option<Fold>,
    /// Caches and write buffers together.
    pub(super) memory_bytes: u64,
    /// Whether everything fits into the cache.
    pub(super) is_resident: bool,
}

impl Place {
    /// Empties the folder.
    pub(super) fn open(args: &BenchArgs) -> Result<Self> {
        let folder = std::path::absolute(args.folder.join(name(&args.system)))
            .map_err(|e| Error::invalid(format!("{} is no folder", args.folder.display())).with_source(e))?;
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|e| {
                Error::unavailable(format!("cannot empty {}", folder.display())).with_source(e)
            })?;
        }
        let server = args.server.as_deref().map(ServerClient::new);
        let mut storage = match server {
            Some(_) => storage::open(&format!("s3://{}/{}", s3::BUCKET, name(&args.system)))?,
            None => storage::open_folder(&folder)?,
        };
        if let Some(latency) = args.latency {
            storage = storage.behind(Link { latency: latency.0, ..Link::default() })?;
        }
        let raw = args.keys.0 * (KEY_BYTES + args.value_bytes()) as u64;
        let (memory_bytes, in_flight) = (args.memory.0, args.in_flight.max(1) as usize);
        let is_resident = raw < memory_bytes / 2;
        let fold = Fold::of(args.case);
        Ok(Self { folder, storage, server, in_flight, fold, memory_bytes, is_resident })
    }

    /// What was asked of the store, as far as the system has one.
    pub(super) fn requests(&self) -> Result<StoreRequests> {
        self.server.as_ref().map_or_else(|| Ok(self.storage.requests.snapshot()), ServerClient::requests)
    }

    /// Bytes that were written to files or sent to the server.
    pub(super) fn written_bytes(&self) -> Result<u64> {
        match self.server {
            Some(_) => Ok(self.requests()?.bytes_written),
            None => Ok(process::written_bytes()),
        }
    }

    /// The same, and what was read from a server, where a compaction takes little CPU and writes late.
    pub(super) fn moved_bytes(&self) -> Result<u64> {
        match self.server {
            Some(_) => self.requests().map(|requests| requests.bytes_written + requests.bytes_read),
            None => self.written_bytes(),
        }
    }

    /// Bytes that files or the server hold.
    pub(super) fn stored_bytes(&self) -> Result<u64> {
        match &self.server {
            Some(server) => Ok(server.holds()?.0),
            None => Ok(process::folder_bytes(&self.folder)),
        }
    }

    /// How far away the store is.
    pub(super) fn latency_micros(&self, args: &BenchArgs) -> Result<u64> {
        let link = args.latency.map_or(0, |delay| u64::try_from(delay.0.as_micros()).unwrap_or(u64::MAX));
        self.server.as_ref().map_or(Ok(link), |server| server.holds().map(|(_, micros)| micros))
    }

    /// Has the server answer after a round trip, or at once.
    pub(super) fn set_far(&self, is_far: bool) -> Result<()> {
        self.server.as_ref().map_or(Ok(()), |server| server.set_far(is_far))
    }

    /// Deletes what was written; a server's memory ends with it.
    pub(super) fn clear(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&self.folder).map_err(|e| {
            Error::unavailable(format!("cannot delete {}", self.folder.display())).with_source(e)
        })
    }

    /// What all write buffers together may hold.
    pub(super) fn write_bytes(&self) -> u64 {
        self.memory_bytes / WRITE_SHARE
    }

    /// What caches may hold.
    #[cfg_attr(not(feature = "slatedb"), expect(dead_code, reason = "SlateDB alone splits its cache"))]
    pub(super) fn cache_bytes(&self) -> u64 {
        self.memory_bytes - self.write_bytes()
    }
}

/// Above every key of 24 bytes or fewer that begins so.
#[cfg_attr(
    not(any(feature = "cobble", feature = "fjall", feature = "rocksdb", feature = "slatedb")),
    expect(dead_code, reason = "a hash map has no order")
)]
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    end.resize(prefix.len().max(KEY_BYTES) + KEY_BYTES, u8::MAX);
    end
}

/// How often the counters of background work are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
