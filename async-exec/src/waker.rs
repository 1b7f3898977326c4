//! Wakers for futures that are not state: whatever a user function awaits may wake its record from any thread.
//!
//! State futures need none of this. The read table knows the record of every read, so a record that waits for state
//! is found without a waker ever being cloned.
//!
//! **Invariants**: a slot is listed at most once between two drains, however often it is woken. A wake that comes
//! after the record has ended is a spurious poll of whoever has the slot by then, which futures must bear anyway.
//!
//! **Threads**: [`Wake`] is called from any thread, the rest from the task thread.
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::Wake;

use alluvium_state_api::Notify;

use crate::sync::{AtomicBool, Mutex};

/// Slots that were woken, and the bell to ring.
pub(crate) struct WakeQueue {
    slots: Mutex<Vec<u32>>,
    /// Spares the task thread the lock when nobody was woken, which is the rule.
    any: AtomicBool,
    notify: Notify,
}

impl WakeQueue {
    pub(crate) fn new(notify: Notify) -> Arc<Self> {
        Arc::new(Self { slots: Mutex::default(), any: AtomicBool::new(false), notify })
    }

    /// Moves the woken slots into `out`, which must be empty; its buffer is used for those to come.
    pub(crate) fn drain(&self, out: &mut Vec<u32>) {
        if self.any.swap(false, Ordering::Acquire) {
            std::mem::swap(out, &mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub(crate) fn ring(&self) {
        (self.notify)();
    }
}

/// Wakes the record in one slot.
pub(crate) struct SlotWaker {
    slot: u32,
    listed: AtomicBool,
    queue: Arc<WakeQueue>,
}

impl SlotWaker {
    pub(crate) fn new(slot: u32, queue: &Arc<WakeQueue>) -> Arc<Self> {
        Arc::new(Self { slot, listed: AtomicBool::new(false), queue: Arc::clone(queue) })
    }

    /// To be called before the poll that answers the wake: a wake during that poll must count again. A swap and not a
    /// store, because it must see what a thread wrote whose own wake found the slot listed already.
    pub(crate) fn answer(&self) {
        self.listed.swap(false, Ordering::AcqRel);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.queue.slots.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
            self.queue.any.store(true, Ordering::Release);
            self.queue.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_slot_is_listed_once_until_it_is_answered_and_every_listing_rings() {
        let rings = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&rings);
        let queue = WakeQueue::new(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        let slot = SlotWaker::new(3, &queue);
        let waker = Waker::from(Arc::clone(&slot));
        waker.wake_by_ref();
        waker.wake_by_ref();
        let mut woken = Vec::new();
        queue.drain(&mut woken);
        assert_eq!((woken.as_slice(), rings.load(Ordering::SeqCst)), ([3].as_slice(), 1));
        woken.clear();
        slot.answer();
        waker.wake();
        queue.drain(&mut woken);
        assert_eq!((woken.as_slice(), rings.load(Ordering::SeqCst)), ([3].as_slice(), 2));
    }
}
