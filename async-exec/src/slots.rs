//! Slots: where the futures of records live, pinned once and used for one record after the other.
//!
//! A slot is a box that is allocated when the records in flight reach a new height, and never again: a future is
//! set into it, polled in it and dropped in it. `free → waiting → runnable → suspended → runnable → … → free`, and
//! a record whose key is not busy starts at its first poll.
//!
//! **Invariants**: only a slot in flight is off the free list; the spare slot, in which a record gets its first poll,
//! is still on it, so a resident record moves no list at all.
//!
//! **Threads**: the task thread's own.
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use crate::waker::{SlotWaker, WakeQueue};

/// What a slot's record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    Free,
    /// It stands behind another record of its key and has not started.
    Waiting,
    /// It has nothing to go on with before something wakes it.
    Suspended,
    /// It is listed to be polled, and started if it has not been.
    Runnable,
}

/// The record in flight in a slot, without its future.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    pub(crate) stage: Stage,
    /// It has written or emitted: a checkpoint cannot keep it as an input any more.
    pub(crate) touched: bool,
    /// Its batch, by the number under which it is held, and its place there.
    pub(crate) held: u32,
    pub(crate) index: u32,
    /// The hash of its key, and who stands behind it in the key's line.
    pub(crate) hash: u64,
    pub(crate) next: Option<u32>,
    /// Records in flight in the order of this number are in arrival order.
    pub(crate) arrival: u64,
}

const NOBODY: InFlight =
    InFlight { stage: Stage::Free, touched: false, held: 0, index: 0, hash: 0, next: None, arrival: 0 };

/// One slot.
pub(crate) struct Slot<F> {
    pub(crate) future: Pin<Box<Option<F>>>,
    /// The slot's waker twice: as futures take it, and as it is told that it was answered.
    pub(crate) waker: Waker,
    pub(crate) woken: Arc<SlotWaker>,
    pub(crate) record: InFlight,
}

/// All slots of a controller.
pub(crate) struct Slots<F> {
    all: Vec<Slot<F>>,
    free: Vec<u32>,
    wakes: Arc<WakeQueue>,
}

impl<F> Slots<F> {
    pub(crate) fn new(wakes: Arc<WakeQueue>) -> Self {
        Self { all: Vec::new(), free: Vec::new(), wakes }
    }

    /// How many slots are in flight.
    #[inline]
    pub(crate) fn in_flight(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// The slot the next record is tried in. It stays free until [`Slots::take_spare`].
    #[inline]
    pub(crate) fn spare(&mut self) -> u32 {
        match self.free.last() {
            Some(slot) => *slot,
            None => self.grow(),
        }
    }

    #[cold]
    fn grow(&mut self) -> u32 {
        let slot = self.all.len() as u32;
        let woken = SlotWaker::new(slot, &self.wakes);
        let waker = Waker::from(Arc::clone(&woken));
        self.all.push(Slot { future: Box::pin(None), waker, woken, record: NOBODY });
        self.free.push(slot);
        slot
    }

    /// Puts a record in flight in the spare slot.
    pub(crate) fn take_spare(&mut self, record: InFlight) -> u32 {
        let slot = self.spare();
        self.free.pop();
        self.get(slot).record = record;
        slot
    }

    /// Ends the record in flight in a slot and returns what it was.
    pub(crate) fn release(&mut self, slot: u32) -> InFlight {
        self.free.push(slot);
        std::mem::replace(&mut self.get(slot).record, NOBODY)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "slot numbers come from this table, which never shrinks")]
    pub(crate) fn get(&mut self, slot: u32) -> &mut Slot<F> {
        &mut self.all[slot as usize]
    }

    /// Every record in flight with its slot.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &InFlight)> {
        let records = self.all.iter().map(|slot| &slot.record);
        (0..).zip(records).filter(|(_, record)| record.stage != Stage::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_slot_is_free_until_taken_and_used_again_after_its_release() {
        let mut slots = Slots::<()>::new(WakeQueue::new(Arc::new(|| ())));
        let spare = slots.spare();
        assert_eq!((slots.spare(), slots.in_flight()), (spare, 0));
        assert_eq!(slots.take_spare(InFlight { stage: Stage::Suspended, arrival: 5, ..NOBODY }), spare);
        assert_ne!(slots.spare(), spare);
        assert_eq!(slots.records().map(|(slot, _)| slot).collect::<Vec<_>>(), [spare]);
        assert_eq!(slots.release(spare).arrival, 5);
        assert_eq!((slots.spare(), slots.in_flight()), (spare, 0));
    }
}
