//! What a prelude gains: `cargo bench -p alluvium-async-exec --bench preludes`.
//!
//! Every record asks a service that answers after ten milliseconds, however many ask, then counts in state that is resident.
//! Once the function awaits the service in its turn, once in a prelude; the fewer keys there are, the more it differs.
#![expect(clippy::cast_precision_loss, reason = "figures of a bench are far below 2^52")]
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, controller};
use alluvium_env::{Clock, Entropy, Result, SystemClock};
use alluvium_state_api::{
    Codec, Context, HeapBackend, KeyedProcess, MaxParallelism, Prepared, PreparedProcess, RecordBatch,
    RecordBatchBuilder, RecordKey, TaskContext, ValueState,
};

const LATENCY: Duration = Duration::from_millis(10);
const LASTING: Duration = Duration::from_millis(1_500);
const BATCH_RECORDS: usize = 500;

/// Who waits for an answer, in the order of asking, which is that of answering.
struct Service {
    clock: SystemClock,
    now: Cell<Duration>,
    asked: RefCell<VecDeque<(Duration, Waker)>>,
}

impl Service {
    async fn ask(&self) {
        let due = self.now.get() + LATENCY;
        poll_fn(|cx| {
            if self.now.get() >= due {
                return Poll::Ready(());
            }
            self.asked.borrow_mut().push_back((due, cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    fn answer(&self) {
        self.now.set(self.clock.monotonic());
        let mut asked = self.asked.borrow_mut();
        while asked.front().is_some_and(|(due, _)| *due <= self.now.get()) {
            asked.pop_front().into_iter().for_each(|(_, waker)| waker.wake());
        }
    }
}

/// Awaits the service in its turn.
struct Strict(Counts);

struct Counts {
    service: Rc<Service>,
    seen: ValueState<u64>,
}

impl Counts {
    async fn count(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + times))
    }
}

impl KeyedProcess for Strict {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.0.service.ask().await;
        self.0.count(times, ctx).await
    }
}

impl KeyedProcess for Counts {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.count(times, ctx).await
    }
}

impl PreparedProcess for Counts {
    type Raw = u64;
    async fn prepare(&self, times: u64, _: RecordKey<'_>) -> Result<u64> {
        self.service.ask().await;
        Ok(times)
    }
}

fn batch(keys: u64, entropy: &Entropy) -> Rc<RecordBatch> {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    (0..BATCH_RECORDS).for_each(|_| builder.push(&(entropy.next_u64() % keys), &1_u64));
    Rc::new(builder.finish())
}

/// Records a second.
fn throughput<P>(keys: u64, make: impl FnOnce(Counts) -> P) -> Result<f64>
where
    P: KeyedProcess<In: Codec, Out = ()>,
{
    let (clock, entropy) = (SystemClock::new(), Entropy::from_seed(1));
    let service = Rc::new(Service { clock, now: Cell::default(), asked: RefCell::default() });
    let task = Rc::new(TaskContext::new(Box::new(HeapBackend::default())));
    let counts = Counts { service: Rc::clone(&service), seen: task.states().value("seen")? };
    // Hot keys may have a long line: what limits them is their share of the preludes.
    let settings = ControllerSettings { max_in_flight_bytes: 64 << 20, ..ControllerSettings::default() };
    let mut controller = controller(Rc::new(make(counts)), task, settings, Arc::new(|| ()));
    let (mut records, mut next) = (batch(keys, &entropy), 0);
    loop {
        service.answer();
        controller.poll()?;
        let now = service.now.get();
        if now >= LASTING {
            return Ok(controller.stats().records as f64 / now.as_secs_f64());
        }
        if controller.admits() {
            if next == records.len() {
                (records, next) = (batch(keys, &entropy), 0);
            }
            next = controller.run_batch(&records, next)?;
        }
    }
}

fn run() -> Result<()> {
    println!(
        "records that ask a service {LATENCY:?} away, then count: awaited in their turn, and in a prelude"
    );
    for keys in [1, 10, 100, 10_000] {
        let (strict, ahead) = (throughput(keys, Strict)?, throughput(keys, Prepared::new)?);
        println!("  {keys} keys: {strict:.0}/s and {ahead:.0}/s, {:.1} x", ahead / strict);
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
