//! Runs a keyed function over some records on the heap backend: for tests of functions, and for the examples of these pages.
//! Jobs run on the controller of `alluvium-async-exec`.
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use alluvium_env::{Error, Result};

use crate::{
    BroadcastContext, BroadcastProcess, Codec, Context, HeapBackend, KeyCodec, KeyGroupRange, KeyedProcess,
    MaxParallelism, RecordBatchBuilder, RecordSlot, States, TaskContext, TimeDomain, Timestamp,
};

/// Timers that are taken at a time.
const TIMERS: usize = 64;

/// Opens a function and gives it records one after the other; returns what it emits. The watermark stays where it is until
/// all records have run; then the input has ended, and every timer of event time fires.
///
/// # Errors
/// What opening or a record returned; `Invalid` if a record waits for anything but state.
pub fn run<P: KeyedProcess<In: Codec>, K: KeyCodec>(
    open: impl FnOnce(&States<'_>) -> Result<P>,
    records: impl IntoIterator<Item = (K, P::In)>,
) -> Result<Vec<P::Out>> {
    let (task, process) = opened(open)?;
    run_records(&task, &process, records)
}

/// As [`run`], after elements of the broadcast side.
///
/// # Errors
/// As [`run`], or what an element returned.
pub fn run_with_broadcast<P: BroadcastProcess<In: Codec>, K: KeyCodec>(
    open: impl FnOnce(&States<'_>) -> Result<P>,
    elements: impl IntoIterator<Item = P::Broadcast>,
    records: impl IntoIterator<Item = (K, P::In)>,
) -> Result<Vec<P::Out>> {
    let (task, process) = opened(open)?;
    let ctx = BroadcastContext::new(&task);
    elements.into_iter().try_for_each(|element| process.process_broadcast(element, &ctx))?;
    run_records(&task, &process, records)
}

fn opened<P: KeyedProcess>(
    open: impl FnOnce(&States<'_>) -> Result<P>,
) -> Result<(Rc<TaskContext<P::Out>>, P)> {
    let task = Rc::new(TaskContext::new(Box::new(HeapBackend::default())));
    let process = open(&task.states())?;
    task.opened::<P>(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() })?;
    Ok((task, process))
}

fn run_records<P: KeyedProcess<In: Codec>, K: KeyCodec>(
    task: &Rc<TaskContext<P::Out>>,
    process: &P,
    records: impl IntoIterator<Item = (K, P::In)>,
) -> Result<Vec<P::Out>> {
    let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    for (key, record) in records {
        batch.push(&key, &record);
    }
    let batch = Rc::new(batch.finish());
    for index in 0..batch.len() {
        let record = batch.get(index).map(|record| P::In::decode(record.value)).transpose()?;
        let Some(record) = record else { continue };
        let ctx = Context::new(Rc::clone(task), Rc::clone(&batch), index, RecordSlot(0));
        block_on(process.process(record, &ctx))?;
    }
    task.advance_watermark(Timestamp::MAX);
    let (mut due, mut more) = task.take_due_timers(TimeDomain::EventTime, TIMERS)?;
    while more || !due.is_empty() {
        for ctx in Context::of_batch(task, due) {
            if let Some(timer) = ctx.begin_timer()? {
                block_on(process.on_timer(timer, &ctx))?;
                ctx.end_timer()?;
            }
        }
        (due, more) = task.take_due_timers(TimeDomain::EventTime, TIMERS)?;
    }
    Ok(task.take_outputs())
}

/// The result of a future that waits for nothing but what memory answers.
///
/// # Errors
/// The future's; `Invalid` if it waits for anything else.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(Error::invalid("a future waits for something that is not in memory")),
    }
}
