//! The input as splits: what to read, cut into pieces that can be claimed, read and resumed one by one.
//!
//! ```text
//!   inputs ──discover──► files ──cut──► splits 0..n, then the same splits again for every --repeat
//!                                         └─open(split, position)──► TextReader ──► words
//! ```
//!
//! **Invariants**: splits are numbered by sorted path and offset, so the same input gives the same splits after a
//! restart; [`TextInput::fingerprint`] tells whether it is the same input.
mod discover;
mod reader;
mod region;
mod stdin;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Error, Result};
use alluvium_state_api::key_hash;

pub(crate) use discover::discover;
use reader::Bytes;
pub(crate) use reader::{Step, TextReader};

/// The size a split aims at: large enough that opening a file is nothing, small enough that 100 MB keep 4 cores busy.
const SPLIT_BYTES: u64 = 8 << 20;

/// A file to read, or a stream (stdin, a pipe), which is read once from start to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputFile {
    /// How to open it.
    pub(crate) path: PathBuf,
    /// What it is called below the input it was found in; with the size it identifies the input.
    pub(crate) name: String,
    /// Its size when it was found; `None` for a stream.
    pub(crate) size_bytes: Option<u64>,
}

/// A piece of a file: its nominal offsets. The real ones are the next white space, found when it is opened.
#[derive(Clone, Copy, Debug)]
struct Split {
    file: usize,
    start: u64,
    end: u64,
}

/// All input of a job.
#[derive(Debug)]
pub(crate) struct TextInput {
    files: Vec<InputFile>,
    splits: Vec<Split>,
    repeat: u64,
    read_bytes: Arc<AtomicU64>,
}

impl TextInput {
    /// Cuts files into splits, to be read `repeat` times.
    pub(crate) fn new(files: Vec<InputFile>, repeat: u64) -> Self {
        let mut splits = Vec::new();
        for (file, found) in files.iter().enumerate() {
            let Some(size) = found.size_bytes else {
                splits.push(Split { file, start: 0, end: u64::MAX });
                continue;
            };
            let mut start = 0;
            while start < size {
                let end = if size - start < SPLIT_BYTES * 3 / 2 { size } else { start + SPLIT_BYTES };
                splits.push(Split { file, start, end });
                start = end;
            }
        }
        Self { files, splits, repeat, read_bytes: Arc::default() }
    }

    /// The bytes of all splits; `None` if a stream is among them.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        let once: Option<u64> = self.files.iter().map(|file| file.size_bytes).sum();
        once.map(|bytes| bytes.saturating_mul(self.repeat))
    }

    /// Counts the bytes read by this process.
    pub(crate) fn read_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read_bytes)
    }

    /// How many splits there are.
    pub(crate) fn splits(&self) -> u64 {
        self.splits.len() as u64 * self.repeat
    }

    /// What a restore compares: readable, and different for any other set of names and sizes.
    pub(crate) fn fingerprint(&self) -> String {
        let mut listing = Vec::new();
        for file in &self.files {
            listing.extend_from_slice(file.name.as_bytes());
            // A size is never u64::MAX, and a name holds no NUL.
            listing.push(0);
            listing.extend_from_slice(&file.size_bytes.unwrap_or(u64::MAX).to_le_bytes());
        }
        let (files, repeat) = (self.files.len(), self.repeat);
        let plural = if files == 1 { "" } else { "s" };
        match self.files.iter().map(|file| file.size_bytes).sum::<Option<u64>>() {
            Some(bytes) => {
                format!(
                    "{files} file{plural} of {bytes} bytes read {repeat}×, list {:016x}",
                    key_hash(&listing)
                )
            }
            None => format!("{files} file{plural} with a stream, list {:016x}", key_hash(&listing)),
        }
    }

    /// Opens a split at a position its reader has returned, or at 0.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be read, `Invalid` if it is shorter than it was when the job started.
    pub(crate) fn open(&self, split: u64, position: u64) -> Result<TextReader> {
        let none = || Error::internal(format!("split {split} does not exist"));
        let count = self.splits.len().max(1) as u64;
        let split = *self.splits.get((split % count) as usize).ok_or_else(none)?;
        let file = self.files.get(split.file).ok_or_else(none)?;
        let name = file.path.display().to_string();
        let (source, base, from, left) = match file.size_bytes {
            None => (Bytes::stream(&file.path, position)?, 0, position, None),
            Some(size) => {
                let region = region::Region { start: split.start, end: split.end, file_size: size };
                let (opened, from, end) = region.open(&file.path, position)?;
                (Bytes::File(opened), split.start, from, Some(end - from))
            }
        };
        self.read_bytes.fetch_add(position, Ordering::Relaxed);
        Ok(TextReader::new(source, name, left, from - base).counting(self.read_bytes()))
    }
}

#[cfg(test)]
mod tests;
