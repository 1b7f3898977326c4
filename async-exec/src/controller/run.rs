//! How a record moves: first poll, suspension, line, end. The private half of the controller.
use std::future::Future;
use std::rc::Rc;
use std::task::{Context as Waking, Poll};

use alluvium_state_api::{Codec, Context, Error, KeyedProcess, RecordBatch, RecordRef, RecordSlot, Result};

use super::{AsyncExecutionController, Awaits};
use crate::line::{Line, Ticket};
use crate::slots::{Busy, Slots, Stage};
use crate::{ControllerSettings, StartRecord, Work};

/// What is admitted: a record of the stream.
pub(super) const RECORD: u8 = 0;
/// A timer as the action of an event.
pub(super) const ACTION: u8 = 1;
/// A timer like a record: by processing time.
pub(super) const TIMER: u8 = 2;

/// Lists a slot to be polled, if there is a suspended record in it.
fn wake<F>(slots: &mut Slots<F>, runnable: &mut Vec<u32>, slot: u32) {
    let busy = &mut slots.get(slot).busy;
    if busy.stage == Stage::Suspended {
        busy.stage = Stage::Runnable;
        runnable.push(slot);
    }
}

impl<P: KeyedProcess, S: StartRecord<P>, E> AsyncExecutionController<P, S, E> {
    /// A record or timer arrives: it queues behind its key, or gets its first poll in the spare slot.
    #[inline]
    pub(super) fn admit<const KIND: u8>(
        &mut self,
        batch: &Rc<RecordBatch>,
        index: u32,
        record: RecordRef<'_>,
    ) -> Result<()> {
        if let Some(slot) = self.keys.slot(record.hash) {
            self.stats.queued += 1;
            let ticket = self.ticket::<KIND>(batch, index);
            let line = &mut self.slots.get(slot).busy.line;
            self.counted += usize::from(line.len() < self.settings.max_counted_of_key());
            self.lines.join(line, ticket);
            self.account();
            return Ok(());
        }
        let slot = self.slots.spare();
        let place = |error: Error| error.context(format!("key group {}", record.group.0));
        self.set(slot, batch, index, (record.value, KIND != RECORD)).map_err(place)?;
        if self.poll_slot(slot).map_err(place)?.is_ready() {
            self.stats.records += 1;
        } else {
            self.stats.suspended += 1;
            self.occupy::<KIND>(batch, index, record.hash);
            self.suspend(slot);
        }
        self.submit_full();
        Ok(())
    }

    /// Accounts for a record that stays in flight.
    fn ticket<const KIND: u8>(&mut self, batch: &Rc<RecordBatch>, index: u32) -> Ticket {
        let epoch = if KIND == ACTION { self.epochs.oldest() } else { self.epochs.current() };
        self.epochs.enter(epoch);
        let arrival = self.arrivals;
        self.arrivals += 1;
        Ticket { held: self.held.hold(batch), index, epoch, arrival, timer: KIND != RECORD }
    }

    /// Takes the spare slot for a record that stays in flight and whose key was not busy.
    fn occupy<const KIND: u8>(&mut self, batch: &Rc<RecordBatch>, index: u32, hash: u64) {
        let ticket = self.ticket::<KIND>(batch, index);
        let busy = Busy { stage: Stage::Suspended, touched: false, ticket, hash, line: Line::EMPTY };
        let slot = self.slots.take_spare(busy);
        self.keys.occupy(hash, slot);
        self.counted += 1;
        self.account();
    }

    /// To be called whenever records have come to be in flight or ended.
    fn account(&mut self) {
        let ControllerSettings { max_in_flight, max_in_flight_bytes, .. } = self.settings;
        self.full = self.counted >= max_in_flight || self.bytes() >= max_in_flight_bytes;
    }

    /// Puts the future of a record or timer into a slot.
    #[inline]
    fn set(
        &mut self,
        slot: u32,
        batch: &Rc<RecordBatch>,
        index: u32,
        (value, timer): (&[u8], bool),
    ) -> Result<()> {
        let work = if timer { Work::Timer } else { Work::Record(P::In::decode(value)?) };
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(batch), index as usize, RecordSlot(slot));
        let running = self.start.start(Rc::clone(&self.process), work, ctx);
        self.slots.get(slot).future.set(Some(running));
        Ok(())
    }

    /// Polls the future in a slot and drops it if it is ready.
    #[inline]
    fn poll_slot(&mut self, slot: u32) -> Result<Poll<()>> {
        let slot = self.slots.get(slot);
        self.task.set_waker(&slot.waker);
        self.task.take_effect();
        let Some(future) = slot.future.as_mut().as_pin_mut() else { return Ok(Poll::Ready(())) };
        match future.poll(&mut Waking::from_waker(&slot.waker)) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(result) => {
                slot.future.set(None);
                result.map(Poll::Ready)
            }
        }
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

    /// The record that ran in a slot has ended. Whether there is a next one, which then has the slot.
    fn end(&mut self, slot: u32) -> bool {
        let busy = &mut self.slots.get(slot).busy;
        let Ticket { held, epoch, .. } = busy.ticket;
        self.stats.records += 1;
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
        self.account();
        next.is_some()
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
            if self.settles() && !self.slots.get(slot).busy.touched {
                self.runnable.push(slot);
            } else {
                self.run_line(slot).map_err(|error| error.context(self.place(slot)))?;
            }
        }
        // Keeps the larger buffer.
        listed.append(&mut self.runnable);
        self.runnable = listed;
        Ok(())
    }

    /// Polls the record in a slot and, whenever one ends, starts the next of its key.
    fn run_line(&mut self, slot: u32) -> Result<()> {
        self.polled = slot;
        loop {
            let fresh = self.slots.get(slot).future.is_none();
            if fresh {
                self.restart(slot)?;
            }
            let polled = self.poll_slot(slot)?;
            self.submit_full();
            if polled.is_pending() {
                self.stats.suspended += u64::from(fresh);
                self.suspend(slot);
                return Ok(());
            }
            if !self.end(slot) {
                return Ok(());
            }
            if self.settles() {
                self.runnable.push(slot);
                return Ok(());
            }
        }
    }

    /// Puts the future of a record that waited into its slot.
    fn restart(&mut self, slot: u32) -> Result<()> {
        let Ticket { held, index, timer, .. } = self.slots.get(slot).busy.ticket;
        let Some(batch) = self.held.get(held).map(Rc::clone) else { return Ok(()) };
        let value = batch.get(index as usize).map(|record| record.value).unwrap_or_default();
        self.set(slot, &batch, index, (value, timer))
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
