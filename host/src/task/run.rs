//! The loop of a task thread: answers first, then new records while they are admitted, then sleep until the bell.
//!
//! **Invariants**: mail is taken only between batches, so a barrier finds every record before it in the controller:
//! finished, in flight, or kept with the checkpoint as an input. No work waits for a time: a partial read batch goes when
//! there is nothing else to do (design D16). Every wait ends by the mailbox's bell or its close, or when a timer is due, and
//! whatever a task is busy with it comes to a wait, or to mail, which a closed mailbox has none of.
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use alluvium_async_exec::{AsyncExecutionController, Kept, MailboxReceiver, StartRecord};
use alluvium_env::{Clock, Result};
use alluvium_state_api::{CheckpointId, KeyedProcess, RecordBatch, StateId, Timestamp};

use super::account::Account;
use super::alignment::{Alignment, Meaning};
use super::broadcasts::Broadcasts;
use super::operator::Sink;
use super::time::{Firing, TaskEvent};
use super::watermarks::Watermarks;
use super::{Mail, Orders, Stage, TaskStats};
use crate::job::{Event, Spent, TakenSnapshot};

/// One task thread's work.
pub(super) struct TaskLoop<P: KeyedProcess, S: StartRecord<P>> {
    pub(super) subtask: u16,
    pub(super) process: Rc<P>,
    pub(super) controller: AsyncExecutionController<P, S, TaskEvent>,
    pub(super) inbox: MailboxReceiver<Mail>,
    pub(super) alignment: Alignment,
    pub(super) watermarks: Watermarks,
    pub(super) firing: Firing,
    pub(super) broadcasts: Broadcasts<P>,
    pub(super) orders: Arc<Orders>,
    pub(super) events: Sender<Event>,
    pub(super) account: Account,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) result: Option<StateId>,
    pub(super) sink: Option<Sink<P::Out>>,
    pub(super) told: Told,
}

/// What the others have been told already.
#[derive(Debug, Default)]
pub(super) struct Told {
    drained: bool,
    scanned: bool,
}

impl<P: KeyedProcess, S: StartRecord<P>> TaskLoop<P, S> {
    /// Runs the restored inputs, then what the lanes bring, until the coordinator ends the job.
    ///
    /// # Errors
    /// The operator's, the backend's or the sink's; `Closed` when the job was cancelled.
    pub(super) fn run(mut self, restored: Vec<RecordBatch>) -> Result<TaskStats> {
        for batch in restored {
            self.admit(batch)?;
        }
        loop {
            self.poll()?;
            self.deliver()?;
            match self.orders.stage() {
                Stage::Run => {}
                Stage::Scan => self.hand_out_scan(),
                Stage::End => return Ok(self.stats()),
            }
            // An order overtakes no barrier that is still in a lane.
            if self.alignment.all_ended() && self.alignment.order(self.orders.barrier()) == Meaning::Begins {
                self.inbox.unblock_all();
            }
            if let Some(id) = self.alignment.take_aligned() {
                self.snapshot(id)?;
                self.inbox.unblock_all();
            } else if !self.controller.admits() {
                self.controller.flush_behind();
                self.sleep_until_timer();
                self.wait_for_bell()?;
            } else {
                self.firing.mail_had_its_turn();
                self.take_mail_or_sleep()?;
            }
        }
    }

    fn take_mail_or_sleep(&mut self) -> Result<()> {
        if let Some((lane, mail)) = self.inbox.take() {
            return self.handle(lane, mail);
        }
        self.controller.flush();
        self.tell_if_drained();
        self.sleep_until_timer();
        let spent = self.awaits();
        self.account.wait(spent, || self.inbox.wait())
    }

    fn handle(&mut self, lane: usize, mail: Mail) -> Result<()> {
        match mail {
            Mail::Batch(batch) => self.admit(batch)?,
            Mail::Watermark(watermark) => self.advance(|watermarks| watermarks.advance(lane, watermark)),
            Mail::Broadcast(element) => self.take_broadcast(element),
            Mail::End { stopped } => {
                self.alignment.end(lane);
                if !stopped {
                    self.advance(|watermarks| watermarks.end(lane));
                }
            }
            Mail::Barrier(id) => match self.alignment.barrier(lane, id) {
                Meaning::Stale => {}
                Meaning::Joins => self.inbox.block(lane),
                Meaning::Begins => {
                    self.inbox.unblock_all();
                    self.inbox.block(lane);
                }
            },
        }
        Ok(())
    }

