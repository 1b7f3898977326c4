//! The disk tier: sparse local mirrors of remote tables, block by block.
//!
//! A mirror has the table's own layout, so a hit is one `pread` at the block's offset; a bitmap in memory says which
//! blocks are there. Eviction drops whole mirrors, least recently used first (CLOCK).
//!
//! **Invariants**: never the only copy of anything; what is read back is checked like any byte from outside.
//!
//! **Threads**: shared by all stores of a process; file calls run on the I/O runtime's blocking threads.
//!
//! **Failure**: an error while reading is a miss; an error while writing (a full disk, say) ends writing for good and
//! is kept for [`DiskCache::trouble`].
use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alluvium_env::{Error, HashMap, HashSet, Result};
use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::ranges::Wanted;

/// The folder within the cache folder; its name carries the layout's version.
const FOLDER: &str = "alluvium-blocks-v1";
/// Writes that may wait for the disk; more are dropped, since a cache may.
const MAX_QUEUED_WRITES: usize = 256;

struct Mirror {
    file: Arc<File>,
    path: PathBuf,
    present: HashSet<u32>,
    bytes: u64,
    used: bool,
}

#[derive(Default)]
struct Mirrors {
    by_name: HashMap<String, Mirror>,
    clock: VecDeque<String>,
    bytes: u64,
    next: u64,
    queued: usize,
}

/// The disk tier of a process.
pub struct DiskCache {
    folder: PathBuf,
    capacity_bytes: u64,
    mirrors: Mutex<Mirrors>,
    broken: AtomicBool,
    trouble: Mutex<Option<String>>,
    /// Keeps a second process out of the folder.
    _lock: File,
}

