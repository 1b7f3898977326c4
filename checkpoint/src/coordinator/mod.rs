//! The coordinator: decides when a checkpoint starts, collects its acknowledgements, and completes or gives it up.
//!
//! ```text
//!            trigger              last acknowledgement          entry created
//!   idle ─────────────► pending ─────────────────────► write ─────────────────► idle, completed + 1
//!    ▲                     │ abort, timeout,             │ store error: in doubt
//!    └─────────────────────┴ failed acknowledgement ─────┘                      idle, failed + 1
//! ```
//!
//! **Invariants**: at most one checkpoint is pending; numbers only grow, also over failures. A checkpoint refers
//! to a subtask's files before the subtask's pins are dropped. One that is given up before its entry was tried
//! drops its references; one whose entry was tried leaves them to [`CheckpointStore`].
//!
//! **Threads**: single-threaded, owned by the host's coordinator thread; only
//! [`Coordinator::try_complete`] blocks on I/O.
//!
//! **Failure**: store errors are counted and borne up to a limit; what bearing cannot help (`Fenced`,
//! `Corruption`, `Closed`, `Internal`) ends the job at once, through [`Coordinator::try_complete`].
mod pending;

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock, Error, ErrorKind, Result};
use alluvium_state_api::{CheckpointId, OperatorStatePart, SubtaskSnapshot};
use bytes::Bytes;

use crate::checkpoints::CheckpointStore;
use crate::metadata::CheckpointMetadata;
use crate::registry::SharedFileRegistry;
use crate::settings::{CheckpointSettings, JobShape};
use pending::Pending;

/// What a subtask acknowledges a checkpoint with.
pub struct SubtaskAck {
    /// What its backend wrote.
    pub snapshot: SubtaskSnapshot,
    /// Records that were admitted and had done nothing yet, as `RecordRef::write_to` writes them.
    pub inputs: Bytes,
    /// How many records `inputs` holds.
    pub inputs_count: u64,
    /// Its operator states; a broadcast state with one of the subtasks only.
    pub operator_states: Vec<OperatorStatePart>,
    /// How long the task thread stood still.
    pub sync_micros: u64,
}

/// A checkpoint that was completed by this job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedCheckpoint {
    /// Its number.
    pub id: CheckpointId,
    /// The longest time a task thread stood still for it.
    pub sync_micros: u64,
    /// From the trigger until its entry was in the ledger.
    pub async_millis: u64,
    /// What was uploaded for it, its entry included.
    pub uploaded_bytes: u64,
    /// Records it holds as inputs.
    pub inputs_kept: u64,
}

/// Counters since the start of this job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounters {
    /// Completed.
    pub completed: u64,
    /// Given up, for whatever reason.
    pub failed: u64,
    /// Failed since the last that completed.
    pub failed_in_a_row: u32,
}

/// See the module.
pub struct Coordinator {
    checkpoints: CheckpointStore,
    settings: CheckpointSettings,
    shape: JobShape,
    clock: Arc<dyn Clock>,
    pending: Option<Pending>,
    next_id: CheckpointId,
    /// On the monotonic clock.
    next_trigger: Option<Duration>,
    counters: CheckpointCounters,
    last: Option<CompletedCheckpoint>,
    last_failure: Option<String>,
    fatal: Option<Error>,
}

impl Coordinator {
    /// A coordinator that is idle for one interval.
    ///
    /// # Errors
    /// `Invalid` if the settings or the job's shape make no sense.
    pub fn new(
        checkpoints: CheckpointStore,
        settings: CheckpointSettings,
        shape: JobShape,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        settings.validate()?;
        shape.validate()?;
        Ok(Self {
            next_id: checkpoints.next_id(),
            next_trigger: settings.interval.map(|interval| clock.monotonic() + interval),
            checkpoints,
            settings,
            shape,
            clock,
            pending: None,
            counters: CheckpointCounters::default(),
            last: None,
            last_failure: None,
            fatal: None,
        })
    }

    /// Starts a checkpoint now; its barriers carry the number. `None` while one is pending.
    pub fn trigger(&mut self) -> Option<CheckpointId> {
        if self.pending.is_some() || self.fatal.is_some() {
            return None;
        }
        let (id, now) = (self.next_id, self.clock.monotonic());
        self.next_id = CheckpointId(id.0 + 1);
        self.next_trigger = self.settings.interval.map(|interval| now + interval);
        self.pending = Some(Pending::new(id, now, &self.shape));
        Some(id)
    }

    /// Gives up a pending checkpoint that is past its timeout, and starts one if the interval has passed.
    pub fn trigger_if_due(&mut self) -> Option<CheckpointId> {
        let now = self.clock.monotonic();
        if let Some(pending) = self.pending.as_ref().filter(|p| p.started + self.settings.timeout <= now) {
            let (missing, waited) = (pending.missing(), self.settings.timeout.as_secs());
            let text = format!("{missing} did not acknowledge it within {waited} s");
            self.give_up(pending.id, Error::unavailable(text));
        }
        if self.next_trigger.is_some_and(|due| due <= now) { self.trigger() } else { None }
    }

    /// How long from now until [`Coordinator::trigger_if_due`] has something to do; `None` if only an
    /// acknowledgement can change anything.
    pub fn next_due(&self) -> Option<Duration> {
        let due = match &self.pending {
            Some(pending) => Some(pending.started + self.settings.timeout),
            None => self.next_trigger,
        };
        due.map(|due| due.saturating_sub(self.clock.monotonic()))
    }

