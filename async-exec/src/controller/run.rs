//! How a record moves: first poll, suspension, line, end. The private half of the controller.
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Waking, Poll, Waker};

use alluvium_state_api::{
    Context, Error, KeyedProcess, RecordBatch, RecordRef, RecordSlot, Result, TaskContext,
};

use super::{AsyncExecutionController, Awaits};
use crate::line::{Line, NO_SLOT, Ticket};
use crate::slots::{Busy, Slot, Slots, Stage};
use crate::{ControllerSettings, StartRecord};

/// What is in flight, and to which epoch it belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A record of the stream, of the open epoch.
    Record,
    /// A timer that the oldest event fires, of the epoch that is ending.
    Action,
    /// A timer of the open epoch.
    Timer,
}

/// Lists a slot to be polled, if there is a suspended record in it.
fn wake<F, G>(slots: &mut Slots<F, G>, runnable: &mut Vec<u32>, slot: u32) {
    let busy = &mut slots.get(slot).busy;
    if busy.stage == Stage::Suspended {
        busy.stage = Stage::Runnable;
        runnable.push(slot);
    }
}

/// Polls the future in a slot and drops it if it is ready.
#[inline]
pub(super) fn poll_future<F: Future<Output = Result<()>>, Out>(
    task: &TaskContext<Out>,
    waker: &Waker,
    place: &mut Pin<Box<Option<F>>>,
) -> Result<Poll<()>> {
    task.set_waker(waker);
    task.take_effect();
    let Some(future) = place.as_mut().as_pin_mut() else { return Ok(Poll::Ready(())) };
    match future.poll(&mut Waking::from_waker(waker)) {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(result) => {
            place.set(None);
            result.map(Poll::Ready)
        }
    }
}

impl<P: KeyedProcess, S: StartRecord<P>, E> AsyncExecutionController<P, S, E> {
    /// A record arrives: it queues behind its key, or gets its first poll in the spare slot.
    #[inline]
    pub(super) fn admit(&mut self, batch: &Rc<RecordBatch>, index: u32, record: RecordRef<'_>) -> Result<()> {
        let place = |error: Error| error.context(format!("key group {}", record.group.0));
        if let Some(slot) = self.keys.slot(record.hash) {
            return self.queue(slot, batch, index, Kind::Record).map_err(place);
        }
        let slot = self.slots.spare();
        self.set(slot, batch, index, record.value).map_err(place)?;
        if self.poll_slot(slot).map_err(place)?.is_ready() {
            self.stats.records += 1;
        } else {
            self.stats.suspended += 1;
            let ticket = self.ticket(batch, index, Kind::Record);
            self.occupy(Stage::Suspended, ticket, record.hash);
            self.suspend(slot);
        }
        self.submit_full();
        Ok(())
    }

    /// Admits timers from index `next` on, which moves with them. Each counts as in flight from the start: of resident
    /// timers there are far fewer than of resident records.
    pub(super) fn admit_timers(
        &mut self,
        timers: &Rc<RecordBatch>,
        next: &mut usize,
        kind: Kind,
    ) -> Result<()> {
        while let Some(timer) = timers.get(*next) {
            if !self.has_room() {
                break;
            }
            let index = *next as u32;
            if let Some(slot) = self.keys.slot(timer.hash) {
                self.queue(slot, timers, index, kind)?;
            } else {
                let ticket = self.ticket(timers, index, kind);
                let slot = self.occupy(Stage::Runnable, ticket, timer.hash);
                self.run_line(slot).map_err(|error| error.context(self.place(self.polled)))?;
            }
            *next += 1;
        }
        Ok(())
    }

