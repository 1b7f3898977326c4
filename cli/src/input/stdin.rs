//! Streams: stdin and pipes, read by a thread of their own so that a checkpoint need not wait for the next byte.
//!
//! **Threads**: one reader thread a stream, feeding a bounded channel and waking the source; it ends with the stream, or
//! when the job has dropped its end and one more chunk arrives.
use std::fs::File;
use std::io::{self, ErrorKind as IoKind, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, OnceLock};

use alluvium_env::{Error, Result, spawn_thread};
use alluvium_state_api::Notify;

use crate::args::is_stdin;

const CHUNK_BYTES: usize = 64 << 10;
/// Chunks between the thread and the source.
const CHUNKS_AHEAD: usize = 4;

/// What is there of a stream.
#[derive(Debug)]
pub(super) enum Arrival {
    Chunk(Vec<u8>),
    Nothing,
    End,
}

/// A stream being read.
pub(super) struct Stream {
    chunks: Receiver<io::Result<Vec<u8>>>,
    skip: u64,
    wake: Arc<OnceLock<Notify>>,
}

impl Stream {
    /// Starts to read, leaving out the first `skip` bytes.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be opened.
    pub(super) fn open(path: &Path, skip: u64) -> Result<Self> {
        let (sender, chunks) = sync_channel(CHUNKS_AHEAD);
        let source: Box<dyn Read + Send> =
            if is_stdin(path) {
                Box::new(io::stdin())
            } else {
                let file = File::open(path);
                Box::new(file.map_err(|e| {
                    Error::unavailable(format!("cannot read {}", path.display())).with_source(e)
                })?)
            };
        let wake = Arc::new(OnceLock::new());
        let bell = Arc::clone(&wake);
        spawn_thread("alluvium-stream", move || {
            pump(source, &sender, &bell);
            // The source learns of the end by the closed channel, so that comes before the last ring.
            drop(sender);
            ring(&bell);
        })?;
        Ok(Self { chunks, skip, wake })
    }

    /// Whom to wake when something has arrived; what arrived before is found by the next read.
    pub(super) fn set_wake(&self, wake: Notify) {
        // A stream is opened once and belongs to one source, so there is no second waker to take over.
        let _ = self.wake.set(wake);
    }

    /// Takes the next chunk, if it is there.
    pub(super) fn next(&mut self) -> io::Result<Arrival> {
        loop {
            let mut chunk = match self.chunks.try_recv() {
                Ok(chunk) => chunk?,
                Err(TryRecvError::Empty) => return Ok(Arrival::Nothing),
                Err(TryRecvError::Disconnected) => return Ok(Arrival::End),
            };
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            chunk.drain(..skipped as usize);
            if !chunk.is_empty() {
                return Ok(Arrival::Chunk(chunk));
            }
        }
    }
}

fn ring(bell: &OnceLock<Notify>) {
    if let Some(wake) = bell.get() {
        wake();
    }
}

fn pump(mut source: Box<dyn Read + Send>, sender: &SyncSender<io::Result<Vec<u8>>>, bell: &OnceLock<Notify>) {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let message = match source.read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => {
                chunk.truncate(read);
                Ok(chunk)
            }
            Err(e) if e.kind() == IoKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let failed = message.is_err();
        if sender.send(message).is_err() || failed {
            return;
        }
        ring(bell);
    }
}
