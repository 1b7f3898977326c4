//! The coordinator's loop on the calling thread: it triggers checkpoints, collects what belongs to them, and decides
//! when the job has ended.
//!
//! **Invariants**: a job that ends well ends with a checkpoint of its own, the *last* one: after a stop, the barrier
//! behind which sources read nothing; at the end of the input, one taken when every task is drained. A last checkpoint
//! that fails is taken again, as long as the settings tolerate it. Without an interval a finished job takes none. Once a
//! job ends, no checkpoint starts by interval.
//!
//! **Threads**: the calling thread's; it sleeps until an event comes or a checkpoint is due.
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use alluvium_checkpoint::{CompletedCheckpoint, Coordinator, SubtaskAck};
use alluvium_env::{Error, ErrorKind, IoRuntime, Result};
use alluvium_state_api::{CheckpointId, StateScan};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::JoinHandle;

use super::broadcast::{BroadcastCut, Moment};
use super::crew::Crew;
use super::event::{Event, TakenSnapshot};
use super::metrics::Metrics;
use super::report::{CheckpointReport, Outcome};
use super::requests::Requests;
use super::succession::{Succession, bring_home};
use crate::source::SourceCut;
use crate::task::{Stage, TaskStats};

/// The running job as its coordinator sees it.
pub(super) struct Coordination {
    pub(super) coordinator: Coordinator,
    pub(super) crew: Crew,
    pub(super) cut: SourceCut,
    pub(super) events: Receiver<Event>,
    pub(super) uploads: Uploads,
    /// Of a job that was begun from another root's checkpoint.
    pub(super) succession: Option<Succession>,
    pub(super) metrics: Arc<Metrics>,
    /// Whether a finished job takes a last checkpoint.
    pub(super) checkpoint_at_end: bool,
    /// The tasks that are not drained yet.
    pub(super) undrained: usize,
    pub(super) ending: Option<Outcome>,
    /// The checkpoint after which the job ends.
    pub(super) last: Option<CheckpointId>,
    /// The newest that completed, oldest first.
    pub(super) history: VecDeque<CompletedCheckpoint>,
    pub(super) broadcast: BroadcastCut,
    pub(super) requests: Requests,
}

impl Coordination {
    /// Runs until the input has ended, or a stop is done; tasks still hold their state then.
    ///
    /// # Errors
    /// What ended the job instead.
    fn run(&mut self) -> Result<Outcome> {
        loop {
            if let Some(event) = self.next_event() {
                self.handle(event)?;
            }
            while let Ok(event) = self.events.try_recv() {
                self.handle(event)?;
            }
            if let Some(outcome) = self.advance()? {
                return Ok(outcome);
            }
        }
    }

    /// Runs the job, and hands the result to `finish` if the input was read to its end.
    ///
    /// # Errors
    /// What ended the job instead, or what `finish` failed with.
    pub(super) fn run_to_end(
        &mut self,
        finish: impl FnOnce(Vec<Box<dyn StateScan>>) -> Result<()>,
    ) -> Result<Outcome> {
        let outcome = self.run()?;
        if outcome == Outcome::Finished {
            finish(self.scans()?)?;
        }
        Ok(outcome)
    }

    /// The results of all tasks, in the order of their key groups.
    ///
    /// # Errors
    /// What the scan or a thread failed with.
    fn scans(&mut self) -> Result<Vec<Box<dyn StateScan>>> {
        self.crew.order_stage(Stage::Scan);
        let mut scans = Vec::new();
        for _ in 0..self.crew.tasks() {
            let (subtask, scan) = loop {
                match self.events.recv() {
                    Ok(Event::Scan { subtask, scan }) => break (subtask, scan?),
                    Ok(event) => self.handle(event)?,
                    Err(_) => return Err(Error::internal("all threads of the job are gone")),
                }
            };
            scans.extend(scan.map(|scan| (subtask, scan)));
        }
        scans.sort_by_key(|(subtask, _)| *subtask);
        Ok(scans.into_iter().map(|(_, scan)| scan).collect())
    }