    /// Puts a record or timer in the line of a busy key.
    fn queue(&mut self, slot: u32, batch: &Rc<RecordBatch>, index: u32, kind: Kind) -> Result<()> {
        self.stats.queued += 1;
        let ticket = self.ticket(batch, index, kind);
        let line = &mut self.slots.get(slot).busy.line;
        self.counted += usize::from(line.len() < self.settings.max_counted_of_key());
        self.lines.join(line, ticket);
        if P::PRELUDE.get() && kind == Kind::Record {
            self.begin_preludes(slot)?;
        }
        self.account();
        Ok(())
    }

    /// Accounts for a record that stays in flight.
    fn ticket(&mut self, batch: &Rc<RecordBatch>, index: u32, kind: Kind) -> Ticket {
        let epoch = if kind == Kind::Action { self.epochs.oldest() } else { self.epochs.current() };
        self.epochs.enter(epoch);
        let arrival = self.arrivals;
        self.arrivals += 1;
        let held = self.held.hold(batch);
        Ticket { held, index, epoch, arrival, timer: kind != Kind::Record, prelude: NO_SLOT }
    }

    /// Takes the spare slot for a record that stays in flight and whose key was not busy.
    fn occupy(&mut self, stage: Stage, ticket: Ticket, hash: u64) -> u32 {
        let busy = Busy { stage, touched: false, ahead: false, ticket, hash, line: Line::EMPTY };
        let slot = self.slots.take_spare(busy);
        self.keys.occupy(hash, slot);
        self.counted += 1;
        self.account();
        slot
    }

    /// To be called whenever records have come to be in flight, or have ended while it was full.
    pub(super) fn account(&mut self) {
        let ControllerSettings { max_in_flight, max_in_flight_bytes, .. } = self.settings;
        self.full = self.counted >= max_in_flight || self.bytes() >= max_in_flight_bytes;
    }

