//! The reads of a task that memory could not answer: the batch being formed, and a slot for every answer.
//!
//! A slot goes `free → waiting → ready → free`. The value's buffer stays with the slot, so that a read allocates
//! nothing once the table has grown to the in-flight limit.
//!
//! **Threads**: the task thread's own.
use std::task::Waker;

use alluvium_env::{Error, Result};

use crate::PageRequest;

/// A read under way: the index of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadId(pub u32);

/// The record that runs: the index of its slot in the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecordSlot(pub u32);

/// Keys and pages to read together; their order is the order of the requests.
#[derive(Debug, Default)]
pub struct ReadBatch {
    keys: Vec<u8>,
    reads: Vec<(ReadId, Span)>,
    pages: Vec<PageRead>,
}

/// Bytes of a batch's keys.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug)]
struct PageRead {
    id: ReadId,
    prefix: Span,
    after: Option<Span>,
    limit: u32,
}

impl ReadBatch {
    #[inline]
    fn keep(&mut self, key: &[u8]) -> Span {
        let start = self.keys.len() as u32;
        self.keys.extend_from_slice(key);
        Span { start, end: self.keys.len() as u32 }
    }

    #[inline]
    fn at(&self, span: Span) -> &[u8] {
        self.keys.get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// Adds a read of a state key.
    pub fn push(&mut self, id: ReadId, key: &[u8]) {
        let key = self.keep(key);
        self.reads.push((id, key));
    }

    /// Adds the read of a page.
    pub fn push_page(&mut self, id: ReadId, request: PageRequest<'_>) {
        let prefix = self.keep(request.prefix);
        let after = request.after.map(|after| self.keep(after));
        self.pages.push(PageRead { id, prefix, after, limit: request.limit });
    }

    /// How many reads, of keys and of pages.
    pub fn len(&self) -> usize {
        self.reads.len() + self.pages.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.pages.is_empty()
    }

    /// The reads of single keys with their state keys.
    pub fn iter(&self) -> impl Iterator<Item = (ReadId, &[u8])> {
        self.reads.iter().map(|(id, key)| (*id, self.at(*key)))
    }

    /// The reads of pages.
    pub fn pages(&self) -> impl Iterator<Item = (ReadId, PageRequest<'_>)> {
        self.pages.iter().map(|page| {
            let after = page.after.map(|after| self.at(after));
            (page.id, PageRequest { prefix: self.at(page.prefix), after, limit: page.limit })
        })
    }
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    /// Nobody has answered yet.
    Waiting { record: RecordSlot, waker: Option<Waker> },
    /// The future was dropped before the answer came.
    Abandoned,
    /// `true`: the value is in the slot's buffer; `false`: the key is absent.
    Ready(Result<bool>),
}

#[derive(Debug, Default)]
struct Slot {
    state: State,
    value: Vec<u8>,
}

/// All reads of one task.
#[derive(Debug, Default)]
pub struct ReadTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    batch: ReadBatch,
    outstanding: usize,
}

impl ReadTable {
    /// Puts a read of `key` into the batch being formed.
    pub fn request(&mut self, record: RecordSlot, key: &[u8]) -> ReadId {
        let id = self.slot(record);
        self.batch.push(id, key);
        id
    }

    /// Puts the read of a page into the batch being formed.
    pub fn request_page(&mut self, record: RecordSlot, request: PageRequest<'_>) -> ReadId {
        let id = self.slot(record);
        self.batch.push_page(id, request);
        id
    }

    fn slot(&mut self, record: RecordSlot) -> ReadId {
        let id = self.free.pop().map_or_else(
            || {
                self.slots.push(Slot::default());
                ReadId((self.slots.len() - 1) as u32)
            },
            ReadId,
        );
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.state = State::Waiting { record, waker: None };
        }
        self.outstanding += 1;
        id
    }

    /// How many reads the batch being formed has.
    #[inline]
    pub fn batch_len(&self) -> usize {
        self.batch.len()
    }

    /// Closes the batch being formed.
    pub fn take_batch(&mut self) -> ReadBatch {
        std::mem::take(&mut self.batch)
    }

    /// Reads that are not answered, given up or not, those of the batch being formed included.
    #[inline]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Stores an answer. Returns the record to run, unless a waker that is not the record's own was told instead,
    /// or nobody waits any more.
    pub fn complete(&mut self, id: ReadId, answer: Result<Option<&[u8]>>) -> Option<RecordSlot> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        match std::mem::take(&mut slot.state) {
            State::Waiting { record, waker } => {
                self.outstanding -= 1;
                slot.state = State::Ready(answer.map(|value| {
                    slot.value.clear();
                    slot.value.extend_from_slice(value.unwrap_or_default());
                    value.is_some()
                }));
                match waker {
                    Some(waker) => {
                        waker.wake();
                        None
                    }
                    None => Some(record),
                }
            }
            State::Abandoned => {
                self.outstanding -= 1;
                self.free.push(id.0);
                None
            }
            other => {
                slot.state = other;
                None
            }
        }
    }

    /// Takes an answer, if it is there. `foreign` is the waker to tell when the future is polled by somebody other
    /// than its record (a `FuturesUnordered` within the user's function, say).
    pub fn poll<T>(
        &mut self,
        id: ReadId,
        foreign: Option<&Waker>,
        decode: impl FnOnce(Option<&[u8]>) -> Result<T>,
    ) -> Option<Result<T>> {
        let slot = self.slots.get_mut(id.0 as usize)?;
        match std::mem::take(&mut slot.state) {
            State::Ready(answer) => {
                self.free.push(id.0);
                Some(answer.and_then(|present| decode(present.then_some(slot.value.as_slice()))))
            }
            State::Waiting { record, .. } => {
                slot.state = State::Waiting { record, waker: foreign.cloned() };
                None
            }
            State::Free | State::Abandoned => {
                Some(Err(Error::internal("a state future was polled after it had completed")))
            }
        }
    }

    /// The future is gone; the slot is free once its answer has come.
    pub fn abandon(&mut self, id: ReadId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        slot.state = match std::mem::take(&mut slot.state) {
            State::Waiting { .. } => State::Abandoned,
            State::Ready(_) => {
                self.free.push(id.0);
                State::Free
            }
            other => other,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_its_reader_once_and_frees_the_slot() {
        let mut table = ReadTable::default();
        let id = table.request(RecordSlot(3), b"k");
        let length = |v: Option<&[u8]>| Ok(v.map(<[u8]>::len));
        assert!(table.poll(id, None, length).is_none());
        assert_eq!(table.take_batch().iter().collect::<Vec<_>>(), [(id, b"k".as_slice())]);
        assert_eq!(table.complete(id, Ok(Some(b"value"))), Some(RecordSlot(3)));
        assert_eq!(table.poll(id, None, length).unwrap().unwrap(), Some(5));
        assert_eq!(table.request(RecordSlot(4), b"l"), id, "the slot is used again");
    }

    #[test]
    fn an_abandoned_read_leaks_no_slot() {
        let mut table = ReadTable::default();
        let id = table.request(RecordSlot(0), b"k");
        table.abandon(id);
        assert_eq!(table.outstanding(), 1);
        assert_eq!(table.complete(id, Ok(None)), None);
        assert_eq!(table.outstanding(), 0);
        assert_eq!(table.request(RecordSlot(1), b"k"), id);
    }
}
