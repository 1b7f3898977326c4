//! The controller between records: events that close epochs, and barriers.
use std::rc::Rc;

use alluvium_state_api::{KeyedProcess, RecordBatch, Result};

use super::run::Kind;
use super::{AsyncExecutionController, Awaits};
use crate::line::Ticket;
use crate::{Kept, StartRecord};

impl<P: KeyedProcess, S: StartRecord<P>, E> AsyncExecutionController<P, S, E> {
    /// Closes the open epoch with an event: the records admitted so far belong to it, those admitted from now on to the
    /// next one. Whether any are admitted before the event is done, [`EpochMode`](crate::EpochMode) says.
    ///
    /// The task acts upon the event once [`ended`](Self::ended) shows it, and emits it once it has
    /// [taken](Self::take_ended) it:
    ///
    /// ```
    /// # use std::rc::Rc;
    /// # use alluvium_async_exec::{AsyncExecutionController, StartRecord};
    /// # use alluvium_state_api::{KeyedProcess, RecordBatch, Result};
    /// # type Watermark = i64;
    /// # fn next_due(_: Watermark) -> Option<Rc<RecordBatch>> { None }
    /// # fn put_back(_: Rc<RecordBatch>, _: usize) {}
    /// # fn emit(_: Watermark) {}
    /// /// Called after every poll.
    /// fn act<P: KeyedProcess, S: StartRecord<P>>(
    ///     controller: &mut AsyncExecutionController<P, S, Watermark>,
    /// ) -> Result<()> {
    ///     while let Some(watermark) = controller.ended().copied() {
    ///         match next_due(watermark) {
    ///             Some(timers) => {
    ///                 let next = controller.run_timers(&timers, 0)?;
    ///                 if next < timers.len() {
    ///                     put_back(timers, next);
    ///                     break;
    ///                 }
    ///             }
    ///             None => controller.take_ended().into_iter().for_each(emit),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn close_epoch(&mut self, event: E) {
        self.epochs.close(event);
    }

    /// The oldest event, once every record of its epoch has ended and every timer that was started for it: to be acted
    /// upon, or to be taken if nothing is left to be done for it. While a barrier is being waited for there is none,
    /// unless the barrier waits for events.
    pub fn ended(&self) -> Option<&E> {
        if self.settles() { None } else { self.epochs.ended() }
    }

    /// Takes the event that [`ended`](Self::ended) shows; it is done, and its epoch is over.
    pub fn take_ended(&mut self) -> Option<E> {
        if self.settles() { None } else { self.epochs.take_ended() }
    }

    /// Events that are not done.
    pub fn pending_events(&self) -> usize {
        self.epochs.pending().len()
    }

    /// Starts the timers of `timers` from index `from` on as actions of the event that [`ended`](Self::ended) shows or
    /// has shown, and returns the index of the first that was not started: admission may be closed to them for want of
    /// room, and is while a barrier settles. The batch is one of
    /// [`take_due_timers`](alluvium_state_api::TaskContext::take_due_timers).
    ///
    /// A timer runs at once unless its key is busy; then it runs before the records that wait, behind the timers that
    /// do. The event is not done before its timers have ended. More may be started while others run.
    ///
    /// # Errors
    /// As [`run_batch`](Self::run_batch).
    pub fn run_timers(&mut self, timers: &Rc<RecordBatch>, from: usize) -> Result<usize> {
        if self.settles() || !self.epochs.act() {
            return Ok(from);
        }
        self.run_from(timers, from, |controller, timers, next| {
            controller.admit_timers(timers, next, Kind::Action)
        })
    }

    /// Admits timers of processing time from index `from` on, and returns the index of the first that was not: they belong
    /// to the open epoch as records do, but run before the records that wait for their key. The batch is one of
    /// [`take_due_timers`](alluvium_state_api::TaskContext::take_due_timers).
    ///
    /// # Errors
    /// As [`run_batch`](Self::run_batch).
    pub fn run_processing_timers(&mut self, timers: &Rc<RecordBatch>, from: usize) -> Result<usize> {
        if !self.is_open() {
            return Ok(from);
        }
        self.run_from(timers, from, |controller, timers, next| {
            controller.admit_timers(timers, next, Kind::Timer)
        })
    }

    /// A barrier has come: nothing is admitted until [`end_barrier`](Self::end_barrier). The task goes on polling,
    /// flushing and acting upon events until it is [reached](Self::barrier_reached).
    pub fn begin_barrier(&mut self) {
        self.barrier = Some(if self.settings.keep_inputs { Awaits::Settled } else { Awaits::Drained });
    }

    /// Whether there is a barrier and the task can be copied: with
    /// [`keep_inputs`](crate::ControllerSettings::keep_inputs) as soon as no record in flight has written or emitted;
    /// otherwise once nothing is in flight and no event pending.
    pub fn barrier_reached(&self) -> bool {
        match self.barrier {
            None => false,
            Some(Awaits::Settled) => self.unsettled == 0,
            Some(Awaits::Drained) => self.in_flight() == 0 && self.pending_events() == 0,
        }
    }

    /// Goes on. Records that were kept from running are polled by the next [`poll`](Self::poll), for which the bell is
    /// rung.
    pub fn end_barrier(&mut self) {
        self.barrier = None;
        if !self.runnable.is_empty() || self.epochs.ended().is_some() {
            self.wakes.ring();
        }
    }

    /// Shows what is pending at a barrier that was reached: epoch by epoch, the records and timers in flight in arrival
    /// order, then the event. A checkpoint must keep the records, and may keep the events; timers are still in state. A
    /// restore gives it back in that order: records to [`run_batch`](Self::run_batch), an event to
    /// [`close_epoch`](Self::close_epoch).
    ///
    /// # Panics
    /// If a record in flight has written or emitted: running it again after a restore would do that twice.
    pub fn keep(&self, mut keep: impl FnMut(Kept<'_, E>)) {
        assert_eq!(self.unsettled, 0, "inputs are kept only once the barrier is reached");
        let busy = self.slots.busy_keys();
        let in_flight = busy.flat_map(|busy| std::iter::once(&busy.ticket).chain(self.lines.iter(busy.line)));
        let mut tickets: Vec<Ticket> = in_flight.copied().collect();
        tickets.sort_unstable_by_key(|ticket| (ticket.epoch, ticket.arrival));
        let mut events = self.epochs.pending().peekable();
        for ticket in &tickets {
            while let Some((_, event)) = events.next_if(|(epoch, _)| *epoch < ticket.epoch) {
                keep(Kept::Event(event));
            }
            let batch = self.held.get(ticket.held);
            if let Some(record) = batch.and_then(|batch| batch.get(ticket.index as usize)) {
                keep(if ticket.timer { Kept::Timer(record) } else { Kept::Record(record) });
            }
        }
        events.for_each(|(_, event)| keep(Kept::Event(event)));
    }
}
