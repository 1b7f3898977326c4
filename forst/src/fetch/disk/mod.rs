//! The disk tier: sparse local mirrors of remote tables, block by block, warm after a restart.
//!
//! A mirror has the table's own layout behind one page of header, so a hit is one `pread` at the block's offset, and
//! out of the page cache it costs no change of threads. What is there is what the file system holds of the sparse
//! file; in memory it is a bit a block. A block comes in when it is read from the store, or with its whole table as
//! that is written; blocks nobody asked for since the last sweep go first (CLOCK, block by block, by punching holes).
//!
//! **Invariants**: never the only copy of anything. A mirror answers only for the bytes whose hash it carries, since
//! names repeat: another store has the same ones, and so has state that was deleted and begun anew. What is read back
//! is checked like any byte from outside.
//!
//! **Threads**: shared by all stores of a process. Reads run on the I/O runtime, and on task threads that help with what the
//! page cache has; everything that changes files runs on the runtime's blocking threads.
//!
//! **Failure**: a missing, cut or broken mirror is a miss. A full disk makes the tier shrink. Any other error, or a
//! disk that does not answer, switches the tier off until a restart and is kept for [`DiskCache::trouble`].
#[cfg(benching)]
mod benching;
mod bits;
mod folder;
mod header;
mod limits;
mod mirror;
mod mirrors;
mod writes;

#[cfg(benching)]
pub use benching::{BuiltPart, DiskPart, Filling};
pub use limits::DiskLimits;

/// Reads a mirror's header, and writes what it has read.
#[cfg(fuzzing)]
pub(crate) fn fuzz_header(bytes: &[u8]) {
    match header::Header::decode(bytes) {
        Ok(header) => {
            let again = header.encode().map(|bytes| header::Header::decode(&bytes));
            assert!(again.is_none_or(|again| again.is_ok_and(|again| again == header)), "{header:?}");
        }
        Err(error) => assert_eq!(error.kind(), alluvium_env::ErrorKind::Corruption, "{error}"),
    }
}

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alluvium_env::{Error, Result, read_ranges};
use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::ranges::Wanted;
use super::{FetchParts, FetchRequest};
use crate::table::TableFile;
use folder::{Folder, held, in_mirror, touch};
use mirror::Mirror;
use mirrors::Mirrors;
use writes::Writes;

/// A disk that takes longer than this for a read is worse than none.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// The disk tier of a process.
pub struct DiskCache {
    folder: Folder,
    limits: Mutex<DiskLimits>,
    mirrors: Mutex<Mirrors>,
    writes: Writes,
    off: AtomicBool,
    in_use: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl DiskCache {
    /// Opens the tier in a folder, with what an earlier process left there.
    ///
    /// # Errors
    /// `Invalid` if the folder cannot be made or written, is used by another process, or the disk has no room for
    /// the limits.
    pub fn open(root: &Path, limits: DiskLimits) -> Result<Arc<Self>> {
        let folder = Folder::open(root)?;
        let unusable = |e: io::Error| {
            Error::invalid(format!(
                "cache folder {} cannot be read; name another with --cache-dir",
                root.display()
            ))
            .with_source(e)
        };
        let mut mirrors = Mirrors::default();
        for found in folder.recover().map_err(unusable)? {
            if let Some(gone) = mirrors.insert_found(&found.header, found.number, found.disk_bytes) {
                folder.remove(gone).map_err(unusable)?;
            }
        }
        let free = folder.free_bytes().map_err(unusable)?;
        let needed = limits.size_bytes.saturating_add(limits.min_free_bytes);
        let usable = free.saturating_add(mirrors.disk_bytes());
        if usable < needed {
            return Err(Error::invalid(format!(
                "cache folder {} has {usable} bytes to use, less than the cache size of {} with the {} to leave free: \
                 free space, or give a smaller --cache-size",
                root.display(),
                limits.size_bytes,
                limits.min_free_bytes
            )));
        }
        let cache = Self {
            folder,
            limits: Mutex::new(limits),
            mirrors: Mutex::new(mirrors),
            writes: Writes::default(),
            off: AtomicBool::new(false),
            in_use: AtomicBool::new(false),
            trouble: Mutex::new(None),
        };
        // A smaller size than last time.
        cache.set_limits(limits);
        Ok(Arc::new(cache))
    }

    /// Changes the limits and gives back at once what is over them. Waits for the disk.
    pub fn set_limits(&self, limits: DiskLimits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        if let Err(error) = self.make_room() {
            self.switch_off(&error);
        }
    }

    /// Why the tier is off, if it is.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the mirrors take on the disk now.
    pub fn disk_bytes(&self) -> u64 {
        self.mirrors().disk_bytes()
    }

    fn limits(&self) -> DiskLimits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirrors(&self) -> MutexGuard<'_, Mirrors> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    #[cold]
    fn switch_off(&self, error: &io::Error) {
        if !self.off.swap(true, Ordering::Relaxed) {
            let sentence =
                format!("the disk cache in {} is off until a restart: {error}", self.folder.path().display());
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence);
            self.mirrors().clear();
        }
    }

    /// Says that this process uses the tier, once.
    fn note_use(&self) -> io::Result<()> {
        if self.in_use.swap(true, Ordering::Relaxed) { Ok(()) } else { self.folder.mark_use() }
    }