    fn advance(&mut self, advance: impl FnOnce(&mut Watermarks) -> Option<Timestamp>) {
        if let Some(watermark) = advance(&mut self.watermarks) {
            self.controller.close_epoch(TaskEvent::Watermark(watermark));
        }
    }

    /// Brings every record of a batch into the controller; waits wherever admission closes.
    fn admit(&mut self, batch: RecordBatch) -> Result<()> {
        let batch = Rc::new(batch);
        let mut next = 0;
        loop {
            let before = next;
            next = self.controller.run_batch(&batch, next)?;
            if next > before {
                self.account.began();
                self.firing.mail_had_its_turn();
            }
            self.deliver()?;
            if next >= batch.len() {
                return Ok(());
            }
            self.poll()?;
            if !self.controller.admits() {
                self.controller.flush_behind();
                self.sleep_until_timer();
                self.wait_for_bell()?;
                self.poll()?;
            }
        }
    }

    /// Gives outputs to the sink and counts to the metrics.
    fn deliver(&mut self) -> Result<()> {
        let outputs = self.controller.task().take_outputs();
        if !outputs.is_empty()
            && let Some(sink) = &mut self.sink
        {
            sink(outputs)?;
        }
        self.account.tell(self.controller.stats(), self.controller.load());
        Ok(())
    }

    fn wait_for_bell(&mut self) -> Result<()> {
        let spent = self.awaits();
        self.account.wait(spent, || self.inbox.wait_for_bell())
    }

    /// Sends all reads on their way and waits for what is in flight.
    ///
    /// # Errors
    /// `Closed` when the job was cancelled.
    pub(super) fn wait_for_answers(&mut self) -> Result<()> {
        self.controller.flush();
        self.sleep_until_timer();
        self.account.wait(Spent::State, || self.inbox.wait_for_bell())
    }

    /// What a task waits for that waits now.
    fn awaits(&self) -> Spent {
        if !self.controller.task().with_backend(|backend| backend.admits()) {
            Spent::Backpressure
        } else if self.controller.in_flight() > 0 {
            Spent::State
        } else {
            Spent::Idle
        }
    }

    /// Settles the records that have done something, keeps the others as inputs, fixes the state.
    fn snapshot(&mut self, id: CheckpointId) -> Result<()> {
        let start = self.clock.monotonic();
        self.finish_broadcasts()?;
        self.controller.begin_barrier();
        while !self.controller.barrier_reached() {
            self.wait_for_answers()?;
            self.poll()?;
        }
        self.deliver()?;
        let (mut inputs, mut inputs_count) = (Vec::new(), 0);
        self.controller.keep(|kept| match kept {
            Kept::Record(record) => {
                record.write_to(&mut inputs);
                inputs_count += 1;
            }
            // Timers are still in state, a restored job's event time begins anew, and no element is pending.
            Kept::Timer(_) | Kept::Event(_) => {}
        });
        let task = self.controller.task().with_backend(|backend| backend.snapshot(id));
        let took = self.clock.monotonic().saturating_sub(start);
        self.controller.end_barrier();
        let sync_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (inputs, operator_states) = (inputs.into(), self.controller.task().snapshot_operator_states());
        let taken = TakenSnapshot { task, inputs, inputs_count, operator_states, sync_micros };
        self.tell(Event::Snapshot { subtask: self.subtask, id, taken });
        Ok(())
    }

    fn tell_if_drained(&mut self) {
        let is_done = || self.controller.in_flight() == 0 && self.controller.pending_events() == 0;
        if !self.told.drained && self.alignment.all_ended() && is_done() {
            self.told.drained = true;
            let operator_states = self.controller.task().snapshot_operator_states();
            self.tell(Event::Drained { subtask: self.subtask, operator_states });
        }
    }

    fn hand_out_scan(&mut self) {
        if !self.told.scanned {
            self.told.scanned = true;
            let task = self.controller.task();
            let scan = self.result.map(|state| task.with_backend(|backend| backend.scan(state))).transpose();
            self.tell(Event::Scan { subtask: self.subtask, scan });
        }
    }

    fn stats(&self) -> TaskStats {
        let backend = self.controller.task().with_backend(|backend| backend.stats());
        TaskStats { backend, controller: self.controller.stats() }
    }

    fn tell(&self, event: Event) {
        // The coordinator is gone only when the job has ended: nobody wants to know any more.
        let _ = self.events.send(event);
    }
}