impl DiskCache {
    /// Opens the tier in a folder, empty.
    ///
    /// # Errors
    /// `Invalid` if the folder cannot be made or written, is used by another process, or has less than
    /// `capacity_bytes` free.
    pub fn open(folder: &Path, capacity_bytes: u64) -> Result<Arc<Self>> {
        let trouble = |what: &str, e: std::io::Error| {
            Error::invalid(format!("cache folder {} {what}; name another with --cache-dir", folder.display()))
                .with_source(e)
        };
        let blocks = folder.join(FOLDER);
        fs::create_dir_all(&blocks).map_err(|e| trouble("cannot be made", e))?;
        let lock = File::create(folder.join("LOCK")).map_err(|e| trouble("cannot be written", e))?;
        if lock.try_lock().is_err() {
            let folder = folder.display();
            return Err(Error::invalid(format!(
                "cache folder {folder} is used by another process; name another"
            )));
        }
        fs::remove_dir_all(&blocks)
            .and_then(|()| fs::create_dir_all(&blocks))
            .map_err(|e| trouble("cannot be emptied", e))?;
        let space = rustix::fs::statvfs(&blocks).map_err(|e| trouble("cannot be measured", e.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < capacity_bytes {
            return Err(Error::invalid(format!(
                "cache folder {} has {free} bytes free, less than the cache size of {capacity_bytes}: free space, or \
                 give a smaller --cache-size",
                folder.display()
            )));
        }
        Ok(Arc::new(Self {
            folder: blocks,
            capacity_bytes,
            mirrors: Mutex::default(),
            broken: AtomicBool::new(false),
            trouble: Mutex::new(None),
            _lock: lock,
        }))
    }

    /// Why the tier stopped taking blocks, if it did.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Mirrors> {
        self.mirrors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn break_down(&self, error: &std::io::Error) {
        if !self.broken.swap(true, Ordering::Relaxed) {
            let sentence =
                format!("the disk cache in {} takes no more blocks: {error}", self.folder.display());
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(sentence);
        }
    }

    /// Reads what is there; returns that and the rest.
    pub(super) async fn read(
        self: Arc<Self>,
        name: &str,
        wanted: Vec<Wanted>,
    ) -> (Vec<(Wanted, Vec<u8>)>, Vec<Wanted>) {
        let (file, here, mut rest) = {
            let mut mirrors = self.lock();
            let Some(mirror) = mirrors.by_name.get_mut(name) else { return (Vec::new(), wanted) };
            mirror.used = true;
            let (here, rest): (Vec<_>, Vec<_>) =
                wanted.into_iter().partition(|w| mirror.present.contains(&w.block));
            (Arc::clone(&mirror.file), here, rest)
        };
        if here.is_empty() {
            return (Vec::new(), rest);
        }
        let read = spawn_blocking(move || {
            let read = |wanted: Wanted| {
                let mut bytes = vec![0; (wanted.range.end - wanted.range.start) as usize];
                match file.read_exact_at(&mut bytes, wanted.range.start) {
                    Ok(()) => Ok((wanted, bytes)),
                    Err(_) => Err(wanted),
                }
            };
            here.into_iter().map(read).collect::<Vec<_>>()
        });
        let mut found = Vec::new();
        // A blocking task is only lost when the runtime goes down, and the read with it.
        for answer in read.await.unwrap_or_default() {
            match answer {
                Ok(hit) => found.push(hit),
                Err(wanted) => rest.push(wanted),
            }
        }
        (found, rest)
    }

    /// Takes a block in, in the background.
    pub(super) fn write(self: Arc<Self>, name: &str, mirror_bytes: u64, wanted: &Wanted, bytes: Bytes) {
        if self.broken.load(Ordering::Relaxed) || bytes.len() as u64 > self.capacity_bytes {
            return;
        }
        {
            let mut mirrors = self.lock();
            if mirrors.queued >= MAX_QUEUED_WRITES {
                return;
            }
            mirrors.queued += 1;
        }
        let (name, wanted) = (name.to_owned(), wanted.clone());
        drop(spawn_blocking(move || {
            if let Err(error) = self.write_now(&name, mirror_bytes, &wanted, &bytes) {
                self.break_down(&error);
            }
            self.lock().queued -= 1;
        }));
    }

    fn write_now(&self, name: &str, mirror_bytes: u64, wanted: &Wanted, bytes: &[u8]) -> std::io::Result<()> {
        let file = self.mirror(name, mirror_bytes)?;
        file.write_all_at(bytes, wanted.range.start)?;
        let mut mirrors = self.lock();
        let length = bytes.len() as u64;
        if let Some(mirror) = mirrors.by_name.get_mut(name)
            && mirror.present.insert(wanted.block)
        {
            mirror.bytes += length;
            mirrors.bytes += length;
        }
        let dropped = mirrors.evict(self.capacity_bytes);
        drop(mirrors);
        for path in dropped {
            fs::remove_file(path)?;
        }
        Ok(())
    }

    fn mirror(&self, name: &str, mirror_bytes: u64) -> std::io::Result<Arc<File>> {
        let mut mirrors = self.lock();
        if let Some(mirror) = mirrors.by_name.get(name) {
            return Ok(Arc::clone(&mirror.file));
        }
        let path = self.folder.join(mirrors.next.to_string());
        mirrors.next += 1;
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        file.set_len(mirror_bytes)?;
        let file = Arc::new(file);
        let mirror =
            Mirror { file: Arc::clone(&file), path, present: HashSet::default(), bytes: 0, used: false };
        mirrors.by_name.insert(name.to_owned(), mirror);
        mirrors.clock.push_back(name.to_owned());
        Ok(file)
    }

    /// Forgets a table that no longer exists.
    pub(crate) fn forget(&self, name: &str) {
        let mut mirrors = self.lock();
        let removed = mirrors.by_name.remove(name);
        if let Some(mirror) = removed {
            mirrors.bytes -= mirror.bytes;
            mirrors.clock.retain(|other| other != name);
            drop(mirrors);
            // What cannot be removed now is removed with the folder at the next start.
            let _ = fs::remove_file(mirror.path);
        }
    }
}

impl Mirrors {
    /// Drops mirrors until the rest fits; a used one gets a second chance.
    fn evict(&mut self, capacity_bytes: u64) -> Vec<PathBuf> {
        let mut dropped = Vec::new();
        while self.bytes > capacity_bytes {
            let Some(name) = self.clock.pop_front() else { break };
            match self.by_name.get_mut(&name) {
                Some(mirror) if mirror.used => {
                    mirror.used = false;
                    self.clock.push_back(name);
                }
                Some(_) => {
                    if let Some(mirror) = self.by_name.remove(&name) {
                        self.bytes -= mirror.bytes;
                        dropped.push(mirror.path);
                    }
                }
                None => {}
            }
        }
        dropped
    }
}
