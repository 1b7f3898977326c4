//! What comes into the disk tier, and what goes out of it to make room.
//!
//! Blocks that were read wait in a queue that one blocking task drains; tables that are being uploaded are written
//! beside the upload. Both may be dropped: the queue when it is full, a table's mirror when enough are being written
//! or the upload is long over. Of a table that is gone by then nothing comes in: nobody would forget it.
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::folder::{disk_bytes, in_mirror, punch};
use super::header::{HEADER_BYTES, Header};
use super::mirrors::Victim;
use super::{DiskCache, fresh};
use crate::table::TableFile;

/// Blocks that may wait for the disk; more are dropped, since a cache may.
const MAX_QUEUED_BYTES: usize = 8 << 20;
/// Tables that may be written whole at the same time.
const MAX_MIRRORING: usize = 4;
/// How long an uploaded table's memory may be held for its mirror.
const GRACE: Duration = Duration::from_millis(500);
/// A table larger than this part of the tier would push out everything else.
const MAX_TABLE_SHARE: u64 = 4;

/// Parts of one table: part number, offset and bytes of each.
struct Pending {
    table: Arc<TableFile>,
    parts: Vec<(usize, u64, Bytes)>,
}

impl Pending {
    fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, _, bytes)| bytes.len()).sum()
    }
}

#[derive(Default)]
struct Queue {
    pending: Vec<Pending>,
    bytes: usize,
    draining: bool,
}

/// What is being written.
#[derive(Default)]
pub(super) struct Writes {
    queue: Mutex<Queue>,
    mirroring: AtomicUsize,
    /// Bytes that writes under way may yet take.
    reserved: AtomicU64,
}

