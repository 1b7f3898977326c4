//! The coordinator: decides when a checkpoint starts, collects its acknowledgements, and completes or gives it up.
//!
//! ```text
//!            trigger              last acknowledgement          entry created
//!   idle ─────────────► pending ─────────────────────► write ─────────────────► completed + 1
//!                          │ abort, timeout,             │ store error: in doubt
//!                          ├ failed acknowledgement ─────┴────────────────────► failed + 1
//!                          └ a newer one is written ──────────────────────────► subsumed + 1
//! ```
//!
//! **Invariants**: at most as many checkpoints are pending as the settings allow; numbers only grow, also over
//! failures. They are written in the order of their numbers: with the attempt to write one, all older ones are given
//! up, so that none can come to stand behind it, whatever becomes of the attempt. A checkpoint refers to a subtask's
//! files before the subtask's pins are dropped. One that is given up before its entry was tried drops its references;
//! one whose entry was tried leaves them to [`CheckpointStore`].
//!
//! **Threads**: single-threaded, owned by the host's coordinator thread; only [`Coordinator::try_complete`] waits for
//! I/O.
//!
//! **Failure**: store errors are counted and borne up to a limit; what bearing cannot help (`Fenced`,
//! `Corruption`, `Closed`, `Internal`) ends the job at once, through [`Coordinator::try_complete`].
mod pending;

use std::collections::VecDeque;
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
    /// Given up, for whatever reason but the next.
    pub failed: u64,
    /// Given up because a newer one was complete.
    pub subsumed: u64,
    /// Failed since the last that completed.
    pub failed_in_a_row: u32,
}

