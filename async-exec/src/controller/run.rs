//! How a record moves: first poll, suspension, line, end. The private half of the controller.
use std::future::Future;
use std::rc::Rc;
use std::task::{Context as Waking, Poll};

use alluvium_state_api::{Codec, Context, KeyedProcess, RecordBatch, RecordRef, RecordSlot, Result};

use super::AsyncExecutionController;
use crate::slots::{InFlight, Slots, Stage};
use crate::{EpochEnd, StartRecord};

/// Lists a slot to be polled, if there is a suspended record in it.
fn wake<F>(slots: &mut Slots<F>, runnable: &mut Vec<u32>, slot: u32) {
    let record = &mut slots.get(slot).record;
    if record.stage == Stage::Suspended {
        record.stage = Stage::Runnable;
        runnable.push(slot);
    }
}

impl<P: KeyedProcess, S: StartRecord<P>> AsyncExecutionController<P, S> {
    /// A record arrives: it queues behind its key, or gets its first poll in the spare slot.
    #[inline]
    pub(super) fn admit(&mut self, batch: &Rc<RecordBatch>, index: u32, record: RecordRef<'_>) -> Result<()> {
        if self.keys.contains(record.hash) {
            self.stats.queued += 1;
            self.keep(batch, index, record.hash, Stage::Waiting);
            return Ok(());
        }
        let slot = self.slots.spare();
        let place = |error: alluvium_state_api::Error| error.context(format!("key group {}", record.group.0));
        self.set(slot, batch, index, record.value).map_err(place)?;
        if self.poll_slot(slot).map_err(place)?.is_ready() {
            self.stats.records += 1;
        } else {
            self.stats.suspended += 1;
            self.keep(batch, index, record.hash, Stage::Suspended);
            self.suspend(slot);
        }
        self.submit_full();
        Ok(())
    }

    /// Takes the spare slot for a record that stays in flight, at the end of its key's line.
    fn keep(&mut self, batch: &Rc<RecordBatch>, index: u32, hash: u64, stage: Stage) {
        let held = self.held.hold(batch);
        let arrival = self.arrivals;
        self.arrivals += 1;
        let record = InFlight { stage, touched: false, held, index, hash, next: None, arrival };
        let slot = self.slots.take_spare(record);
        if let Some(before) = self.keys.join(hash, slot) {
            self.slots.get(before).record.next = Some(slot);
        }
    }

    /// Puts the future of a record into a slot.
    #[inline]
    fn set(&mut self, slot: u32, batch: &Rc<RecordBatch>, index: u32, value: &[u8]) -> Result<()> {
        let record = P::In::decode(value)?;
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(batch), index as usize, RecordSlot(slot));
        let running = self.start.start(Rc::clone(&self.process), record, ctx);
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
        let record = &mut self.slots.get(slot).record;
        record.stage = Stage::Suspended;
        if self.task.take_effect() && !record.touched {
            record.touched = true;
            self.unsettled += 1;
        }
    }

    /// The record in flight in a slot has ended. Returns who stands behind it.
    fn end(&mut self, slot: u32) -> Option<u32> {
        let record = self.slots.release(slot);
        self.stats.records += 1;
        self.unsettled -= usize::from(record.touched);
        self.held.release(record.held);
        if record.next.is_none() {
            self.keys.free(record.hash);
        }
        record.next
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

    /// Polls what is listed. In an epoch that settles, clean records stay listed.
    pub(super) fn run(&mut self) -> Result<()> {
        let mut listed = std::mem::take(&mut self.runnable);
        for slot in listed.drain(..) {
            if self.settles() && !self.slots.get(slot).record.touched {
                self.runnable.push(slot);
            } else {
                self.run_line(slot).map_err(|(slot, error)| error.context(self.place(slot)))?;
            }
        }
        // Keeps the larger buffer.
        listed.append(&mut self.runnable);
        self.runnable = listed;
        Ok(())
    }

    /// Polls the record in a slot and, whenever one ends, starts the next of its key.
    fn run_line(&mut self, first: u32) -> Result<(), (u32, alluvium_state_api::Error)> {
        let mut slot = first;
        loop {
            self.polled = slot;
            let fresh = self.slots.get(slot).future.is_none();
            if fresh {
                self.restart(slot).map_err(|error| (slot, error))?;
            }
            let polled = self.poll_slot(slot).map_err(|error| (slot, error))?;
            self.submit_full();
            if polled.is_pending() {
                self.stats.suspended += u64::from(fresh);
                self.suspend(slot);
                return Ok(());
            }
            match self.end(slot) {
                None => return Ok(()),
                Some(next) if self.settles() => {
                    self.slots.get(next).record.stage = Stage::Runnable;
                    self.runnable.push(next);
                    return Ok(());
                }
                Some(next) => slot = next,
            }
        }
    }

    /// Puts the future of a record that was queued into its slot.
    fn restart(&mut self, slot: u32) -> Result<()> {
        let InFlight { held, index, .. } = self.slots.get(slot).record;
        let Some(batch) = self.held.get(held).map(Rc::clone) else { return Ok(()) };
        let value = batch.get(index as usize).map(|record| record.value).unwrap_or_default();
        self.set(slot, &batch, index, value)
    }

    /// Where an error of the record in a slot belongs.
    pub(super) fn place(&mut self, slot: u32) -> String {
        let InFlight { held, index, .. } = self.slots.get(slot).record;
        let batch = self.held.get(held);
        let group = batch.and_then(|batch| batch.get(index as usize)).map_or(0, |record| record.group.0);
        format!("key group {group}")
    }

    /// Whether only touched records may run.
    fn settles(&self) -> bool {
        self.closed == Some(EpochEnd::Settled)
    }

    /// A user function may have asked for reads and given them up, so this is looked at after every poll.
    #[inline]
    fn submit_full(&mut self) {
        if self.task.batch_len() >= self.settings.batch_reads {
            self.flush();
        }
    }
}