    /// Puts the future of a record into a slot.
    #[inline]
    fn set(&mut self, slot: u32, batch: &Rc<RecordBatch>, index: u32, value: &[u8]) -> Result<()> {
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(batch), index as usize, RecordSlot(slot));
        let running = self.start.start(Rc::clone(&self.process), value, ctx)?;
        self.slots.get(slot).future.set(Some(running));
        Ok(())
    }

    /// Puts the future of a timer into a slot.
    fn set_timer(&mut self, slot: u32, batch: &Rc<RecordBatch>, index: u32) {
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(batch), index as usize, RecordSlot(slot));
        let firing = self.start.fire(Rc::clone(&self.process), ctx);
        self.slots.get(slot).timer.get_or_insert_with(|| Box::pin(None)).set(Some(firing));
    }

    /// Polls the record in a slot and drops it if it is ready.
    #[inline]
    fn poll_slot(&mut self, slot: u32) -> Result<Poll<()>> {
        let slot = self.slots.get(slot);
        poll_future(&self.task, &slot.waker, &mut slot.future)
    }

    /// The same for the timer in a slot.
    fn poll_timer(&mut self, slot: u32) -> Result<Poll<()>> {
        let Slot { timer, waker, .. } = self.slots.get(slot);
        timer.as_mut().map_or(Ok(Poll::Ready(())), |timer| poll_future(&self.task, waker, timer))
    }

    /// The record in flight in a slot was polled and goes on later.
    fn suspend(&mut self, slot: u32) {
        let busy = &mut self.slots.get(slot).busy;
        busy.stage = Stage::Suspended;
        if self.task.take_effect() && !busy.touched {
            busy.touched = true;
            self.unsettled += 1;
        }
    }

    /// The record that ran in a slot has ended. The next one of its key, if there is one, has the slot then, or has one already.
    fn end(&mut self, slot: u32) -> Option<Ticket> {
        let busy = &mut self.slots.get(slot).busy;
        let Ticket { held, epoch, timer, .. } = busy.ticket;
        let ended = if timer { &mut self.stats.timers } else { &mut self.stats.records };
        *ended += 1;
        self.unsettled -= usize::from(std::mem::take(&mut busy.touched));
        self.held.release(held);
        self.epochs.leave(epoch);
        // With one that waits the slot stays counted, and the place is no longer.
        let waited = busy.line.len();
        self.counted -= usize::from(waited <= self.settings.max_counted_of_key());
        let next = self.lines.take_first(&mut busy.line);
        if let Some(next) = next {
            busy.ticket = next;
        } else {
            self.keys.free(busy.hash);
            self.slots.release(slot);
        }
        if self.full {
            self.account();
        }
        next
    }

    /// Lists what the backend has answered, then what was woken.
    pub(super) fn list_runnable(&mut self) -> Result<()> {
        let Self { task, slots, runnable, wakes, woken, .. } = self;
        task.poll_backend(&mut |slot| wake(slots, runnable, slot.0))?;
        wakes.drain(woken);
        for slot in woken.drain(..) {
            slots.get(slot).woken.answer();
            wake(slots, runnable, slot);
        }
        Ok(())
    }

    /// Polls what is listed. At a barrier that settles, clean records stay listed.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut listed = std::mem::take(&mut self.runnable);
        for slot in listed.drain(..) {
            let Busy { touched, ahead, .. } = self.slots.get(slot).busy;
            if self.settles() && !touched {
                self.runnable.push(slot);
                continue;
            }
            let ran = if P::PRELUDE.get() && ahead { self.run_prelude(slot) } else { self.run_line(slot) };
            ran.map_err(|error| error.context(self.place(self.polled)))?;
        }
        // Keeps the larger buffer.
        listed.append(&mut self.runnable);
        self.runnable = listed;
        Ok(())
    }

    /// Polls the record in a slot and, whenever one ends, starts the next of its key.
    pub(super) fn run_line(&mut self, mut slot: u32) -> Result<()> {
        loop {
            self.polled = slot;
            let Slot { future, timer, busy, .. } = self.slots.get(slot);
            let is_timer = busy.ticket.timer;
            let fresh =
                if is_timer { timer.as_ref().is_none_or(|timer| timer.is_none()) } else { future.is_none() };
            if fresh {
                self.restart(slot)?;
            }
            let polled = if is_timer { self.poll_timer(slot) } else { self.poll_slot(slot) }?;
            self.submit_full();
            if polled.is_pending() {
                self.stats.suspended += u64::from(fresh);
                self.suspend(slot);
                return Ok(());
            }
            let Some(next) = self.end(slot) else { return Ok(()) };
            if P::PRELUDE.get() {
                match self.take_turn(slot, next)? {
                    Some(next) => slot = next,
                    None => return Ok(()),
                }
            }
            if self.settles() {
                self.runnable.push(slot);
                return Ok(());
            }
        }
    }

    /// Puts the future of a record or timer into the slot that it has.
    pub(super) fn restart(&mut self, slot: u32) -> Result<()> {
        let Ticket { held, index, timer, .. } = self.slots.get(slot).busy.ticket;
        let Some(batch) = self.held.get(held).map(Rc::clone) else { return Ok(()) };
        if timer {
            self.set_timer(slot, &batch, index);
            return Ok(());
        }
        let value = batch.get(index as usize).map(|record| record.value).unwrap_or_default();
        self.set(slot, &batch, index, value)
    }

    /// Where an error of the record in a slot belongs.
    pub(super) fn place(&mut self, slot: u32) -> String {
        let Ticket { held, index, .. } = self.slots.get(slot).busy.ticket;
        let batch = self.held.get(held);
        let group = batch.and_then(|batch| batch.get(index as usize)).map_or(0, |record| record.group.0);
        format!("key group {group}")
    }

    /// Whether only touched records may run.
    pub(super) fn settles(&self) -> bool {
        self.barrier == Some(Awaits::Settled)
    }

    /// A user function may have asked for reads and given them up, so this is looked at after every poll.
    #[inline]
    fn submit_full(&mut self) {
        if self.task.batch_len() >= self.settings.batch_reads {
            self.flush();
        }
    }
}
