//! Reads one split as words, a bounded amount at a time, and knows where to continue.
//!
//! **Invariants**: [`TextReader::position`] is the first byte of which no word was emitted; text is only ever cut at
//! white space (or, in a megabyte without any, between two characters).
//!
//! **Threads**: a source thread's own. Reading a file may block; a stream answers [`Step::Idle`] instead.
use std::fs::File;
use std::io::{ErrorKind as IoKind, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Error, Result};
use alluvium_state_api::Notify;

use super::region::{is_continuation, shrunk};
use super::stdin::{Arrival, Stream};
use crate::words::WordSplitter;

/// How much is read and emitted in one step.
const STEP_BYTES: usize = 64 << 10;
/// A step grows to this before text without white space is cut.
const MAX_STEP_BYTES: usize = 1 << 20;

/// Where the bytes come from.
pub(super) enum Bytes {
    File(File),
    Stream(Stream),
}

impl Bytes {
    /// A stream, skipping what an earlier attempt has read.
    pub(super) fn stream(path: &Path, skip: u64) -> Result<Self> {
        Stream::open(path, skip).map(Self::Stream)
    }
}

/// What a step of reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more.
    More,
    /// Nothing has arrived for a moment.
    Idle,
    /// The split ended.
    End,
}

/// One open split.
pub(crate) struct TextReader {
    source: Bytes,
    name: String,
    /// Bytes of the split that are not read yet; `None` until a stream ends.
    left: Option<u64>,
    /// Read but not emitted.
    pending: Vec<u8>,
    /// Of `pending`'s first byte, from the split's nominal start.
    position: u64,
    words: WordSplitter,
    read_bytes: Arc<AtomicU64>,
}

impl TextReader {
    pub(super) fn new(source: Bytes, name: String, left: Option<u64>, position: u64) -> Self {
        let pending = Vec::with_capacity(STEP_BYTES);
        let read_bytes = Arc::default();
        Self { source, name, left, pending, position, words: WordSplitter::default(), read_bytes }
    }

    pub(super) fn counting(self, read_bytes: Arc<AtomicU64>) -> Self {
        Self { read_bytes, ..self }
    }

    /// Whom to wake when a stream has more after [`Step::Idle`].
    pub(crate) fn set_wake(&self, wake: Notify) {
        if let Bytes::Stream(stream) = &self.source {
            stream.set_wake(wake);
        }
    }

    /// Where to continue.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Emits the words of up to 64 KiB.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be read, `Invalid` if it has become shorter.
    pub(crate) fn step(&mut self, emit: &mut impl FnMut(&[u8])) -> Result<Step> {
        let mut idle = false;
        while !idle && self.left != Some(0) && self.pending.len() < STEP_BYTES {
            idle = !self.fill(STEP_BYTES)?;
        }
        let cut = loop {
            if self.left == Some(0) {
                break self.pending.len();
            }
            if let Some(space) = self.pending.iter().rposition(u8::is_ascii_whitespace) {
                break space + 1;
            }
            if self.pending.len() >= MAX_STEP_BYTES {
                break last_character(&self.pending);
            }
            if idle {
                return Ok(Step::Idle);
            }
            idle = !self.fill(self.pending.len() + STEP_BYTES)?;
        };
        self.words.split(self.pending.get_mut(..cut).unwrap_or_default(), emit);
        self.pending.drain(..cut);
        self.position += cut as u64;
        self.read_bytes.fetch_add(cut as u64, Ordering::Relaxed);
        Ok(match (self.left, idle) {
            (Some(0), _) => Step::End,
            (_, true) => Step::Idle,
            (_, false) => Step::More,
        })
    }

    /// Reads once, until at most `target` bytes are pending; `false` if nothing has arrived.
    fn fill(&mut self, target: usize) -> Result<bool> {
        let broken = |name: &str, e| Error::unavailable(format!("cannot read {name}")).with_source(e);
        match &mut self.source {
            Bytes::File(file) => {
                let left = self.left.unwrap_or(0);
                let room = left.min(target.saturating_sub(self.pending.len()) as u64);
                let read = loop {
                    match file.take(room).read_to_end(&mut self.pending) {
                        Err(e) if e.kind() == IoKind::Interrupted => {}
                        other => break other.map_err(|e| broken(&self.name, e))? as u64,
                    }
                };
                if read < room {
                    return Err(shrunk(&self.name));
                }
                self.left = Some(left - read);
                Ok(true)
            }
            Bytes::Stream(stream) => match stream.next().map_err(|e| broken(&self.name, e))? {
                Arrival::Chunk(chunk) => {
                    self.pending.extend_from_slice(&chunk);
                    Ok(true)
                }
                Arrival::Nothing => Ok(false),
                Arrival::End => {
                    self.left = Some(0);
                    Ok(true)
                }
            },
        }
    }
}

/// Where the last character that may be incomplete begins.
fn last_character(text: &[u8]) -> usize {
    let tail = text.iter().rev().take(3).take_while(|byte| is_continuation(**byte)).count();
    text.len() - tail - 1
}
