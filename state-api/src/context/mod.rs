//! What a running record sees ([`Context`]) and what all records of a task share ([`TaskContext`]).
//!
//! **Invariants**: effects (writes, outputs) happen only while their record is polled, so one flag for the task,
//! reset before each poll, tells the controller whether *that* record has done something.
//!
//! **Threads**: the task thread's own; `Rc` and `RefCell` throughout, no lock and no atomic on the hot path.
mod broadcast;
mod migration;
mod opening;
mod timers;
mod turn;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use alluvium_env::{Clock, Error, Result, SystemClock};

pub use broadcast::BroadcastContext;
pub(crate) use migration::{Migration, dropped_and_opened};

use crate::scope::Place;
use crate::timers::TimerQueue;
use crate::{
    Access, InNamespace, KeyCodec, KeyedStateBackend, Lookup, OperatorStates, PageRequest, ReadBatch, ReadId,
    ReadTable, RecordBatch, RecordRef, RecordSlot, StateFuture, StateId, Timestamp, state_key,
};

/// The reads of a task, shared with the futures that wait for them.
#[derive(Default)]
pub(crate) struct Reads {
    table: RefCell<ReadTable>,
    /// The waker the controller polls with now; any other waker in a poll belongs to a combinator.
    own: RefCell<Option<Waker>>,
}

impl Reads {
    pub(crate) fn poll<T>(
        &self,
        id: ReadId,
        waker: &Waker,
        decode: fn(Option<&[u8]>) -> Result<T>,
    ) -> Option<Result<T>> {
        let own = self.own.borrow();
        let foreign = own.as_ref().is_none_or(|own| !own.will_wake(waker)).then_some(waker);
        self.table.borrow_mut().poll(id, foreign, decode)
    }

    pub(crate) fn abandon(&self, id: ReadId) {
        self.table.borrow_mut().abandon(id);
    }
}

#[derive(Default)]
struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What all records of one keyed subtask share: the backend, the reads, the outputs.
pub struct TaskContext<Out> {
    backend: RefCell<Box<dyn KeyedStateBackend>>,
    reads: Rc<Reads>,
    outputs: RefCell<Vec<Out>>,
    scratch: RefCell<Scratch>,
    prefetching: RefCell<Prefetching>,
    effect: Cell<bool>,
    /// Which of the first 64 states are read, and which are written: what to prefetch for the next records.
    reads_of: Cell<u64>,
    writes_of: Cell<u64>,
    /// Of both time domains, if the function uses timers.
    timers: RefCell<Vec<TimerQueue>>,
    /// A timer could not leave state; told when it ends.
    stuck_timer: Cell<Option<Error>>,
    watermark: Cell<Timestamp>,
    clock: Arc<dyn Clock>,
    /// What records do not touch: apart, since among the rest it cost each of them 10 ns (`benches/controller`).
    apart: Box<Apart>,
}

#[derive(Default)]
struct Apart {
    namespaces_of_timers: timers::TimerNamespaces,
    operator_states: OperatorStates,
    migration: Migration,
    turn: turn::Turn,
}

/// State keys of records to come, one behind the other, and where each ends.
#[derive(Default)]
struct Prefetching {
    keys: Vec<u8>,
    ends: Vec<usize>,
}

/// The bit of a state among the first 64; none for the others.
#[inline]
fn bit(state: StateId) -> u64 {
    1_u64.checked_shl(u32::from(state.0)).unwrap_or(0)
}

impl<Out> TaskContext<Out> {
    /// A task on a backend.
    pub fn new(backend: Box<dyn KeyedStateBackend>) -> Self {
        Self {
            backend: RefCell::new(backend),
            reads: Rc::default(),
            outputs: RefCell::default(),
            scratch: RefCell::default(),
            prefetching: RefCell::default(),
            effect: Cell::new(false),
            reads_of: Cell::new(0),
            writes_of: Cell::new(0),
            timers: RefCell::default(),
            stuck_timer: Cell::default(),
            watermark: Cell::new(Timestamp::MIN),
            clock: Arc::new(SystemClock::new()),
            apart: Box::default(),
        }
    }

