//! Timers as records see them, and as whoever runs records does: what of [`Context`] and [`TaskContext`] is about time.
//!
//! **Invariants**: state and the queues change together, so what a queue does not hold is in state, and the other way round
//! nothing is in a queue that is not.
use std::cell::Cell;
use std::rc::Rc;

use alluvium_env::{Error, Result};

use super::{Context, Scratch, TaskContext};
use crate::scope::{InNamespace, Place};
use crate::timers::{KeyLength, TimerLimits, TimerQueue, build_key, decode_record, timer_within};
use crate::{
    Codec, KeyCodec, KeyGroupRange, MaxParallelism, RecordBatch, RecordBatchBuilder, RecordSlot,
    StateDescriptor, StateKind, TimeDomain, Timer, Timestamp,
};

/// The slot of pages that no record reads: their reader is found by its waker.
const NO_RECORD: RecordSlot = RecordSlot(u32::MAX);

impl<Out> TaskContext<Out> {
    /// Opens the timers of these key groups: those of the restored checkpoint, and those that records register from now on.
    /// To be called for a function that [uses timers](crate::KeyedProcess::USES_TIMERS), when it has opened its states.
    ///
    /// # Errors
    /// `Invalid` if a state of its name is something else.
    pub fn open_timers(&self, key_groups: KeyGroupRange) -> Result<()> {
        let count = usize::from(key_groups.end.saturating_sub(key_groups.start));
        self.open_timers_within(key_groups, TimerLimits::of(count))
    }

    /// As [`TaskContext::open_timers`], with this many in memory.
    pub(crate) fn open_timers_within(&self, key_groups: KeyGroupRange, limits: TimerLimits) -> Result<()> {
        let open = |domain: TimeDomain| {
            let state = StateDescriptor::new(domain.state_name(), StateKind::Map).with_codec::<KeyLength>();
            let id = self.backend.borrow_mut().register(&state)?;
            Ok(TimerQueue::new(domain, id, key_groups, limits))
        };
        *self.timers.borrow_mut() = TimeDomain::ALL.into_iter().map(open).collect::<Result<_>>()?;
        Ok(())
    }

    /// The last watermark; [`Timestamp::MIN`] before the first.
    pub fn watermark(&self) -> Timestamp {
        self.watermark.get()
    }

    /// Event time has come to `watermark`. It never goes back: an earlier one changes nothing.
    pub fn advance_watermark(&self, watermark: Timestamp) {
        self.watermark.set(self.watermark.get().max(watermark));
    }

    /// What the clock shows.
    pub fn processing_time(&self) -> Timestamp {
        Timestamp(i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX))
    }

    /// What time it is in a domain.
    fn time(&self, domain: TimeDomain) -> Timestamp {
        match domain {
            TimeDomain::EventTime => self.watermark(),
            TimeDomain::ProcessingTime => self.processing_time(),
        }
    }

    /// Takes at most `most` timers that are due, as records whose [`Context::begin_timer`] says which timer they are, and
    /// says whether others may be: they did not fit, or are being read. Of one key they come in the order of their times; in
    /// which order others come depends on what is in memory. Reads join the batch being formed, and their answers are noticed
    /// by the next call.
    ///
    /// Every record is to be run, or dropped with the whole task: until it begins, its timer is still in state.
    ///
    /// # Errors
    /// The backend's; `Corruption` if a timer cannot be decoded.
    pub fn take_due_timers(&self, domain: TimeDomain, most: usize) -> Result<(RecordBatch, bool)> {
        let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        let until = self.time(domain);
        let read = |request: crate::PageRequest<'_>| {
            self.read_page(NO_RECORD, request, |page| Ok(page.unwrap_or_default().to_vec()))
        };
        let mut timers = self.timers.borrow_mut();
        let Some(queue) = timers.iter_mut().find(|queue| queue.domain() == domain) else {
            return Ok((batch.finish(), false));
        };
        let more = queue.take_due(until, most, &mut batch, &read)?;
        Ok((batch.finish(), more))
    }

    /// The moment before which no timer of a domain is due; `None` if there are none, or what comes next is being read.
    pub fn next_timer(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.timers.borrow().iter().find(|queue| queue.domain() == domain).and_then(TimerQueue::not_before)
    }

    /// How many timers are in memory. It is bounded, however many are in state.
    pub fn timers_in_memory(&self) -> usize {
        self.timers.borrow().iter().map(TimerQueue::in_memory).sum()
    }
}

