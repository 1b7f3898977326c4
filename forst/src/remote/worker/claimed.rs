//! A job that a compactor has: done on a thread of its own, while this one gives signs of life and looks whether the job is
//! still wanted.
//!
//! **Failure**: whatever ends the job, nothing is left of it but a result, or an error in its place; unless the process
//! dies: then the owner lets go of all that it has named.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use alluvium_env::{Error, HashSet, Result, Urgency};
use tracing::field::Empty;
use tracing::{info_span, warn};

use super::search::{JobName, delete_rest};
use super::{Compactor, Turn};
use crate::compaction::{Compaction, Written, WrittenTable};
use crate::fetch::{Creation, Fetcher};
use crate::merge::MergeOperators;
use crate::remote::describe::Means;
use crate::remote::format::{Beat, Framed as _, Job, JobResult};
use crate::remote::poster::input_bytes;
use crate::store::{TableRecord, ValueList};
use crate::table::KeepAll;

/// How soon a stop is noticed.
const GLANCE: Duration = Duration::from_millis(50);
/// An owner's error sentence is not longer.
const MAX_ERROR_CHARS: usize = 1000;

/// See the module.
pub(super) struct Claimed<'a> {
    pub(super) compactor: &'a Compactor,
    pub(super) name: &'a JobName,
    pub(super) worker: u64,
    pub(super) job_crc: u32,
    pub(super) fetcher: Arc<Fetcher>,
}

/// Why a job is ended before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    Withdrawn,
    Stopped,
}

/// When signs of life are given.
#[derive(Default)]
struct Beats {
    given: u64,
    next_at: Duration,
}

type Ended = Result<(Compaction, Written)>;