    /// Processing time comes from this clock, not from the machine's.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Calls the backend; not from within a record.
    pub fn with_backend<R>(&self, call: impl FnOnce(&mut dyn KeyedStateBackend) -> R) -> R {
        call(self.backend.borrow_mut().as_mut())
    }

    /// Tells the backend of records that are about to run: it is asked for the states that records before them used.
    pub fn prefetch(&self, batch: &RecordBatch, from: usize, count: usize) {
        let (reads, writes) = (self.reads_of.get(), self.writes_of.get());
        let mut used = reads | writes;
        while used != 0 {
            let state = StateId(used.trailing_zeros() as u16);
            used &= used - 1;
            let access = if reads & bit(state) != 0 { Access::Read } else { Access::Write };
            let Prefetching { keys, ends } = &mut *self.prefetching.borrow_mut();
            keys.clear();
            ends.clear();
            for record in (from..from + count).map_while(|index| batch.get(index)) {
                state_key::append(keys, record.group, state, record.key);
                ends.push(keys.len());
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let mut keys = starts.zip(&*ends).map(|(start, end)| keys.get(start..*end).unwrap_or_default());
            self.backend.borrow().prefetch(&mut keys, access);
        }
    }

    /// Takes what records have emitted so far.
    pub fn take_outputs(&self) -> Vec<Out> {
        std::mem::take(&mut *self.outputs.borrow_mut())
    }

    /// Whether a record wrote or emitted since the last call.
    #[inline]
    pub fn take_effect(&self) -> bool {
        self.effect.replace(false)
    }

    /// Says with which waker the controller polls, so that futures need not store it.
    pub fn set_waker(&self, waker: &Waker) {
        let mut own = self.reads.own.borrow_mut();
        if own.as_ref().is_none_or(|own| !own.will_wake(waker)) {
            *own = Some(waker.clone());
        }
    }

    /// Reads in the batch being formed.
    #[inline]
    pub fn batch_len(&self) -> usize {
        self.reads.table.borrow().batch_len()
    }

    /// Closes the batch being formed; the caller submits it.
    pub fn take_batch(&self) -> ReadBatch {
        self.reads.table.borrow_mut().take_batch()
    }

    /// Reads that are not answered.
    pub fn outstanding_reads(&self) -> usize {
        self.reads.table.borrow().outstanding()
    }

    /// Reads a page for a record, or for whoever polls with a waker of its own.
    fn read_page<T>(
        &self,
        slot: RecordSlot,
        request: PageRequest<'_>,
        decode: fn(Option<&[u8]>) -> Result<T>,
    ) -> StateFuture<T> {
        match self.backend.borrow().try_page(request) {
            Ok(Lookup::Hit(page)) => StateFuture::ready(decode(Some(page.as_ref()))),
            Ok(Lookup::Absent) => StateFuture::ready(decode(None)),
            Ok(Lookup::Miss) => {
                let id = self.reads.table.borrow_mut().request_page(slot, request);
                StateFuture::waiting(Rc::clone(&self.reads), id, decode)
            }
            Err(error) => StateFuture::ready(Err(error)),
        }
    }

    /// Takes the answers that have arrived and names the records that can run on.
    ///
    /// # Errors
    /// What the backend cannot survive: a failed flush, a lost store.
    pub fn poll_backend(&self, runnable: &mut dyn FnMut(RecordSlot)) -> Result<()> {
        let mut table = self.reads.table.borrow_mut();
        self.backend.borrow_mut().poll(&mut |id, answer| {
            if let Some(record) = table.complete(id, answer) {
                runnable(record);
            }
        })
    }
}

/// One running record: its key, its outputs, its way to state. Made by the controller, lent to user code.
pub struct Context<Out> {
    task: Rc<TaskContext<Out>>,
    batch: Rc<RecordBatch>,
    index: usize,
    slot: RecordSlot,
    /// It is of a timer that runs, and has done nothing yet: the timer is still in state.
    timer: Cell<bool>,
}

impl<Out> Context<Out> {
    /// The context of record `index` of a batch, running in `slot`.
    #[inline]
    pub fn new(task: Rc<TaskContext<Out>>, batch: Rc<RecordBatch>, index: usize, slot: RecordSlot) -> Self {
        Self { task, batch, index, slot, timer: Cell::new(false) }
    }

