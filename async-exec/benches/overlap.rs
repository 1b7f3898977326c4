//! What the controller hides of a store's latency: `cargo bench -p alluvium-async-exec --bench overlap [-- TABLE ...]`.
//!
//! A backend that keeps nothing in memory answers each batch a fixed time after it was submitted. Four tables:
//! `overlap`, the throughput of records that read once, against the limit in flight divided by the latency; `lone`, the
//! latency of a record that comes alone; `barrier`, how long a task stands still at a barrier with all slots in flight;
//! `epochs`, parallel ones against serial ones. The task thread spins where it would sleep, but for the lone record,
//! which waits for the mailbox's bell.
#![expect(clippy::cast_precision_loss, reason = "figures of a bench are far below 2^52")]
use std::borrow::Cow;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use alluvium_async_exec::{
    AsyncExecutionController, ControllerSettings, EpochMode, Kept, StartRecord, controller_with_events,
    mailbox,
};
use alluvium_env::{Clock, Entropy, Error, Result, SystemClock, spawn_thread};
use alluvium_state_api::{
    Answered, BackendStats, CheckpointId, Context, KeyGroupRange, KeyedProcess, KeyedStateBackend, Lookup,
    MaxParallelism, Notify, PageBuilder, PageRequest, ReadBatch, ReadId, RecordBatch, RecordBatchBuilder,
    RecordSlot, SnapshotTask, StateDescriptor, StateId, StateScan, TaskContext, TimeDomain, Timer, Timestamp,
    ValueState,
};

const BATCH_RECORDS: usize = 500;
const MILLI: Duration = Duration::from_millis(1);

/// Answers every read when its time has come, with nothing; what is written is not kept, since keeping it would cost more
/// than the controller.
struct FarBackend {
    clock: Arc<SystemClock>,
    latency: Duration,
    pending: VecDeque<(Duration, Vec<ReadId>)>,
    /// Who rings the bell when answers are due; without it the task spins.
    alarm: Option<Sender<Duration>>,
}

impl KeyedStateBackend for FarBackend {
    fn register(&mut self, _: &StateDescriptor) -> Result<StateId> {
        Ok(StateId(0))
    }

    fn try_get(&self, _: &[u8]) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }

    fn put(&mut self, _: &[u8], _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn merge(&mut self, _: &[u8], _: &[u8]) -> Result<()> {
        Err(Error::internal("not measured"))
    }

    fn delete(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn delete_prefix(&mut self, _: &[u8]) -> Result<()> {
        Err(Error::internal("not measured"))
    }

    /// There are no entries: so few timers stay in memory.
    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        Ok(Lookup::Hit(Cow::Owned(PageBuilder::new(request.limit).finish(false))))
    }

    fn submit(&mut self, batch: ReadBatch) {
        let due = self.clock.monotonic() + self.latency;
        self.pending.push_back((due, batch.iter().map(|(id, _)| id).collect()));
        if let Some(alarm) = &self.alarm {
            // The thread is there as long as the backend is.
            let _ = alarm.send(due);
        }
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        let now = self.clock.monotonic();
        while self.pending.front().is_some_and(|(due, _)| *due <= now) {
            let (_, reads) = self.pending.pop_front().unwrap_or_default();
            for id in reads {
                answered(id, Ok(None));
            }
        }
        Ok(())
    }

    fn admits(&self) -> bool {
        true
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<SnapshotTask> {
        Err(Error::internal("not measured"))
    }

    fn scan(&mut self, _: StateId) -> Result<Box<dyn StateScan>> {
        Err(Error::internal("not measured"))
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}

/// Rings `bell` at each time it is told, until nobody tells it any more.
fn ring(clock: &SystemClock, due: &Receiver<Duration>, bell: &Notify) {
    // Nobody sends on this one: waiting for it is sleeping.
    let (_nobody, never) = mpsc::channel::<()>();
    while let Ok(due) = due.recv() {
        while let Some(left) = due.checked_sub(clock.monotonic()).filter(|left| !left.is_zero()) {
            if never.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
        bell();
    }
}

/// A record reads and writes; a timer reads three times, one after the other, as one does that merges windows.
struct Count {
    seen: ValueState<u64>,
}

impl KeyedProcess for Count {
    type In = u64;
    type Out = ();
    const USES_TIMERS: bool = true;

    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + times))
    }

    async fn on_timer(&self, _: Timer, ctx: &Context<()>) -> Result<()> {
        for _ in 0..3 {
            self.seen.get(ctx).await?;
        }
        Ok(())
    }
}

/// What a case differs in.
struct Case {
    latency: Duration,
    settings: ControllerSettings,
    keys: u64,
}

