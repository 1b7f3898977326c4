//! The output file, sorted by word: sorted runs in one temporary file beside it, merged into a second, renamed.
//!
//! **Invariants**: the output appears whole or not at all; memory is one block a run, whatever the number of words.
//! Words sort by their bytes (`LC_ALL=C`), as state keys do within a key group.
//!
//! **Failure**: `Unavailable` names the output. The runs have no name and vanish with the process; a crash during the
//! merge leaves a hidden `.alluvium-*` file beside the output and the old output as it was.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alluvium_env::{Error, Result};

/// What is read of a run at a time.
const RUN_BLOCK_BYTES: usize = 32 << 10;
const WRITE_BUFFER_BYTES: usize = 256 << 10;
/// An entry of a run is `word_len:u32le · count:u64le · word`.
const ENTRY_HEAD_BYTES: usize = 12;

/// An output being collected.
#[derive(Debug)]
pub(crate) struct SortedFile {
    target: PathBuf,
    folder: PathBuf,
    runs_file: BufWriter<File>,
    written: u64,
    /// Where each run starts.
    starts: Vec<u64>,
    last: Vec<u8>,
}

impl SortedFile {
    /// Prepares an output, which fails now and not after hours if it cannot be written.
    ///
    /// # Errors
    /// `Invalid` if its folder cannot be written or it is something else than a file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let unusable = |why: &str| {
            Error::invalid(format!("cannot write --output {} ({why}); choose another file", path.display()))
        };
        let target = match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(unusable("it is not a regular file")),
            // The rename must replace the file a link points to, not the link.
            Ok(_) => path.canonicalize().map_err(|e| unusable(&e.to_string()))?,
            Err(_) => path.to_owned(),
        };
        let folder = match target.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return Err(unusable("it names no file")),
        };
        let runs = tempfile::tempfile_in(&folder).map_err(|e| unusable(&e.to_string()))?;
        let runs_file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, runs);
        Ok(Self { target, folder, runs_file, written: 0, starts: Vec::new(), last: Vec::new() })
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::unavailable(format!("cannot write --output {}; nothing was replaced", self.target.display()))
            .with_source(error)
    }

    /// What is pushed from now on is sorted by itself.
    pub(crate) fn begin_run(&mut self) -> Result<()> {
        if u32::try_from(self.starts.len()).is_err() {
            return Err(Error::internal("more than four billion runs"));
        }
        self.starts.push(self.written);
        self.last.clear();
        Ok(())
    }

    /// Adds a word to the current run.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written, `Internal` if the run is not in order.
    pub(crate) fn push(&mut self, word: &[u8], count: u64) -> Result<()> {
        if word <= self.last.as_slice() && !self.last.is_empty() {
            return Err(Error::internal("a state scan is not in key order; please report it"));
        }
        self.last.clear();
        self.last.extend_from_slice(word);
        let mut head = [0_u8; ENTRY_HEAD_BYTES];
        let (len_bytes, count_bytes) = head.split_at_mut(4);
        // Words are far below 4 GiB: words.rs cuts them.
        len_bytes.copy_from_slice(&(word.len() as u32).to_le_bytes());
        count_bytes.copy_from_slice(&count.to_le_bytes());
        let written = self.runs_file.write_all(&head).and_then(|()| self.runs_file.write_all(word));
        written.map_err(|e| self.failed(e))?;
        self.written += (ENTRY_HEAD_BYTES + word.len()) as u64;
        Ok(())
    }

    /// Merges the runs and puts the output in place.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.runs_file.flush().and_then(|()| self.merge()).map_err(|e| self.failed(e))
    }

    fn merge(&self) -> io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".alluvium-");
        #[cfg(unix)]
        {
            // As any new file would be: the umask decides, not the temporary file's 0600.
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let mut whole = builder.tempfile_in(&self.folder)?;
        {
            let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, whole.as_file_mut());
            self.merge_into(&mut out)?;
            out.flush()?;
        }
        whole.as_file().sync_all()?;
        whole.persist(&self.target).map_err(|e| e.error)?;
        Ok(())
    }

    fn merge_into(&self, out: &mut impl Write) -> io::Result<()> {
        let ends = self.starts.iter().skip(1).copied().chain([self.written]);
        let mut runs: Vec<Run> = self.starts.iter().zip(ends).map(|(at, end)| Run::new(*at, end)).collect();
        let mut heap = BinaryHeap::new();
        let mut file = self.runs_file.get_ref();
        for (index, run) in runs.iter_mut().enumerate() {
            if let Some((word, count)) = run.next(&mut file, Vec::new())? {
                heap.push(Reverse((word, index, count)));
            }
        }
        while let Some(Reverse((word, index, count))) = heap.pop() {
            out.write_all(&word)?;
            writeln!(out, "\t{count}")?;
            let Some(run) = runs.get_mut(index) else { continue };
            if let Some((word, count)) = run.next(&mut file, word)? {
                heap.push(Reverse((word, index, count)));
            }
        }
        Ok(())
    }
}

/// A run being read back.
#[derive(Debug)]
struct Run {
    /// Of the file: what is read next, and where the run ends.
    offset: u64,
    end: u64,
    block: Vec<u8>,
    at: usize,
}

impl Run {
    fn new(offset: u64, end: u64) -> Self {
        Self { offset, end, block: Vec::new(), at: 0 }
    }

    /// The next word, in `word`'s buffer, and its count.
    fn next(&mut self, file: &mut &File, mut word: Vec<u8>) -> io::Result<Option<(Vec<u8>, u64)>> {
        if self.at == self.block.len() && self.offset == self.end {
            return Ok(None);
        }
        self.want(file, ENTRY_HEAD_BYTES)?;
        let head = self.block.get(self.at..).and_then(|rest| rest.split_first_chunk::<ENTRY_HEAD_BYTES>());
        let Some(([a, b, c, d, count @ ..], _)) = head else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let (len, count) = (u32::from_le_bytes([*a, *b, *c, *d]) as usize, u64::from_le_bytes(*count));
        self.want(file, ENTRY_HEAD_BYTES + len)?;
        let start = self.at + ENTRY_HEAD_BYTES;
        word.clear();
        word.extend_from_slice(self.block.get(start..start + len).ok_or(io::ErrorKind::UnexpectedEof)?);
        self.at = start + len;
        Ok(Some((word, count)))
    }

    /// Sees to it that `bytes` are in the block.
    fn want(&mut self, file: &mut &File, bytes: usize) -> io::Result<()> {
        let missing = bytes.saturating_sub(self.block.len() - self.at);
        if missing == 0 {
            return Ok(());
        }
        self.block.drain(..self.at);
        self.at = 0;
        let read = (self.end - self.offset).min(missing.max(RUN_BLOCK_BYTES) as u64);
        file.seek(SeekFrom::Start(self.offset))?;
        let filled = file.take(read).read_to_end(&mut self.block)? as u64;
        self.offset += filled;
        if filled < read { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
