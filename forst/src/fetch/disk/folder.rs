//! The files of the tier: one a mirror, `{number}.blocks`, a header page and then the table's bytes where they are.
//!
//! Which of them are there is not written down anywhere: it is what the file system holds of the sparse file. So there
//! is no record that could be stale after a crash, and nothing to write for it.
//!
//! **Failure**: every call says what the operating system said; nothing is retried.
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alluvium_env::{Error, OpenFiles, Result};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};

use super::header::{HEADER_BYTES, Header, VERSION};

/// Mirrors that are open at the same time.
const MAX_OPEN: usize = 256;
const SUFFIX: &str = ".blocks";
/// The folder of this layout within the cache folder, and what those of other layouts begin with.
const FOLDER: &str = "alluvium-blocks-v";

/// The tier's folder, locked.
pub(super) struct Folder {
    blocks: PathBuf,
    lock: File,
    open: OpenFiles<u64>,
}

/// A mirror that an earlier process left.
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) number: u64,
    pub(super) disk_bytes: u64,
}

impl Folder {
    /// Makes and locks the folder.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let shown = root.display();
        let trouble = |what: &str, e: io::Error| {
            Error::invalid(format!("cache folder {shown} {what}; name another with --cache-dir"))
                .with_source(e)
        };
        let blocks = root.join(format!("{FOLDER}{VERSION}"));
        fs::create_dir_all(&blocks).map_err(|e| trouble("cannot be made", e))?;
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("LOCK"));
        let lock = lock.map_err(|e| trouble("cannot be written", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::invalid(format!(
                    "cache folder {shown} is used by another process; name another"
                )));
            }
            Err(TryLockError::Error(e)) => return Err(trouble("cannot be locked", e)),
        }
        let folder = Self { blocks, lock, open: OpenFiles::new(MAX_OPEN) };
        folder.remove_other_layouts(root).map_err(|e| trouble("cannot be listed", e))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.blocks
    }

    fn remove_other_layouts(&self, root: &Path) -> io::Result<()> {
        for entry in fs::read_dir(root)? {
            let path = entry?.path();
            let is_layout =
                path.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with(FOLDER));
            if is_layout && path != self.blocks {
                fs::remove_dir_all(path)?;
            }
        }
        Ok(())
    }

    /// Lists what earlier processes left and removes what is of no use: broken files, and mirrors that the last
    /// process that used any neither used nor wrote, since most of those are of tables that are gone.
    pub(super) fn recover(&self) -> io::Result<Vec<Found>> {
        let last_use = modified(&self.lock.metadata()?);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.blocks)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(number) = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok()) else {
                continue;
            };
            match read_header(&path, last_use) {
                Some((header, disk_bytes)) => found.push(Found { header, number, disk_bytes }),
                None => fs::remove_file(path)?,
            }
        }
        Ok(found)
    }

    fn file_path(&self, number: u64) -> PathBuf {
        self.blocks.join(format!("{number}{SUFFIX}"))
    }

    /// Notes that this process uses the tier: what it does not use is old to the next one.
    pub(super) fn mark_use(&self) -> io::Result<()> {
        touch(&self.lock)
    }

    /// Makes the file of a mirror, empty but for its header.
    pub(super) fn create(&self, number: u64, header: &Header) -> io::Result<Arc<File>> {
        let page = header.encode().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let path = self.file_path(number);
        let era = self.open.get(&number).err();
        let file = Arc::new(File::options().read(true).write(true).create_new(true).open(&path)?);
        let begun =
            file.set_len(HEADER_BYTES as u64 + header.size_bytes).and_then(|()| file.write_all_at(&page, 0));
        if let Err(error) = begun {
            // Nobody knows of it, so nobody would remove it.
            fs::remove_file(path)?;
            return Err(error);
        }
        if let Some(era) = era {
            self.open.keep(era, &number, &file);
        }
        Ok(file)
    }

    /// The open file of a mirror, if it is open.
    pub(super) fn opened(&self, number: u64) -> Option<Arc<File>> {
        self.open.get(&number).ok()
    }

    /// The file of a mirror. May wait for the disk.
    pub(super) fn file(&self, number: u64) -> io::Result<Arc<File>> {
        let era = match self.open.get(&number) {
            Ok(file) => return Ok(file),
            Err(era) => era,
        };
        let file = Arc::new(File::options().read(true).write(true).open(self.file_path(number))?);
        self.open.keep(era, &number, &file);
        Ok(file)
    }

    /// Removes a mirror's file; one that is gone already is fine.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        self.open.forget(&number);
        match fs::remove_file(self.file_path(number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// What the file system has free for us.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.blocks)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

/// Where bytes of the table lie in its mirror.
pub(super) fn in_mirror(range: &Range<u64>) -> Range<u64> {
    range.start + HEADER_BYTES as u64..range.end + HEADER_BYTES as u64
}

/// What a file takes on the disk.
pub(super) fn disk_bytes(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.blocks() * 512)
}

/// Sets a file's time to now, as the file system tells it.
pub(super) fn touch(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    Ok(futimens(file, &Timestamps { last_access: now, last_modification: now })?)
}

fn modified(metadata: &fs::Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// The header of a mirror that is worth keeping, and what the file takes.
fn read_header(path: &Path, last_use: (i64, i64)) -> Option<(Header, u64)> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut page = vec![0; HEADER_BYTES];
    file.read_exact_at(&mut page, 0).ok()?;
    let header = Header::decode(&page).ok()?;
    let whole = metadata.len() == header.size_bytes.checked_add(HEADER_BYTES as u64)?;
    (whole && modified(&metadata) >= last_use).then_some((header, metadata.blocks() * 512))
}

/// The parts of the table that the file system holds, ascending. A file system that does not know holds everything.
pub(super) fn held(file: &File) -> io::Result<Vec<Range<u64>>> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let (header, length) = (HEADER_BYTES as u64, file.metadata()?.len());
    let (mut held, mut at) = (Vec::new(), header);
    while at < length {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => length,
            Err(error) => return Err(error.into()),
        };
        held.push(start.saturating_sub(header)..end.saturating_sub(header));
        at = end.max(at + 1);
    }
    Ok(held)
}

/// Gives parts of the table back to the file system; `false` if it cannot.
pub(super) fn punch(file: &File, holes: &[Range<u64>]) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    for hole in holes {
        let hole = in_mirror(hole);
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(file, mode, hole.start, hole.end.saturating_sub(hole.start)) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_that_cannot_be_begun_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let header = |size_bytes| Header { name: "1.sst".to_owned(), content_hash: 0, size_bytes };
        // No file is as long as that.
        assert!(folder.create(1, &header(u64::MAX / 2)).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        folder.create(1, &header(1)).unwrap();
    }
}