fn far(
    case: &Case,
    clock: &Arc<SystemClock>,
    (alarm, bell): (Option<Sender<Duration>>, Notify),
) -> Result<AsyncExecutionController<Count, impl StartRecord<Count> + use<>, u64>> {
    let backend =
        FarBackend { clock: Arc::clone(clock), latency: case.latency, pending: VecDeque::new(), alarm };
    let task = Rc::new(TaskContext::new(Box::new(backend)));
    let seen = task.states().value("seen")?;
    task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() })?;
    task.advance_watermark(Timestamp::MAX);
    // From now on it is known that state has none.
    task.take_due_timers(TimeDomain::EventTime, 1)?;
    Ok(controller_with_events(Rc::new(Count { seen }), task, case.settings.clone(), bell))
}

/// Random keys, in batches.
struct Input {
    builder: RecordBatchBuilder,
    entropy: Entropy,
    keys: u64,
}

impl Input {
    fn new(keys: u64) -> Self {
        let builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        Self { builder, entropy: Entropy::from_seed(1), keys }
    }

    fn batch(&mut self, records: usize) -> Rc<RecordBatch> {
        for _ in 0..records {
            self.builder.push(&(self.entropy.next_u64() % self.keys), &1_u64);
        }
        Rc::new(self.builder.finish())
    }
}

/// Timers of a batch's keys that are due, each for a time of its own.
fn due(task: &Rc<TaskContext<()>>, batch: &Rc<RecordBatch>, round: u64) -> Result<Rc<RecordBatch>> {
    let first = (round * batch.len() as u64).cast_signed();
    for (index, at) in (0..batch.len()).zip(first..) {
        let ctx = Context::new(Rc::clone(task), Rc::clone(batch), index, RecordSlot(0));
        ctx.register_event_timer(Timestamp(at))?;
    }
    Ok(Rc::new(task.take_due_timers(TimeDomain::EventTime, batch.len())?.0))
}

/// Records a second that end within `lasting`, with a watermark every `watermarks`, if any, that fires `timers` timers.
fn throughput(case: &Case, lasting: Duration, watermarks: Option<(Duration, usize)>) -> Result<f64> {
    let clock = Arc::new(SystemClock::new());
    let mut controller = far(case, &clock, (None, Arc::new(|| ())))?;
    let (mut input, mut timers) = (Input::new(case.keys), Input::new(case.keys));
    let (mut batch, mut next) = (input.batch(BATCH_RECORDS), 0);
    // The first round trip has nothing to overlap with.
    let begin = clock.monotonic() + case.latency * 2;
    let (mut epoch, mut before, mut watermark) = (begin, None, 0);
    // The timers of the watermark that is acted upon.
    let mut firing: Option<(u64, Rc<RecordBatch>, usize)> = None;
    loop {
        controller.poll()?;
        while let Some(acting) = controller.ended().copied() {
            let taken = firing.take().filter(|(of, ..)| *of == acting);
            let (_, due, from) = if let Some(taken) = taken {
                taken
            } else {
                let keys = timers.batch(watermarks.map_or(0, |(_, timers)| timers));
                (acting, due(controller.task(), &keys, acting)?, 0)
            };
            let from = controller.run_timers(&due, from)?;
            if from == due.len() && controller.ended().is_some() {
                controller.take_ended();
                continue;
            }
            firing = Some((acting, due, from));
            if controller.ended().is_some() {
                break;
            }
        }
        let now = clock.monotonic();
        if now >= begin + lasting {
            let records = controller.stats().records - before.unwrap_or(0);
            return Ok(records as f64 / now.saturating_sub(begin).as_secs_f64());
        }
        if now >= begin && before.is_none() {
            before = Some(controller.stats().records);
        }
        if !controller.admits() {
            controller.flush_behind();
        } else if let Some((every, _)) = watermarks.filter(|(every, _)| now >= epoch + *every) {
            epoch = now.max(epoch + every);
            controller.close_epoch(watermark);
            watermark += 1;
        } else {
            if next == batch.len() {
                (batch, next) = (input.batch(BATCH_RECORDS), 0);
            }
            next = controller.run_batch(&batch, next)?;
        }
    }
}

fn overlap() -> Result<()> {
    println!("records that read once, all keys cold: throughput against in flight / latency");
    for (micros, in_flight) in [(100, 32), (1_500, 512), (10_000, 3_000), (25_000, 6_000)] {
        let latency = Duration::from_micros(micros);
        let settings = ControllerSettings {
            max_in_flight: in_flight,
            batch_reads: in_flight.min(ControllerSettings::DEFAULT_BATCH_READS),
            ..ControllerSettings::default()
        };
        let case = Case { latency, settings, keys: 1 << 40 };
        let reached = throughput(&case, Duration::from_millis(1_500), None)?;
        let limit = in_flight as f64 / latency.as_secs_f64();
        let share = reached / limit * 100.0;
        println!("  {latency:?}, {in_flight} in flight: {reached:.0}/s of {limit:.0}/s, {share:.0} %");
    }
    Ok(())
}