    #[inline]
    fn record(&self) -> RecordRef<'_> {
        const NONE: RecordRef<'static> =
            RecordRef { hash: 0, group: crate::KeyGroup(0), key: &[], value: &[] };
        self.batch.get(self.index).unwrap_or(NONE)
    }

    /// The record's key.
    ///
    /// # Errors
    /// `Corruption` if the key was encoded by another codec.
    pub fn key<K: KeyCodec + ?Sized>(&self) -> Result<K::Owned> {
        K::decode_key(self.record().key)
    }

    /// Sends a result downstream.
    pub fn emit(&self, out: Out) {
        self.effect();
        self.task.outputs.borrow_mut().push(out);
    }

    /// Something is about to be written or emitted.
    #[inline]
    pub(crate) fn effect(&self) {
        if self.timer.get() {
            self.leave_state();
        }
        self.task.effect.set(true);
    }

    /// The record's key in a namespace of it, for states that are registered with [`States::in_namespaces`](crate::States::in_namespaces).
    #[inline]
    pub fn in_namespace<'a, 'n, N: KeyCodec + ?Sized>(
        &'a self,
        namespace: &'n N,
    ) -> InNamespace<'a, 'n, Out, N> {
        InNamespace::new(self, namespace)
    }

    /// Writes a state key.
    #[inline]
    pub(crate) fn build_key<'a>(place: impl Place<'a, Out = Out>, state: StateId, key: &mut Vec<u8>)
    where
        Out: 'a,
    {
        let record = place.context().record();
        state_key::build(key, record.group, state, record.key);
        place.append(key);
    }

    /// Reads a value.
    #[inline]
    pub(crate) fn read<'a, T>(
        place: impl Place<'a, Out = Out>,
        state: StateId,
        decode: fn(Option<&[u8]>) -> Result<T>,
    ) -> StateFuture<T>
    where
        Out: 'a,
    {
        let ctx = place.context();
        let task = &*ctx.task;
        let mut scratch = task.scratch.borrow_mut();
        mark(&task.reads_of, place, state);
        Self::build_key(place, state, &mut scratch.key);
        match task.backend.borrow().try_get(&scratch.key) {
            Ok(Lookup::Hit(value)) => StateFuture::ready(decode(Some(value.as_ref()))),
            Ok(Lookup::Absent) => StateFuture::ready(decode(None)),
            Ok(Lookup::Miss) => {
                let id = task.reads.table.borrow_mut().request(ctx.slot, &scratch.key);
                StateFuture::waiting(Rc::clone(&task.reads), id, decode)
            }
            Err(error) => StateFuture::ready(Err(error)),
        }
    }

    /// Reads a page.
    pub(crate) fn read_page<T>(
        &self,
        request: PageRequest<'_>,
        decode: fn(Option<&[u8]>) -> Result<T>,
    ) -> StateFuture<T> {
        self.task.read_page(self.slot, request, decode)
    }

    /// Writes a value: encodes with `encode`, then hands key and value to `write`.
    #[inline]
    pub(crate) fn write<'a>(
        place: impl Place<'a, Out = Out>,
        state: StateId,
        encode: impl FnOnce(&mut Vec<u8>),
        write: impl FnOnce(&mut dyn KeyedStateBackend, &[u8], &[u8]) -> Result<()>,
    ) -> Result<()>
    where
        Out: 'a,
    {
        place.context().effect();
        let task = &*place.context().task;
        let mut scratch = task.scratch.borrow_mut();
        let Scratch { key, value } = &mut *scratch;
        Self::build_key(place, state, key);
        value.clear();
        encode(value);
        mark(&task.writes_of, place, state);
        write(task.backend.borrow_mut().as_mut(), key, value)
    }
}

/// Remembers that a state is used. Only keys that stand alone can be told before their record runs.
#[inline]
fn mark<'a, P: Place<'a>>(used: &Cell<u64>, _: P, state: StateId) {
    if P::IS_KEY {
        used.set(used.get() | bit(state));
    }
}
