//! Sources: input in numbered splits, each read from a position on, and what a checkpoint remembers of it.
//!
//! A source is described by a [`SplitSource`]; a few source threads claim its splits one by one, read them through a
//! [`SplitReader`] and emit records into a [`Collector`]. A checkpoint holds which splits are done and where the
//! others stand, so a restore reads nothing twice and may use another number of threads.
mod collector;
mod cut;
mod progress;
mod queue;
mod ranges;
mod signal;
mod worker;

use alluvium_env::Result;
use alluvium_state_api::Notify;

pub use collector::Collector;
pub(crate) use collector::{BATCH_BYTES, BATCH_RECORDS};
pub(crate) use cut::SourceCut;
pub(crate) use progress::{SourceProgress, Standing};
pub(crate) use queue::SplitQueue;
pub(crate) use signal::{Bell, SourceSignal};
pub(crate) use worker::SourceWorker;

/// Input in splits that can be read again from any position that was reached.
pub trait SplitSource: Send + Sync + 'static {
    /// How many splits there are, numbered from 0; fixed for the job and its restores.
    fn splits(&self) -> u64;

    /// What tells this input from another: a restore refuses a checkpoint of an input with another fingerprint.
    fn fingerprint(&self) -> String;

    /// Opens a split at `position`: 0, or what [`SplitReader::position`] returned in an earlier run.
    ///
    /// # Errors
    /// An error ends the job; it should name the split as its user knows it (a file, say).
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>>;
}

/// Reads one split, on one source thread.
pub trait SplitReader: Send {
    /// Emits the next records: those of about 64 KiB of input.
    ///
    /// It returns within bounded time, since barriers, stops and cancellation wait for it. Input that may stay away
    /// for long (a terminal, a socket) is read by a thread of the reader's own; `read` takes what is there.
    ///
    /// # Errors
    /// An error ends the job.
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome>;

    /// Where the split is to be opened again so that the next record is the first one not emitted yet.
    fn position(&self) -> u64;

    /// Says how to end an [`ReadOutcome::Idle`]; called once, before the first read.
    fn set_wake(&mut self, _wake: Notify) {}
}

/// How a [`SplitReader::read`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// There is more: read on at once.
    More,
    /// Nothing is there now. What was emitted is sent, and the source thread sleeps until the wake of
    /// [`SplitReader::set_wake`] is called; it may also read again without it.
    Idle,
    /// The split is done.
    End,
}
