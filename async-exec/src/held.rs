//! The record batches that records in flight keep alive, each counted once.
//!
//! **Threads**: the task thread's own.
use std::rc::Rc;

use alluvium_state_api::RecordBatch;

/// Batches with records in flight.
#[derive(Debug, Default)]
pub(crate) struct HeldBatches {
    held: Vec<Held>,
    free: Vec<u32>,
    /// The batch held last: records of one batch come one after the other.
    last: Option<u32>,
}

#[derive(Debug)]
struct Held {
    batch: Option<Rc<RecordBatch>>,
    records: usize,
}

impl HeldBatches {
    /// How many batches are held.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.held.len() - self.free.len()
    }

    /// Whether one more record of `batch` would pin nothing new.
    pub(crate) fn holds(&self, batch: &Rc<RecordBatch>) -> bool {
        self.last.is_some_and(|last| self.get(last).is_some_and(|held| Rc::ptr_eq(held, batch)))
    }

    /// The batch with this number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&Rc<RecordBatch>> {
        self.held.get(number as usize)?.batch.as_ref()
    }

    /// One more record of `batch` is in flight; returns the batch's number.
    pub(crate) fn hold(&mut self, batch: &Rc<RecordBatch>) -> u32 {
        if let Some(number) = self.last.filter(|_| self.holds(batch)) {
            if let Some(held) = self.held.get_mut(number as usize) {
                held.records += 1;
            }
            return number;
        }
        let number = self.free.pop().unwrap_or(self.held.len() as u32);
        let held = Held { batch: Some(Rc::clone(batch)), records: 1 };
        match self.held.get_mut(number as usize) {
            Some(place) => *place = held,
            None => self.held.push(held),
        }
        self.last = Some(number);
        number
    }

    /// A record of the batch has ended.
    pub(crate) fn release(&mut self, number: u32) {
        let Some(held) = self.held.get_mut(number as usize) else { return };
        held.records -= 1;
        if held.records == 0 {
            held.batch = None;
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_counted_once_and_let_go_with_its_last_record() {
        let (a, b) = (Rc::new(RecordBatch::default()), Rc::new(RecordBatch::default()));
        let mut held = HeldBatches::default();
        let first = held.hold(&a);
        assert_eq!(held.hold(&a), first);
        let second = held.hold(&b);
        assert_eq!((held.len(), held.holds(&b), held.holds(&a)), (2, true, false));
        held.release(first);
        assert_eq!(Rc::strong_count(&a), 2);
        held.release(first);
        assert_eq!((Rc::strong_count(&a), held.len()), (1, 1));
        assert_eq!(held.hold(&a), first, "the number is used again");
        held.release(second);
        assert!(!held.holds(&b));
    }
}