    /// Takes out the requests for blocks that are all there. That does not count as use: they are going to be read.
    pub(super) fn take_mirrored(&self, requests: &mut Vec<FetchRequest>) -> Vec<FetchRequest> {
        if self.is_off() {
            return Vec::new();
        }
        let mut mirrors = self.mirrors();
        let is_mirrored = |request: &mut FetchRequest| match &request.parts {
            FetchParts::Tail { .. } => false,
            FetchParts::Blocks(wanted) => mirrors
                .get(&request.file)
                .is_some_and(|mirror| wanted.iter().all(|wanted| mirror.has(wanted.block as usize, false))),
        };
        requests.extract_if(.., is_mirrored).collect()
    }

    /// Reads the blocks that are there; returns them and the rest. The table's tail is known by now.
    pub(super) async fn read(
        self: &Arc<Self>,
        table: &Arc<TableFile>,
        wanted: Vec<Wanted>,
    ) -> (Vec<(Wanted, Bytes)>, Vec<Wanted>) {
        let Some(number) = self.number(table).await else { return (Vec::new(), wanted) };
        let (here, mut rest): (Vec<_>, Vec<_>) = {
            let mut mirrors = self.mirrors();
            let Some(mirror) = mirrors.get(table) else { return (Vec::new(), wanted) };
            wanted.into_iter().partition(|wanted| mirror.has(wanted.block as usize, true))
        };
        if here.is_empty() {
            return (Vec::new(), rest);
        }
        let ranges: Vec<_> = here.iter().map(|wanted| in_mirror(&wanted.range)).collect();
        if let Some(pieces) = self.read_file(table, number, &ranges).await {
            return (here.into_iter().zip(pieces).collect(), rest);
        }
        rest.extend(here);
        (Vec::new(), rest)
    }

    /// Reads the tail of a table, if it may be there: a found mirror is not looked at before its tail is known.
    pub(super) async fn read_tail(self: &Arc<Self>, table: &Arc<TableFile>) -> Option<Bytes> {
        if self.is_off() {
            return None;
        }
        let number = self.mirrors().get(table).filter(|mirror| mirror.may_have_tail())?.number;
        let tail = in_mirror(&(table.data_bytes()..table.meta.size_bytes));
        self.read_file(table, number, &[tail]).await?.pop()
    }

    /// Reads neighbouring blocks for a pass over the table, if all are there. It does not count as use: a scan says
    /// nothing about what will be asked for.
    pub(super) async fn read_span(
        self: &Arc<Self>,
        table: &Arc<TableFile>,
        blocks: Range<usize>,
        span: &Range<u64>,
    ) -> Option<Bytes> {
        let number = self.number(table).await?;
        if !self.mirrors().get(table).is_some_and(|mirror| blocks.into_iter().all(|b| mirror.has(b, false))) {
            return None;
        }
        self.read_file(table, number, &[in_mirror(span)]).await?.pop()
    }

    /// Whether at least half of a table is there.
    pub(super) fn has_most_of(&self, table: &TableFile) -> bool {
        self.mirrors()
            .get(table)
            .is_some_and(|mirror| mirror.present_bytes() >= table.data_bytes().div_ceil(2))
    }

    /// Blocks did not check out: they are not there.
    pub(super) fn doubt(&self, table: &TableFile, block: u32) {
        if let Some(mirror) = self.mirrors().get(table) {
            mirror.doubt(block as usize);
        }
    }

    /// The number of a table's mirror; looks at one that was found when it is first asked for.
    async fn number(self: &Arc<Self>, table: &Arc<TableFile>) -> Option<u64> {
        if self.is_off() {
            return None;
        }
        let (number, is_known) =
            self.mirrors().get(table).map(|mirror| (mirror.number, mirror.is_known()))?;
        if !is_known {
            let (cache, table) = (Arc::clone(self), Arc::clone(table));
            // A blocking task is only lost when the runtime goes down, and the read with it.
            spawn_blocking(move || cache.look_at(&table, number)).await.ok()?;
        }
        Some(number)
    }

    fn look_at(&self, table: &TableFile, number: u64) {
        let Some(offsets) = table.offsets() else { return };
        let look = || {
            self.note_use()?;
            let mirror = self.folder.file(number)?;
            touch(&mirror)?;
            held(&mirror)
        };
        match look() {
            Ok(held) => {
                let mut mirrors = self.mirrors();
                if let Some(mirror) = mirrors.get(table).filter(|mirror| !mirror.is_known()) {
                    mirror.learn(table, offsets, &held);
                }
            }
            Err(error) => self.failed(table, &error),
        }
    }

    async fn read_file(
        self: &Arc<Self>,
        table: &Arc<TableFile>,
        number: u64,
        ranges: &[Range<u64>],
    ) -> Option<Vec<Bytes>> {
        let read = async {
            let mirror = if let Some(mirror) = self.folder.opened(number) {
                mirror
            } else {
                let cache = Arc::clone(self);
                spawn_blocking(move || cache.folder.file(number)).await.map_err(io::Error::other)??
            };
            read_ranges(&mirror, ranges).await
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "a read was not answered for 5 s");
        let answer = tokio::time::timeout(READ_DEADLINE, read).await.unwrap_or_else(|_| Err(late()));
        answer.map_err(|error| self.failed(table, &error)).ok()
    }

    /// A mirror that is cut or gone is forgotten; any other error is the disk's.
    #[cold]
    fn failed(&self, table: &TableFile, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound) {
            let gone = self.mirrors().remove(table.name());
            if let Some(number) = gone {
                // What cannot be removed now is found broken at the next start.
                let _ = self.folder.remove(number);
            }
        } else {
            self.switch_off(error);
        }
    }
}

/// A mirror that nobody has seen before.
fn fresh(number: u64, table: &TableFile) -> Option<Mirror> {
    table.offsets().map(|offsets| Mirror::new(number, table, offsets))
}