/// Records that come one at a time and sleep for the bell, as a task does.
fn lone() -> Result<()> {
    println!("a record that comes alone: its end behind one round trip");
    for micros in [100, 1_500, 10_000, 25_000] {
        let latency = Duration::from_micros(micros);
        let case = Case { latency, settings: ControllerSettings::default(), keys: 1 << 40 };
        let clock = Arc::new(SystemClock::new());
        let (_senders, mut inbox) = mailbox::<()>(1, 1);
        let (alarm, due) = channel();
        let (ticking, bell) = (Arc::clone(&clock), inbox.bell());
        let thread = spawn_thread("alarm", move || ring(&ticking, &due, &bell))
            .map_err(|e| Error::internal("no thread").with_source(e))?;
        let mut controller = far(&case, &clock, (Some(alarm), inbox.bell()))?;
        let (mut input, mut behind) = (Input::new(case.keys), Vec::new());
        for _ in 0..100 {
            let start = clock.monotonic();
            controller.run_batch(&input.batch(1), 0)?;
            while controller.in_flight() > 0 {
                controller.flush();
                inbox.wait_for_bell()?;
                controller.poll()?;
            }
            behind.push(clock.monotonic().saturating_sub(start + latency));
        }
        behind.sort_unstable();
        let at = |share: usize| behind.get(share).copied().unwrap_or_default();
        println!("  {latency:?}: p50 +{:?}, p99 +{:?}", at(50), at(98));
        drop(controller);
        let _ = thread.join();
    }
    Ok(())
}

fn barrier() -> Result<()> {
    let case = Case { latency: 100 * MILLI, settings: ControllerSettings::default(), keys: 1 << 40 };
    let clock = Arc::new(SystemClock::new());
    let mut controller = far(&case, &clock, (None, Arc::new(|| ())))?;
    let (mut input, mut longest, mut most) = (Input::new(case.keys), Duration::ZERO, 0);
    for _ in 0..50 {
        while controller.admits() {
            controller.run_batch(&input.batch(BATCH_RECORDS), 0)?;
        }
        controller.flush();
        let start = clock.monotonic();
        controller.begin_barrier();
        while !controller.barrier_reached() {
            controller.poll()?;
        }
        let (mut inputs, mut kept) = (Vec::new(), 0);
        controller.keep(|input| {
            if let Kept::Record(record) = input {
                record.write_to(&mut inputs);
                kept += 1;
            }
        });
        controller.end_barrier();
        longest = longest.max(clock.monotonic().saturating_sub(start));
        most = most.max(kept);
        while controller.in_flight() == kept {
            controller.poll()?;
        }
    }
    println!(
        "barriers at {:?}, {most} inputs kept: the task stood still for {longest:?} at most",
        case.latency
    );
    Ok(())
}

/// What serial epochs can lose at most, with W = 200 ms between watermarks, L = 25 ms and N = 6000 in flight:
///
/// - *Records that read once and never meet.* A watermark keeps new records out until those in flight have ended, which is one
///   L at most. If they were spread over it, W / (W - L) = 1.14 would be lost in serial epochs. They are not: the first drain lets all
///   N begin together, with one latency they end together, and so they go on, in W / L = 8 rounds. A watermark then loses only the
///   time in which a round is admitted, a few milliseconds of W: 1.02.
/// - *A watermark fires T = 2,000 timers, each of which reads r = 3 times.* Serially no record runs for r L = 75 ms, which leaves
///   1 - r L / W = 0.625 of N / L. In parallel the timers only take slots, T r L of N W, which leaves 0.875. 0.875 / 0.625 = 1.40.
/// - *Records of few keys.* What a watermark waits for is the longest line behind a key, m round trips, in which almost nothing is
///   in flight at the end: W / (W - (m - 1) L), with lines of four or five.
///
/// So 1.7 needs a drain of more than three dependent reads, by lines or by timers; no workload of single cold reads has one.
fn epochs() -> Result<()> {
    println!("watermarks every 200 ms at 25 ms, 6000 in flight: parallel epochs against serial ones");
    for (what, keys, timers) in [
        ("no timers, keys that never meet", 1 << 40, 0),
        ("a watermark fires 2,000 timers of three reads, keys that never meet", 1 << 40, 2_000),
        ("no timers, records of 20,000 keys wait for each other", 20_000, 0),
    ] {
        let rate = |epoch_mode| {
            let settings = ControllerSettings { epoch_mode, ..ControllerSettings::default() };
            let case = Case { latency: 25 * MILLI, settings, keys };
            throughput(&case, Duration::from_secs(4), Some((200 * MILLI, timers)))
        };
        let serial = rate(EpochMode::SerialBetweenEpochs)?;
        let parallel = rate(EpochMode::ParallelBetweenEpochs)?;
        println!("  {what}: {parallel:.0}/s against {serial:.0}/s, {:.2} x", parallel / serial);
    }
    Ok(())
}

/// Measures and prints.
type Table = fn() -> Result<()>;

fn run() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let tables: [(&str, Table); 4] =
        [("overlap", overlap), ("lone", lone), ("barrier", barrier), ("epochs", epochs)];
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    tables.into_iter().filter(|(name, _)| wanted(name)).try_for_each(|(_, table)| table())
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