impl Claimed<'_> {
    /// Does the job; `None` if it is gone, and nothing was begun.
    pub(super) fn work(
        self,
        job: Job,
        operators: Arc<dyn MergeOperators>,
        buffer_bytes: usize,
    ) -> Option<Turn> {
        // A claim can be made after the job was taken back and all of its objects were deleted.
        if !self.is_wanted() {
            self.delete_rest();
            return None;
        }
        let name = self.name.job();
        let span = info_span!("compactor_job", job = name, tables = Empty, bytes = Empty);
        let _entered = span.enter();
        let begun = self.compactor.clock.monotonic();
        let (fetcher, ownership) = (Arc::clone(&self.fetcher), Arc::new(KeepAll));
        let (ended, interrupted) = self.run(job, Means { fetcher, ownership, operators, buffer_bytes });
        Some(match (ended, interrupted) {
            (Ok((compaction, written)), None) => match self.deliver(&compaction, &written) {
                Ok(written_bytes) => {
                    span.record("tables", written.tables.len());
                    span.record("bytes", written_bytes);
                    let read_bytes = input_bytes(&compaction, |_| false);
                    let took = self.compactor.clock.monotonic().saturating_sub(begun);
                    Turn::Done { job: name, read_bytes, written_bytes, took }
                }
                Err(turn) => turn,
            },
            (_, Some(Interrupted::Withdrawn)) => self.withdrawn(),
            (_, Some(Interrupted::Stopped)) => {
                self.delete_outputs();
                self.refuse("the compactor was stopped", true);
                Turn::GivenBack { job: name }
            }
            (Err(error), None) => {
                self.delete_outputs();
                self.refuse(&error.to_string(), false);
                Turn::Failed { job: name, error }
            }
        })
    }

    fn run(&self, job: Job, means: Means) -> (Ended, Option<Interrupted>) {
        let job = match job.open(means) {
            Ok(job) => job,
            Err(error) => return (Err(error), None),
        };
        let (sender, ended) = channel();
        self.compactor.background.run(Urgency::Low, move || {
            let ended = catch_unwind(AssertUnwindSafe(|| job.run()));
            // With nobody listening the process ends.
            let _ = sender.send(ended.unwrap_or_else(|_| Err(Error::internal("a compaction panicked"))));
        });
        let (mut beats, mut interrupted) = (Beats::default(), None);
        loop {
            match ended.recv_timeout(GLANCE) {
                Ok(ended) => return (ended, interrupted),
                Err(RecvTimeoutError::Disconnected) => {
                    return (Err(Error::internal("a compaction vanished")), interrupted);
                }
                Err(RecvTimeoutError::Timeout) if interrupted.is_some() => {}
                Err(RecvTimeoutError::Timeout) => {
                    interrupted = self.glance(&mut beats);
                    if interrupted.is_some() {
                        // Its next request fails, and with it the job.
                        self.compactor.io.block_on(self.fetcher.close());
                    }
                }
            }
        }
    }

    /// Gives a sign of life when it is time, and looks whether to go on.
    fn glance(&self, beats: &mut Beats) -> Option<Interrupted> {
        if self.compactor.stop.is_stopped() {
            return Some(Interrupted::Stopped);
        }
        let now = self.compactor.clock.monotonic();
        if now < beats.next_at {
            return None;
        }
        beats.given += 1;
        beats.next_at = now + self.compactor.settings.beat;
        let beat = Beat { worker: self.worker, number: beats.given }.frame();
        // One that fails is missed only if the next ones fail as well.
        let _ = self.compactor.io.block_on(self.compactor.objects.put(&self.name.beat(), beat));
        if self.is_wanted() { None } else { Some(Interrupted::Withdrawn) }
    }

    /// Whether the job is still there; if that is not known, it is.
    fn is_wanted(&self) -> bool {
        self.compactor.io.block_on(self.compactor.objects.exists(&self.name.job())).unwrap_or(true)
    }

    /// Tells the owner what was written, from when on it is the owner's; hands back how much that is.
    fn deliver(&self, compaction: &Compaction, written: &Written) -> Result<u64, Turn> {
        if !self.is_wanted() {
            return Err(self.withdrawn());
        }
        let mut values = ValueList::default();
        let record = |table: &WrittenTable| TableRecord::of((0, 0), &table.file, &mut values);
        let tables = written.tables.iter().map(record).collect();
        let value_files = values.records();
        let inputs: HashSet<&str> =
            compaction.inputs().flat_map(|table| table.values()).map(|share| share.file.name()).collect();
        let new_values = value_files.iter().filter(|file| !inputs.contains(file.name.as_str()));
        let values_bytes = new_values.map(|file| file.size_bytes).sum::<u64>();
        let tables_bytes = written.tables.iter().map(|table| table.file.meta.size_bytes).sum::<u64>();
        let result = JobResult { job_crc: self.job_crc, tables, value_files, error: None, given_back: false };
        let told = self.tell(&result);
        // If the job was taken back just now, its owner may have deleted these before they were written.
        if !self.is_wanted() {
            self.delete_rest();
        }
        told.map(|()| tables_bytes + values_bytes)
            .map_err(|error| Turn::Failed { job: self.name.job(), error })
    }

    /// Tells the owner that there is nothing to wait for.
    fn refuse(&self, why: &str, given_back: bool) {
        let error = Some(why.chars().take(MAX_ERROR_CHARS).collect());
        let result = JobResult { job_crc: self.job_crc, error, given_back, ..JobResult::default() };
        // If it cannot be told, the owner hears no sign of life any more.
        if let Err(error) = self.tell(&result) {
            warn!(%error, "a job could not be given back");
        }
        if !self.is_wanted() {
            self.delete_rest();
        }
    }

    fn tell(&self, result: &JobResult) -> Result<()> {
        let (control, name) = (&self.compactor.control, self.name.result());
        match self.compactor.io.block_on(control.create(&name, result.frame()))? {
            Creation::Created | Creation::Found => Ok(()),
            Creation::Taken => {
                Err(Error::internal(format!("object {name} has been written by somebody else")))
            }
        }
    }

    /// Leaves nothing of a job that its owner has taken back.
    fn withdrawn(&self) -> Turn {
        self.delete_outputs();
        self.delete_rest();
        Turn::Withdrawn { job: self.name.job() }
    }

    /// Deletes what was written and told nobody; nothing that somebody else has created.
    fn delete_outputs(&self) {
        let (io, objects) = (&self.compactor.io, &self.compactor.objects);
        // Uploads may be under way.
        io.block_on(self.fetcher.close());
        for output in self.fetcher.take_created() {
            // The owner lets go of it too, and the next attempt sweeps.
            let _ = io.block_on(objects.delete(output.as_ref()));
        }
    }

    fn delete_rest(&self) {
        self.compactor.io.block_on(delete_rest(&self.compactor.objects, self.name));
    }
}