/// The codec of the namespaces in which the timers of a function are, once there are any.
#[derive(Default)]
pub(super) struct TimerNamespaces(Cell<Option<&'static str>>);

impl TimerNamespaces {
    /// A timer keeps no more than the bytes of its namespace, so those of two types could not be told apart when they fire.
    #[inline]
    fn only(&self, codec: &'static str) -> Result<()> {
        match self.0.get() {
            None => self.0.set(Some(codec)),
            Some(known) if known == codec => {}
            Some(known) => {
                return Err(Error::invalid(format!(
                    "a function has timers in namespaces of {known} and of {codec}, which it could not tell apart when they \
                     fire: give its timers one type of namespaces, one that says which it is"
                )));
            }
        }
        Ok(())
    }
}

/// What happens to a timer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Register,
    Delete,
}

impl<Out> Context<Out> {
    /// Asks for a call of [`KeyedProcess::on_timer`](crate::KeyedProcess::on_timer) with this record's key, when the
    /// watermark has come to `at`; if it has already, with the next watermark, or with this one if one of its timers asks.
    /// A key and namespace has one timer a moment, however often it is registered. Done when it returns, and never reads.
    ///
    /// A timer that always registers another keeps the last watermark, [`Timestamp::MAX`], from being done, and the job from
    /// ending with its input: it must stop registering once [`current_watermark`](Self::current_watermark) says so.
    ///
    /// # Errors
    /// `Invalid` if the function does not say that it [uses timers](crate::KeyedProcess::USES_TIMERS), or the key is too
    /// large for the backend.
    pub fn register_event_timer(&self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::EventTime, at, Change::Register)
    }

    /// Takes back what [`register_event_timer`](Self::register_event_timer) asked for; nothing happens if that was not
    /// asked for, or the timer has fired. Done when it returns, and never reads.
    ///
    /// # Errors
    /// As for [`register_event_timer`](Self::register_event_timer).
    pub fn delete_event_timer(&self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::EventTime, at, Change::Delete)
    }

    /// As [`register_event_timer`](Self::register_event_timer), by the job's clock.
    ///
    /// # Errors
    /// As for [`register_event_timer`](Self::register_event_timer).
    pub fn register_processing_timer(&self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::ProcessingTime, at, Change::Register)
    }

    /// As [`delete_event_timer`](Self::delete_event_timer), by the job's clock.
    ///
    /// # Errors
    /// As for [`register_event_timer`](Self::register_event_timer).
    pub fn delete_processing_timer(&self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::ProcessingTime, at, Change::Delete)
    }

    /// The watermark: no record of an earlier event time is expected. [`Timestamp::MIN`] until there has been one, also
    /// after a restore; [`Timestamp::MAX`] once the input has ended.
    pub fn current_watermark(&self) -> Timestamp {
        self.task.watermark()
    }

    /// What the job's clock shows.
    pub fn current_processing_time(&self) -> Timestamp {
        self.task.processing_time()
    }

    /// For a record of [`TaskContext::take_due_timers`], to be called before anything else happens to it: the timer that is
    /// to run, or `None` if it was deleted since. It leaves state with the first thing it does, a write or an output, or by
    /// [`end_timer`](Self::end_timer); so a checkpoint that is taken before holds it.
    ///
    /// # Errors
    /// `Invalid` if the record is no timer.
    pub fn begin_timer(&self) -> Result<Option<Timer>> {
        let group = self.record().group;
        let runs = self.with_timer(|queue, key| Ok(queue.is_taken(group, timer_within(key)?)))?;
        self.timer.set(runs);
        runs.then(|| decode_record(self.record().value).map(Timer::of)).transpose()
    }

    /// The timer has run.
    ///
    /// # Errors
    /// The backend's, if the timer could not leave state.
    pub fn end_timer(&self) -> Result<()> {
        self.effect();
        self.task.stuck_timer.take().map_or(Ok(()), Err)
    }

    /// Takes the timer that runs out of state.
    #[cold]
    pub(super) fn leave_state(&self) {
        self.timer.set(false);
        if let Err(error) = self.remove_timer() {
            self.task.stuck_timer.set(Some(error));
        }
    }

    fn remove_timer(&self) -> Result<()> {
        let group = self.record().group;
        self.with_timer(|queue, key| {
            self.task.backend.borrow_mut().delete(key)?;
            queue.deleted(group, timer_within(key)?);
            Ok(())
        })
    }

    /// Hands on the state key of the timer that this record is, and the queue it is of.
    fn with_timer<R>(&self, act: impl FnOnce(&mut TimerQueue, &[u8]) -> Result<R>) -> Result<R> {
        let record = self.record();
        let (domain, time, namespace) = decode_record(record.value)?;
        let mut timers = self.task.timers.borrow_mut();
        let queue = timers.iter_mut().find(|queue| queue.domain() == domain).ok_or_else(unused)?;
        let Scratch { key, .. } = &mut *self.task.scratch.borrow_mut();
        build_key(key, (record.group, queue.state()), time, record.key);
        key.extend_from_slice(namespace);
        act(queue, key)
    }

    /// The context of every record of a batch that [`TaskContext::take_due_timers`] made, for those who run timers without a
    /// controller.
    pub(crate) fn of_batch(task: &Rc<TaskContext<Out>>, batch: RecordBatch) -> impl Iterator<Item = Self> {
        let (task, batch) = (Rc::clone(task), Rc::new(batch));
        let contexts = 0..batch.len();
        contexts.map(move |index| Self::new(Rc::clone(&task), Rc::clone(&batch), index, RecordSlot(0)))
    }
}