impl Writes {
    /// Whether nothing waits or is being written.
    #[cfg(benching)]
    pub(super) fn is_idle(&self) -> bool {
        let queue = self.queue();
        queue.pending.is_empty() && !queue.draining
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A table that is being mirrored while it is uploaded.
pub(in crate::fetch) struct Mirroring {
    task: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Mirroring {
    /// Waits a moment for the disk, which is mostly done by now; what it has not taken then, it does not get.
    pub(in crate::fetch) async fn end(mut self) {
        // The drop stops what is late.
        let _ = tokio::time::timeout(GRACE, &mut self.task).await;
    }
}

impl Drop for Mirroring {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl DiskCache {
    /// Takes parts of a table in, in the background: blocks by number, the tail as the one behind the last.
    pub(in crate::fetch) fn write(self: &Arc<Self>, table: &Arc<TableFile>, parts: Vec<(usize, u64, Bytes)>) {
        if self.is_off() || table.meta.content_hash == 0 || parts.is_empty() {
            return;
        }
        let pending = Pending { table: Arc::clone(table), parts };
        let bytes = pending.bytes();
        let start = {
            let mut queue = self.writes.queue();
            if queue.bytes + bytes > MAX_QUEUED_BYTES {
                return;
            }
            queue.bytes += bytes;
            queue.pending.push(pending);
            !std::mem::replace(&mut queue.draining, true)
        };
        if start {
            let cache = Arc::clone(self);
            drop(spawn_blocking(move || cache.drain()));
        }
    }

    fn drain(&self) {
        loop {
            let pending = {
                let mut queue = self.writes.queue();
                if queue.pending.is_empty() {
                    queue.draining = false;
                    return;
                }
                std::mem::take(&mut queue.pending)
            };
            for pending in pending {
                let bytes = pending.bytes();
                if !self.is_off() {
                    self.took(self.write_parts(&pending.table, &pending.parts));
                }
                drop(pending);
                self.writes.queue().bytes -= bytes;
            }
        }
    }

    /// A full disk shrinks the tier; any other error ends it.
    fn took(&self, written: io::Result<()>) {
        let Err(error) = written else { return };
        let shrunk = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let taken = self.mirrors().disk_bytes();
                self.evict(taken / 8)
            }
            io::ErrorKind::InvalidFilename => Ok(0),
            _ => Err(error),
        };
        if let Err(error) = shrunk {
            self.switch_off(&error);
        }
    }

    fn write_parts(&self, table: &Arc<TableFile>, parts: &[(usize, u64, Bytes)]) -> io::Result<()> {
        // A part that shares its pages with nobody takes up to two more of them.
        let bytes = parts.iter().map(|(_, _, bytes)| bytes.len() as u64 + 2 * HEADER_BYTES as u64).sum();
        let Some(_room) = self.reserve(bytes)? else { return Ok(()) };
        let Some((number, mirror)) = self.mirror_of(table)? else { return Ok(()) };
        let (mut written, mut whole) = (Ok(()), 0);
        for (_, offset, bytes) in parts {
            written = mirror.write_all_at(bytes, in_mirror(&(*offset..*offset)).start);
            if written.is_err() {
                break;
            }
            whole += 1;
        }
        // A write that failed takes room as well, as far as it came.
        let taken = disk_bytes(&mirror)?;
        let mut mirrors = self.mirrors();
        if let Some(known) = mirrors.get(table).filter(|known| known.number == number) {
            for (part, ..) in parts.iter().take(whole) {
                known.add(*part);
            }
        }
        mirrors.measured(number, table.name(), taken);
        written
    }

    /// The mirror of a table, made if there is none; `None` if it went just now, or the table has.
    fn mirror_of(&self, table: &Arc<TableFile>) -> io::Result<Option<(u64, Arc<File>)>> {
        let known = self.mirrors().get(table).map(|mirror| (mirror.number, mirror.is_known()));
        if let Some((number, is_known)) = known {
            if !is_known {
                self.look_at(table, number);
            }
            return match self.folder.file(number) {
                // Forgotten or evicted just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                opened => opened.map(|mirror| Some((number, mirror))),
            };
        }
        self.note_use()?;
        let number = self.mirrors().next_number();
        let Some(mirror) = fresh(number, table) else { return Ok(None) };
        let header = Header {
            name: table.name().to_owned(),
            content_hash: table.meta.content_hash,
            size_bytes: table.meta.size_bytes,
        };
        let created = self.folder.create(number, &header)?;
        let (made, unused) = {
            let mut mirrors = self.mirrors();
            // Under the lock: whoever forgets a table says so first, and then looks for its mirror.
            if table.is_gone() {
                (None, Some(number))
            } else {
                (Some((number, created)), mirrors.insert(table.name(), mirror))
            }
        };
        if let Some(number) = unused {
            self.folder.remove(number)?;
        }
        Ok(made)
    }

    /// Mirrors a table whole while it is uploaded. Its tail is known.
    pub(in crate::fetch) fn mirror(
        self: &Arc<Self>,
        table: &Arc<TableFile>,
        payload: &[Bytes],
    ) -> Option<Mirroring> {
        let too_large = table.meta.size_bytes > self.limits().size_bytes / MAX_TABLE_SHARE;
        if self.is_off() || too_large || self.writes.mirroring.load(Ordering::Relaxed) >= MAX_MIRRORING {
            return None;
        }
        self.writes.mirroring.fetch_add(1, Ordering::Relaxed);
        let (cache, table, payload) = (Arc::clone(self), Arc::clone(table), payload.to_vec());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = spawn_blocking(move || {
            cache.took(cache.write_whole(&table, payload, &stopped));
            cache.writes.mirroring.fetch_sub(1, Ordering::Relaxed);
        });
        Some(Mirroring { task, stop })
    }

    fn write_whole(&self, table: &Arc<TableFile>, payload: Vec<Bytes>, stop: &AtomicBool) -> io::Result<()> {
        let Some(_room) = self.reserve(table.meta.size_bytes + HEADER_BYTES as u64)? else { return Ok(()) };
        let Some((number, mirror)) = self.mirror_of(table)? else { return Ok(()) };
        let (mut written, mut ended) = (0, Ok(()));
        for piece in payload {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            ended = mirror.write_all_at(&piece, in_mirror(&(written..written)).start);
            if ended.is_err() {
                break;
            }
            written += piece.len() as u64;
        }
        let taken = disk_bytes(&mirror)?;
        let mut mirrors = self.mirrors();
        if let Some(known) = mirrors.get(table).filter(|known| known.number == number) {
            known.add_until(written);
        }
        mirrors.measured(number, table.name(), taken);
        ended
    }

    /// Forgets a table that no longer exists. Waits for the disk.
    pub(in crate::fetch) fn forget(&self, name: &str) {
        let gone = self.mirrors().remove(name);
        if let Some(number) = gone
            && let Err(error) = self.folder.remove(number)
        {
            self.switch_off(&error);
        }
    }

    /// Evicts until `bytes` find room within the limits, and keeps that room; `None` if there is none.
    fn reserve(&self, bytes: u64) -> io::Result<Option<Room<'_>>> {
        let room = Room { writes: &self.writes, bytes };
        self.writes.reserved.fetch_add(bytes, Ordering::Relaxed);
        Ok(self.make_room()?.then_some(room))
    }

    /// Evicts what is over the limits; `false` if that is more than there is.
    pub(super) fn make_room(&self) -> io::Result<bool> {
        let reserved = self.writes.reserved.load(Ordering::Relaxed);
        let taken = self.mirrors().disk_bytes();
        let excess = self.limits().excess(taken, self.folder.free_bytes()?, reserved);
        // What is free is not asked again: a file system may tell late what it was given back.
        Ok(excess == 0 || self.evict(excess)? >= excess)
    }

    /// Gives at least `enough` bytes back, if there are as many; returns how many.
    fn evict(&self, enough: u64) -> io::Result<u64> {
        let mut freed = 0;
        while freed < enough {
            let victim = self.mirrors().evict(enough - freed);
            let Some((name, victim)) = victim else { break };
            freed += match victim {
                Victim::Whole { number, disk_bytes } => {
                    self.folder.remove(number)?;
                    disk_bytes
                }
                Victim::Holes { number, holes } => self.give_back(&name, number, &holes)?,
            };
        }
        Ok(freed)
    }

    fn give_back(&self, name: &str, number: u64, holes: &[Range<u64>]) -> io::Result<u64> {
        let mirror = match self.folder.file(number) {
            // Forgotten just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            opened => opened?,
        };
        let before = disk_bytes(&mirror)?;
        if punch(&mirror, holes)? {
            let taken = disk_bytes(&mirror)?;
            self.mirrors().measured(number, name, taken);
            return Ok(before.saturating_sub(taken));
        }
        self.mirrors().remove(name);
        self.folder.remove(number)?;
        Ok(before)
    }
}

/// Room that a write under way may fill.
struct Room<'a> {
    writes: &'a Writes,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.writes.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