    /// Lets all threads end and adds up what the tasks counted.
    pub(super) fn end(&mut self) -> TaskStats {
        self.crew.order_stage(Stage::End);
        self.crew.join()
    }

    /// Ends all threads after an error. Returns the error that came first in truth: when a thread fails, its
    /// neighbours' channels close, and theirs may be reported earlier.
    pub(super) fn fail(mut self, error: Error) -> Error {
        self.crew.disband();
        self.uploads.abandon();
        if error.kind() != ErrorKind::Closed {
            return error;
        }
        let better = self.events.try_iter().find_map(|event| match event {
            Event::Failed(other) if other.kind() != ErrorKind::Closed => Some(other),
            _ => None,
        });
        better.unwrap_or(error)
    }

    pub(super) fn checkpoints(&self) -> CheckpointReport {
        let counters = self.coordinator.counters();
        CheckpointReport {
            completed: counters.completed,
            failed: counters.failed,
            subsumed: counters.subsumed,
            last: self.coordinator.last(),
            history: self.history.iter().copied().collect(),
        }
    }

    /// What is to be said about checkpoints that were given up.
    pub(super) fn failures(&self) -> Option<String> {
        let failed = self.coordinator.counters().failed;
        let reason = self.coordinator.last_failure()?;
        (failed > 0).then(|| format!("checkpoints that were given up: {failed}; the last was {reason}"))
    }