/// Timers of a namespace; see the methods of the same names of [`Context`].
impl<Out, N: KeyCodec + ?Sized> InNamespace<'_, '_, Out, N> {
    /// As [`Context::register_event_timer`]; the timer [tells](Timer::namespace) its namespace.
    ///
    /// # Errors
    /// As for [`Context::register_event_timer`]; `Invalid` if the function has timers in namespaces of another type.
    pub fn register_event_timer(self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::EventTime, at, Change::Register)
    }

    /// As [`Context::delete_event_timer`].
    ///
    /// # Errors
    /// As for [`Context::register_event_timer`].
    pub fn delete_event_timer(self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::EventTime, at, Change::Delete)
    }

    /// As [`Context::register_processing_timer`]; the timer [tells](Timer::namespace) its namespace.
    ///
    /// # Errors
    /// As for [`Context::register_event_timer`].
    pub fn register_processing_timer(self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::ProcessingTime, at, Change::Register)
    }

    /// As [`Context::delete_processing_timer`].
    ///
    /// # Errors
    /// As for [`Context::register_event_timer`].
    pub fn delete_processing_timer(self, at: Timestamp) -> Result<()> {
        change(self, TimeDomain::ProcessingTime, at, Change::Delete)
    }
}

fn unused() -> Error {
    Error::invalid(
        "a function that uses timers must say so: `const USES_TIMERS: bool = true` in its `KeyedProcess`",
    )
}

fn change<'a, P: Place<'a>>(place: P, domain: TimeDomain, at: Timestamp, change: Change) -> Result<()> {
    let context = place.context();
    context.effect();
    let (task, record) = (&*context.task, context.record());
    if let Some(namespace) = P::NAMESPACE {
        task.apart.namespaces_of_timers.only(namespace)?;
    }
    let mut timers = task.timers.borrow_mut();
    let queue = timers.iter_mut().find(|queue| queue.domain() == domain).ok_or_else(unused)?;
    let mut scratch = task.scratch.borrow_mut();
    let Scratch { key, value } = &mut *scratch;
    build_key(key, (record.group, queue.state()), at, record.key);
    place.append(key);
    let timer = timer_within(key)?;
    match change {
        Change::Register => {
            // Keys of batches end at offsets of four bytes.
            let length = record.key.len() as u32;
            value.clear();
            KeyLength(length).encode(value);
            task.backend.borrow_mut().put(key, value)?;
            queue.registered(record.group, timer, length);
        }
        Change::Delete => {
            task.backend.borrow_mut().delete(key)?;
            queue.deleted(record.group, timer);
        }
    }
    Ok(())
}