/// See the module.
pub struct Coordinator {
    checkpoints: CheckpointStore,
    settings: CheckpointSettings,
    shape: JobShape,
    clock: Arc<dyn Clock>,
    /// Oldest first.
    pending: VecDeque<Pending>,
    next_id: CheckpointId,
    /// On the monotonic clock.
    next_trigger: Option<Duration>,
    /// On the monotonic clock: nothing is triggered by interval before.
    paused_until: Duration,
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
            pending: VecDeque::new(),
            paused_until: Duration::ZERO,
            counters: CheckpointCounters::default(),
            last: None,
            last_failure: None,
            fatal: None,
        })
    }

    /// Starts a checkpoint now; its barriers carry the number. `None` while as many are pending as may be.
    pub fn trigger(&mut self) -> Option<CheckpointId> {
        if !self.has_room() {
            return None;
        }
        let (id, now) = (self.next_id, self.clock.monotonic());
        self.next_id = CheckpointId(id.0 + 1);
        self.next_trigger = self.settings.interval.map(|interval| now + interval);
        self.pending.push_back(Pending::new(id, now, &self.shape));
        Some(id)
    }

    fn has_room(&self) -> bool {
        self.pending.len() < self.settings.concurrent && self.fatal.is_none()
    }

    /// Gives up what is past its timeout, and starts a checkpoint if interval and pause have passed.
    pub fn trigger_if_due(&mut self) -> Option<CheckpointId> {
        self.give_up_overdue();
        let now = self.clock.monotonic();
        if self.trigger_at().is_some_and(|due| due <= now) { self.trigger() } else { None }
    }

    /// Gives up pending checkpoints that are past their timeout.
    pub fn give_up_overdue(&mut self) {
        let (now, timeout) = (self.clock.monotonic(), self.settings.timeout);
        while let Some(pending) = self.pending.front().filter(|pending| pending.started + timeout <= now) {
            let (missing, waited) = (pending.missing(), timeout.as_secs());
            let text = format!("{missing} did not acknowledge it within {waited} s");
            self.give_up(pending.id, Error::unavailable(text));
        }
    }

    /// From now on no checkpoint starts by interval.
    pub fn end_interval(&mut self) {
        self.settings.interval = None;
        self.next_trigger = None;
    }

    /// When the next checkpoint starts by interval, if nothing else comes.
    fn trigger_at(&self) -> Option<Duration> {
        self.next_trigger.filter(|_| self.has_room()).map(|due| due.max(self.paused_until))
    }

    /// How long from now until [`Coordinator::trigger_if_due`] has something to do; `None` if only an
    /// acknowledgement can change anything.
    pub fn next_due(&self) -> Option<Duration> {
        let overdue = self.pending.front().map(|pending| pending.started + self.settings.timeout);
        let due = overdue.into_iter().chain(self.trigger_at()).min();
        due.map(|due| due.saturating_sub(self.clock.monotonic()))
    }

    /// The checkpoints that wait for acknowledgements, oldest first.
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = CheckpointId> + '_ {
        self.pending.iter().map(|pending| pending.id)
    }

    /// Whether a checkpoint waits for acknowledgements.
    pub fn is_pending(&self, id: CheckpointId) -> bool {
        self.pending().any(|pending| pending == id)
    }

    /// The checkpoint that the next [`Coordinator::try_complete`] writes: the oldest that everybody has acknowledged.
    pub fn ready(&self) -> Option<CheckpointId> {
        self.pending.iter().find(|pending| pending.is_complete()).map(|pending| pending.id)
    }

    fn pending_mut(&mut self, id: CheckpointId) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|pending| pending.id == id)
    }

    /// A source has passed its barrier and stands at `state`. Ignored for a checkpoint that is not pending.
    pub fn acknowledge_source(&mut self, id: CheckpointId, source: usize, state: Bytes) {
        let Some(pending) = self.pending_mut(id) else { return };
        if let Err(error) = pending.acknowledge_source(source, state) {
            self.give_up(id, error);
        }
    }

    /// A subtask has uploaded its part, or could not. Ignored for a checkpoint that is not pending; the
    /// snapshot's pins are dropped in any case, so what nobody else uses of it is deleted.
    pub fn acknowledge_subtask(&mut self, id: CheckpointId, subtask: usize, ack: Result<SubtaskAck>) {
        let files = Arc::clone(self.checkpoints.files());
        let Some(pending) = self.pending_mut(id) else { return };
        let taken = ack.and_then(|ack| {
            files.refer(id, &ack.snapshot.files, &ack.snapshot.pages);
            pending.acknowledge_subtask(subtask, ack)
        });
        if let Err(error) = taken {
            self.give_up(id, error.context(format!("subtask {subtask}")));
        }
    }

    /// Completes the checkpoint that is [ready](Coordinator::ready), and gives up all older ones. `merge_sources` makes
    /// one state of the sources'; `finished` says that the input has ended. `Ok(None)` if none is ready, or it failed
    /// and the failure is borne. Blocks.
    ///
    /// # Errors
    /// The job must end: `Fenced`, too many failures in a row, or what no retry can help. Every later call says
    /// so again.
    pub fn try_complete(
        &mut self,
        merge_sources: &dyn Fn(&[Bytes]) -> Bytes,
        finished: bool,
    ) -> Result<Option<CompletedCheckpoint>> {
        let io = self.checkpoints.io().clone();
        io.block_on(self.complete_ready(merge_sources, finished))
    }

    /// [`Coordinator::try_complete`] for who must not block: a future of the I/O runtime. One that is dropped before its
    /// end leaves its checkpoint in doubt, and is the coordinator's last.
    ///
    /// # Errors
    /// The same.
    pub async fn complete_ready(
        &mut self,
        merge_sources: &dyn Fn(&[Bytes]) -> Bytes,
        finished: bool,
    ) -> Result<Option<CompletedCheckpoint>> {
        if let Some(pending) = self.take_ready() {
            match self.write(pending, merge_sources, finished).await {
                Ok(completed) => return Ok(Some(completed)),
                Err((id, error)) => self.failed(id, error),
            }
        }
        match &self.fatal {
            Some(fatal) => Err(fatal.duplicate()),
            None => Ok(None),
        }
    }

    /// Takes the ready checkpoint out, and everything older with it.
    fn take_ready(&mut self) -> Option<Pending> {
        let at = self.pending.iter().position(Pending::is_complete)?;
        let newer = self.pending.split_off(at + 1);
        let mut older = std::mem::replace(&mut self.pending, newer);
        let ready = older.pop_back();
        for subsumed in older {
            self.checkpoints.files().forget(subsumed.id);
            self.counters.subsumed += 1;
        }
        ready
    }

    async fn write(
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
        let completed = self.checkpoints.complete(metadata, self.settings.retained).await;
        let entry_bytes = completed.map_err(|error| (id, error))?;
        let completed = CompletedCheckpoint {
            id,
            sync_micros: figures.sync_micros,
            async_millis: millis(self.clock.monotonic().saturating_sub(started)),
            uploaded_bytes: figures.uploaded_bytes + entry_bytes,
            inputs_kept: figures.inputs_kept,
        };
        self.counters.completed += 1;
        self.counters.failed_in_a_row = 0;
        self.pause();
        self.last = Some(completed);
        Ok(completed)
    }

    /// Gives up a checkpoint; counts as a failure. Ignored for one that is not pending.
    pub fn abort(&mut self, id: CheckpointId, reason: &str) {
        self.give_up(id, Error::unavailable(reason));
    }

    fn give_up(&mut self, id: CheckpointId, error: Error) {
        let before = self.pending.len();
        self.pending.retain(|pending| pending.id != id);
        if self.pending.len() < before {
            self.checkpoints.files().forget(id);
            self.failed(id, error);
        }
    }

    fn pause(&mut self) {
        self.paused_until = self.clock.monotonic() + self.settings.min_pause;
    }

    fn failed(&mut self, id: CheckpointId, error: Error) {
        self.counters.failed += 1;
        self.counters.failed_in_a_row += 1;
        self.pause();
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