    fn next_event(&self) -> Option<Event> {
        match self.coordinator.next_due() {
            Some(due) => self.events.recv_timeout(due).ok(),
            None => self.events.recv().ok(),
        }
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Stop => {
                if !self.cut.all_ended() {
                    self.end_with(Outcome::Stopped);
                }
            }
            Event::Cancel => {
                return Err(Error::cancelled("the job was cancelled; its last complete checkpoint stays"));
            }
            Event::Checkpoint(answer) => self.requests.ask(answer),
            Event::Failed(error) => return Err(error),
            Event::SourceAtBarrier { source, id, standing } => {
                self.cut.at_barrier(source, id, standing);
                self.coordinator.acknowledge_source(id, source, Bytes::new());
            }
            Event::SourceEnded { source, standing } => {
                let sent = self.cut.ended(source, standing);
                let later: Vec<_> = self.coordinator.pending().filter(|id| *id > sent).collect();
                for id in later {
                    self.coordinator.acknowledge_source(id, source, Bytes::new());
                }
            }
            Event::Snapshot { subtask, id, taken } => self.snapshot_taken(subtask, id, taken)?,
            Event::Uploaded { subtask, id, ack } => {
                self.coordinator.acknowledge_subtask(id, usize::from(subtask), ack);
            }
            Event::Drained { subtask, mut operator_states } => {
                self.broadcast.take(Moment::End, subtask, &mut operator_states)?;
                self.undrained = self.undrained.saturating_sub(1);
                if self.undrained == 0 {
                    self.end_with(Outcome::Finished);
                }
            }
            // Asked for in `scans` only.
            Event::Scan { .. } => {}
        }
        Ok(())
    }

    /// The first reason to end counts.
    fn end_with(&mut self, outcome: Outcome) {
        if self.ending.is_none() {
            self.ending = Some(outcome);
            self.coordinator.end_interval();
        }
    }

    fn snapshot_taken(&mut self, subtask: u16, id: CheckpointId, taken: TakenSnapshot) -> Result<()> {
        if !self.coordinator.is_pending(id) {
            return Ok(());
        }
        let TakenSnapshot { task, inputs, inputs_count, mut operator_states, sync_micros } = taken;
        let origin = self.succession.as_ref().map(|succession| Arc::clone(&succession.origin));
        self.broadcast.forget_before(self.coordinator.pending().next().unwrap_or(id));
        self.broadcast.take(Moment::Checkpoint(id), subtask, &mut operator_states)?;
        match task {
            Err(error) => self.coordinator.acknowledge_subtask(id, usize::from(subtask), Err(error)),
            Ok(task) => self.uploads.start(subtask, id, async move {
                let snapshot = task.await?;
                let ack = SubtaskAck { snapshot, inputs, inputs_count, operator_states, sync_micros };
                bring_home(origin, ack).await
            }),
        }
        Ok(())
    }

    /// Moves checkpoints on as far as the events allow. Returns how the job ended, once it has.
    fn advance(&mut self) -> Result<Option<Outcome>> {
        if self.ending == Some(Outcome::Finished) && !self.checkpoint_at_end {
            return Ok(self.ending);
        }
        loop {
            self.trigger();
            if self.cut.all_ended()
                && let Some(newest) = self.coordinator.pending().next_back()
            {
                // No source is left to send the barrier, or one has sent it: the tasks then know it already.
                self.crew.order_barrier(newest);
            }
            let was_ready = self.coordinator.ready().is_some();
            if let Some(completed) = self.complete()? {
                self.metrics.completed(&completed);
                if let Some(succession) = &mut self.succession {
                    succession.completed();
                }
                self.history.push_back(completed);
                if self.history.len() > CheckpointReport::HISTORY {
                    self.history.pop_front();
                }
                self.requests.complete(&completed);
                if self.last == Some(completed.id) {
                    return Ok(self.ending);
                }
            }
            self.metrics.failed(self.coordinator.counters().failed);
            let coordinator = &self.coordinator;
            self.requests.give_up(|id| coordinator.is_pending(id), coordinator.last_failure());
            // One that has ended makes room for another.
            let waits = self.ending.is_none() || self.coordinator.pending().next().is_some();
            if waits && !was_ready {
                return Ok(None);
            }
        }
    }

    /// Starts a checkpoint that is due or wanted: by somebody who asked, or to end with.
    fn trigger(&mut self) {
        let due = self.coordinator.trigger_if_due();
        let wanted = match self.ending {
            None => self.requests.wanted(),
            Some(_) => !self.last.is_some_and(|last| self.coordinator.is_pending(last)),
        };
        let triggered = if due.is_none() && wanted { self.coordinator.trigger() } else { due };
        if let Some(id) = triggered {
            self.begin(id);
        }
    }

    fn begin(&mut self, id: CheckpointId) {
        let last = self.ending.is_some();
        if last {
            self.last = Some(id);
        }
        self.requests.begin(id);
        self.crew.request_barriers(self.coordinator.pending().collect(), last);
        for source in self.cut.gone() {
            self.coordinator.acknowledge_source(id, source, Bytes::new());
        }
    }

    fn complete(&mut self) -> Result<Option<CompletedCheckpoint>> {
        let ready = self.coordinator.ready();
        if let Some(id) = ready {
            self.cut.advance(id);
        }
        let finished = self.ending == Some(Outcome::Finished) && self.last == ready;
        let cut = &self.cut;
        self.coordinator.try_complete(&|_| cut.encode(), finished)
    }
}

/// The asynchronous parts of snapshots, on the I/O runtime.
pub(super) struct Uploads {
    io: IoRuntime,
    events: Sender<Event>,
    running: Vec<JoinHandle<()>>,
}

impl Uploads {
    pub(super) fn new(io: IoRuntime, events: Sender<Event>) -> Self {
        Self { io, events, running: Vec::new() }
    }

    fn start(
        &mut self,
        subtask: u16,
        id: CheckpointId,
        upload: impl Future<Output = Result<SubtaskAck>> + Send + 'static,
    ) {
        let events = self.events.clone();
        self.running.retain(|upload| !upload.is_finished());
        self.running.push(self.io.spawn(async move {
            let ack = AssertUnwindSafe(upload).catch_unwind().await;
            let ack = ack.unwrap_or_else(|payload| {
                Err(Error::of_panic(payload.as_ref()).context(format!("upload of subtask {subtask}")))
            });
            let _ = events.send(Event::Uploaded { subtask, id, ack });
        }));
    }

    /// Gives up what is still running; nothing of it runs any more when this returns.
    fn abandon(&mut self) {
        for upload in self.running.drain(..) {
            upload.abort();
            // It was aborted, or has ended: both are fine.
            let _ = self.io.block_on(upload);
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        self.abandon();
    }
}