    /// The checkpoint that waits for acknowledgements.
    pub fn pending(&self) -> Option<CheckpointId> {
        self.pending.as_ref().map(|pending| pending.id)
    }

    /// A source has passed its barrier and stands at `state`. Ignored for a checkpoint that is not pending.
    pub fn acknowledge_source(&mut self, id: CheckpointId, source: usize, state: Bytes) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == id) else { return };
        if let Err(error) = pending.acknowledge_source(source, state) {
            self.give_up(id, error);
        }
    }

    /// A subtask has uploaded its part, or could not. Ignored for a checkpoint that is not pending; the
    /// snapshot's pins are dropped in any case.
    pub fn acknowledge_subtask(&mut self, id: CheckpointId, subtask: usize, ack: Result<SubtaskAck>) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.id == id) else { return };
        let taken = ack.and_then(|ack| {
            self.checkpoints.files().refer(id, &ack.snapshot.files);
            pending.acknowledge_subtask(subtask, ack)
        });
        if let Err(error) = taken {
            self.give_up(id, error.context(format!("subtask {subtask}")));
        }
    }

    /// Completes the pending checkpoint if everybody has acknowledged it. `merge_sources` makes one state of the
    /// sources'; `finished` says that the input has ended. `Ok(None)` if it is not there yet, or failed and the
    /// failure is borne: then nothing is pending any more.
    ///
    /// # Errors
    /// The job must end: `Fenced`, too many failures in a row, or what no retry can help. Every later call says
    /// so again.
    pub fn try_complete(
        &mut self,
        merge_sources: &dyn Fn(&[Bytes]) -> Bytes,
        finished: bool,
    ) -> Result<Option<CompletedCheckpoint>> {
        if let Some(pending) = self.pending.take_if(|pending| pending.is_complete()) {
            match self.write(pending, merge_sources, finished) {
                Ok(completed) => return Ok(Some(completed)),
                Err((id, error)) => self.failed(id, error),
            }
        }
        match &self.fatal {
            Some(fatal) => Err(fatal.duplicate()),
            None => Ok(None),
        }
    }

    fn write(
        &mut self,
        pending: Pending,
        merge_sources: &dyn Fn(&[Bytes]) -> Bytes,
        finished: bool,
    ) -> Result<CompletedCheckpoint, (CheckpointId, Error)> {
        let (id, started) = (pending.id, pending.started);
        let (sources, subtasks, figures) = pending.into_parts();
        let metadata = CheckpointMetadata {
            id,
            incarnation: self.checkpoints.incarnation(),
            max_parallelism: self.shape.max_parallelism.get(),
            finished,
            completed_at_millis: millis(self.clock.now()),
            job: self.shape.job.clone(),
            source: merge_sources(&sources),
            subtasks,
        };
        if let Some((expected, got)) = metadata.uncovered() {
            self.checkpoints.files().forget(id);
            return Err((id, Error::internal(format!("its subtasks do not cover {expected}: {got}"))));
        }
        let entry_bytes =
            self.checkpoints.complete(metadata, self.settings.retained).map_err(|error| (id, error))?;
        let completed = CompletedCheckpoint {
            id,
            sync_micros: figures.sync_micros,
            async_millis: millis(self.clock.monotonic().saturating_sub(started)),
            uploaded_bytes: figures.uploaded_bytes + entry_bytes,
            inputs_kept: figures.inputs_kept,
        };
        self.counters.completed += 1;
        self.counters.failed_in_a_row = 0;
        self.last = Some(completed);
        Ok(completed)
    }

    /// Gives up a checkpoint; counts as a failure. Ignored for one that is not pending.
    pub fn abort(&mut self, id: CheckpointId, reason: &str) {
        self.give_up(id, Error::unavailable(reason));
    }

    fn give_up(&mut self, id: CheckpointId, error: Error) {
        if self.pending.take_if(|pending| pending.id == id).is_some() {
            self.checkpoints.files().forget(id);
            self.failed(id, error);
        }
    }

    fn failed(&mut self, id: CheckpointId, error: Error) {
        self.counters.failed += 1;
        self.counters.failed_in_a_row += 1;
        let error = error.context(format!("checkpoint {id}"));
        self.last_failure = Some(error.to_string());
        let (row, tolerated) = (self.counters.failed_in_a_row, self.settings.tolerated_failures);
        if self.fatal.is_none() {
            self.fatal = match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Invalid | ErrorKind::Cancelled if row <= tolerated => {
                    None
                }
                ErrorKind::Unavailable | ErrorKind::Invalid | ErrorKind::Cancelled => Some(
                    error.context(format!("{row} checkpoints failed in a row, {tolerated} are tolerated")),
                ),
                _ => Some(error),
            };
        }
    }

    /// Counters since the start.
    pub fn counters(&self) -> CheckpointCounters {
        self.counters
    }

    /// The last checkpoint that this job completed.
    pub fn last(&self) -> Option<CompletedCheckpoint> {
        self.last
    }

    /// Why the last failure happened.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// The registry.
    pub fn files(&self) -> &Arc<SharedFileRegistry> {
        self.checkpoints.files()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
