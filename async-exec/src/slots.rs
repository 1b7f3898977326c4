//! Slots: where the futures of records live, pinned once and used for one record after the other.
//!
//! A slot is a box that is allocated when the busy keys reach a new number, and never again: a future is set into it,
//! polled in it and dropped in it. `free → suspended → runnable → suspended → … → free`, and a record whose key is
//! not busy starts at its first poll. The records of a busy key run one after the other in the same slot, but for those whose
//! preludes have begun: each of these has a slot from then on, and when its turn comes, that becomes the key's.
//!
//! **Invariants**: only the slot of a busy key, or of a prelude, is off the free list; the spare slot, in which a record gets its first
//! poll, is still on it, so a resident record moves no list at all.
//!
//! **Threads**: the task thread's own.
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use crate::line::{Line, NO_SLOT, Ticket};
use crate::waker::{SlotWaker, WakeQueue};

/// What a slot's record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    Free,
    /// It has nothing to go on with before something wakes it.
    Suspended,
    /// It is listed to be polled, and started if it has not been.
    Runnable,
    /// Its prelude is over and its turn has not come.
    Prepared,
}

/// A busy key: its record that runs, without the future, and those that wait. Or a prelude of one that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Busy {
    pub(crate) stage: Stage,
    /// The record has written or emitted: a checkpoint cannot keep it as an input any more.
    pub(crate) touched: bool,
    /// Its turn has not come: it stands in the line of its key, which has another slot, and only its prelude runs.
    pub(crate) ahead: bool,
    pub(crate) ticket: Ticket,
    /// The hash of the key.
    pub(crate) hash: u64,
    pub(crate) line: Line,
}

const FREE: Busy = Busy {
    stage: Stage::Free,
    touched: false,
    ahead: false,
    ticket: Ticket { held: 0, index: 0, epoch: 0, arrival: 0, timer: false, prelude: NO_SLOT },
    hash: 0,
    line: Line::EMPTY,
};

/// One slot.
pub(crate) struct Slot<F, G> {
    /// Of a record.
    pub(crate) future: Pin<Box<Option<F>>>,
    /// Of a timer; there once the first has run in the slot.
    pub(crate) timer: Option<Pin<Box<Option<G>>>>,
    /// The slot's waker twice: as futures take it, and as it is told that it was answered.
    pub(crate) waker: Waker,
    pub(crate) woken: Arc<SlotWaker>,
    pub(crate) busy: Busy,
}

/// All slots of a controller.
pub(crate) struct Slots<F, G> {
    all: Vec<Slot<F, G>>,
    free: Vec<u32>,
    /// Those of preludes.
    ahead: usize,
    wakes: Arc<WakeQueue>,
}

impl<F, G> Slots<F, G> {
    /// What a busy key takes at most: the futures of a record and of a timer, and what they stand in.
    pub(crate) const SLOT_BYTES: usize =
        size_of::<Option<F>>() + size_of::<Option<G>>() + size_of::<Slot<F, G>>();

    pub(crate) fn new(wakes: Arc<WakeQueue>) -> Self {
        Self { all: Vec::new(), free: Vec::new(), ahead: 0, wakes }
    }

    /// How many keys are busy.
    #[inline]
    pub(crate) fn busy(&self) -> usize {
        self.taken() - self.ahead
    }

    /// How many preludes have begun of records whose turn has not come.
    pub(crate) fn ahead(&self) -> usize {
        self.ahead
    }

    /// How many are in use.
    #[inline]
    pub(crate) fn taken(&self) -> usize {
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
        self.all.push(Slot { future: Box::pin(None), timer: None, waker, woken, busy: FREE });
        self.free.push(slot);
        slot
    }

    /// Takes the spare slot for a key.
    pub(crate) fn take_spare(&mut self, busy: Busy) -> u32 {
        let slot = self.spare();
        self.free.pop();
        self.get(slot).busy = busy;
        slot
    }

    /// Takes the spare slot for the prelude of a record whose turn has not come.
    pub(crate) fn take_ahead(&mut self, ticket: Ticket, hash: u64) -> u32 {
        self.ahead += 1;
        let stage = Stage::Runnable;
        self.take_spare(Busy { stage, touched: false, ahead: true, ticket, hash, line: Line::EMPTY })
    }

    /// It is the turn of the record that has slot `to`: that is the key's from now on, and `from` is free.
    pub(crate) fn hand_over(&mut self, from: u32, to: u32) {
        let line = self.get(from).busy.line;
        self.release(from);
        self.ahead -= 1;
        let busy = &mut self.get(to).busy;
        busy.line = line;
        busy.ahead = false;
    }

    /// The key of a slot is no longer busy.
    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
        self.get(slot).busy = FREE;
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "slot numbers come from this table, which never shrinks")]
    pub(crate) fn get(&mut self, slot: u32) -> &mut Slot<F, G> {
        &mut self.all[slot as usize]
    }

    /// Every busy key.
    pub(crate) fn busy_keys(&self) -> impl Iterator<Item = &Busy> {
        self.all.iter().map(|slot| &slot.busy).filter(|busy| busy.stage != Stage::Free && !busy.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_slot_is_free_until_taken_and_used_again_after_its_release() {
        let mut slots = Slots::<(), ()>::new(WakeQueue::new(Arc::new(|| ())));
        let spare = slots.spare();
        assert_eq!((slots.spare(), slots.busy()), (spare, 0));
        assert_eq!(slots.take_spare(Busy { stage: Stage::Suspended, hash: 5, ..FREE }), spare);
        assert_ne!(slots.spare(), spare);
        assert_eq!(slots.busy_keys().map(|busy| busy.hash).collect::<Vec<_>>(), [5]);
        slots.release(spare);
        assert_eq!((slots.spare(), slots.busy()), (spare, 0));
    }
}
