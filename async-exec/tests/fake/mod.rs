//! A backend whose memory forgets at random, and whose reads are answered in random order after random delays.
#![allow(dead_code, unreachable_pub, reason = "every test file is a crate of its own and uses a part of it")]
pub mod service;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use alluvium_env::{Entropy, Error, Result};
use alluvium_state_api::{
    Answered, BackendStats, CheckpointId, KeyedStateBackend, Lookup, MaxParallelism, MergeOperator, Notify,
    PageBuilder, PageRequest, ReadBatch, ReadId, RecordBatch, RecordBatchBuilder, SnapshotTask,
    StateDescriptor, StateId, StateKind, StateScan, state_key,
};

/// State keys and values.
pub type Values = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the test sees and steers of its backend.
pub struct Store {
    pub values: RefCell<Values>,
    /// How many of a hundred memory lookups miss.
    pub miss_percent: Cell<u64>,
    /// Answers to give at one poll at most, in random order; `None`: a random number.
    pub answers: Cell<Option<usize>>,
    pub pending: RefCell<Vec<(ReadId, Vec<u8>)>>,
    /// The sizes of the batches that were submitted.
    pub batches: RefCell<Vec<usize>>,
    pub admits: Cell<bool>,
    /// Answer every read with an error.
    pub broken: Cell<bool>,
    pub entropy: Entropy,
}

impl Store {
    pub fn new(seed: u64, miss_percent: u64, values: Values) -> Rc<Self> {
        Rc::new(Self {
            values: RefCell::new(values),
            miss_percent: Cell::new(miss_percent),
            answers: Cell::new(None),
            pending: RefCell::default(),
            batches: RefCell::default(),
            admits: Cell::new(true),
            broken: Cell::new(false),
            entropy: Entropy::from_seed(seed),
        })
    }

    pub fn below(&self, bound: usize) -> usize {
        (self.entropy.next_u64() % bound as u64) as usize
    }

    pub fn backend(self: &Rc<Self>) -> Box<dyn KeyedStateBackend> {
        Box::new(FakeBackend { store: Rc::clone(self), operators: Vec::new() })
    }
}

/// A notify that nobody hears.
pub fn silent() -> Notify {
    Arc::new(|| ())
}

/// A batch of records with a string key and a number.
pub fn batch_of<'a>(records: impl IntoIterator<Item = (&'a str, u64)>) -> Rc<RecordBatch> {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    for (key, value) in records {
        builder.push(key, &value);
    }
    Rc::new(builder.finish())
}

struct FakeBackend {
    store: Rc<Store>,
    operators: Vec<Option<Arc<dyn MergeOperator>>>,
}

impl KeyedStateBackend for FakeBackend {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.operators.push(match &descriptor.kind {
            StateKind::Reducing(operator) => Some(Arc::clone(operator)),
            _ => None,
        });
        Ok(StateId((self.operators.len() - 1) as u16))
    }

    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        if self.store.entropy.next_u64() % 100 < self.store.miss_percent.get() {
            return Ok(Lookup::Miss);
        }
        let values = self.store.values.borrow();
        Ok(values.get(key).map_or(Lookup::Absent, |value| Lookup::Hit(Cow::Owned(value.clone()))))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.values.borrow_mut().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let state = state_key::split(key)?.1;
        let operator = self.operators.get(state.0 as usize).and_then(Option::as_ref);
        let operator = operator.ok_or_else(|| Error::invalid("the state has no merge operator"))?;
        let acc = self.store.values.borrow_mut().remove(key);
        let Some(mut acc) = acc else { return self.put(key, operand) };
        operator.merge(&mut acc, operand)?;
        self.put(key, &acc)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.store.values.borrow_mut().remove(key);
        Ok(())
    }

    fn delete_prefix(&mut self, _: &[u8]) -> Result<()> {
        Err(Error::internal("the fake keeps single keys only"))
    }

    /// Pages are always resident.
    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        let values = self.store.values.borrow();
        let mut page = PageBuilder::new(request.limit);
        let behind = |key: &[u8]| request.after.is_none_or(|after| key > after);
        for (key, value) in values.iter().filter(|(key, _)| key.starts_with(request.prefix) && behind(key)) {
            if page.is_full() {
                return Ok(Lookup::Hit(Cow::Owned(page.finish(true))));
            }
            page.push(key, value);
        }
        Ok(Lookup::Hit(Cow::Owned(page.finish(false))))
    }

    fn submit(&mut self, batch: ReadBatch) {
        self.store.batches.borrow_mut().push(batch.len());
        self.store.pending.borrow_mut().extend(batch.iter().map(|(id, key)| (id, key.to_vec())));
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        let mut pending = self.store.pending.borrow_mut();
        let some = self.store.below(pending.len() + 1);
        for _ in 0..self.store.answers.get().unwrap_or(some).min(pending.len()) {
            let index = self.store.below(pending.len());
            let (id, key) = pending.swap_remove(index);
            if self.store.broken.get() {
                answered(id, Err(Error::unavailable("the store is on fire")));
            } else {
                answered(id, Ok(self.store.values.borrow().get(&key).map(Vec::as_slice)));
            }
        }
        Ok(())
    }

    fn admits(&self) -> bool {
        self.store.admits.get()
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<SnapshotTask> {
        Err(Error::internal("these tests copy the values themselves"))
    }

    fn scan(&mut self, _: StateId) -> Result<Box<dyn StateScan>> {
        Err(Error::internal("these tests read the values themselves"))
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
