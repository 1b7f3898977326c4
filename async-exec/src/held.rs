//! The record batches that records in flight keep alive, each counted once, with the memory they take.
//!
//! **Threads**: the task thread's own.
use std::rc::Rc;

use alluvium_state_api::RecordBatch;

/// What a record of a batch takes besides its bytes, rounded up.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// The memory of a batch.
fn size_bytes(batch: &RecordBatch) -> usize {
    batch.size_bytes() + batch.len() * RECORD_OVERHEAD_BYTES
}

/// Batches with records in flight.
#[derive(Debug, Default)]
pub(crate) struct HeldBatches {
    held: Vec<Held>,
    free: Vec<u32>,
    /// The batch held last: records of one batch come one after the other.
    last: Option<u32>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    batch: Option<Rc<RecordBatch>>,
    records: usize,
}

impl HeldBatches {
    /// What the batches take that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether `batch` was held last, and still is.
    fn holds(&self, batch: &Rc<RecordBatch>) -> bool {
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
        self.bytes += size_bytes(batch);
        number
    }

    /// A record of the batch has ended.
    pub(crate) fn release(&mut self, number: u32) {
        let Some(held) = self.held.get_mut(number as usize) else { return };
        held.records -= 1;
        if held.records == 0 {
            self.bytes -= held.batch.take().map_or(0, |batch| size_bytes(&batch));
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::{MaxParallelism, RecordBatchBuilder};

    use super::*;

    #[test]
    fn a_batch_is_counted_once_and_let_go_with_its_last_record() {
        let batch = |key| {
            let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
            builder.push(key, &7_u64);
            Rc::new(builder.finish())
        };
        let (a, b) = (batch("a"), batch("bb"));
        let bytes = |batch: &Rc<RecordBatch>| batch.size_bytes() + RECORD_OVERHEAD_BYTES;
        let mut held = HeldBatches::default();
        let first = held.hold(&a);
        assert_eq!((held.hold(&a), held.bytes()), (first, bytes(&a)));
        let second = held.hold(&b);
        assert_eq!((held.bytes(), held.holds(&b), held.holds(&a)), (bytes(&a) + bytes(&b), true, false));
        held.release(first);
        assert_eq!(Rc::strong_count(&a), 2);
        held.release(first);
        assert_eq!((Rc::strong_count(&a), held.bytes()), (1, bytes(&b)));
        assert_eq!(held.hold(&a), first, "the number is used again");
        held.release(second);
        assert!(!held.holds(&b));
    }
}
