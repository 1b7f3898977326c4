//! Timers and watermarks of whole jobs: exact through stops, restores and rescales, by both kinds of time.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, EpochMode};
use alluvium_env::{Clock, Entropy, Error, ErrorKind, ManualClock, Result, spawn_thread};
use alluvium_host::{
    Collector, Job, JobControl, JobReport, JobSettings, Operator, Outcome, ReadOutcome, SplitReader,
    SplitSource, World,
};
use alluvium_state_api::{
    BackendFactory, Context, HeapBackendFactory, KeyedProcess, ReducingState, States, Sum, TimeDomain, Timer,
    Timestamp, ValueState,
};

use crate::slow_backend::SlowFactory;
use crate::words::{Counts, Hook, collect, memory, settings, world};

/// Records with event times. Splits follow each other in time, so a source thread may read one after the other.
#[derive(Clone)]
struct Ticks {
    splits: u64,
    records: u64,
    hook: Hook,
}

const KEYS: u64 = 17;
/// Records of one read, and the milliseconds between two.
const READ: u64 = 20;
const STEP: i64 = 10;
/// Of a window, in milliseconds.
const WINDOW: i64 = 100;

fn key_of(split: u64, index: u64) -> String {
    format!("key-{}", (split * 31 + index * 7) % KEYS)
}

impl Ticks {
    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (split, index) in
            (0..self.splits).flat_map(|split| (0..self.records).map(move |index| (split, index)))
        {
            *counts.entry(key_of(split, index)).or_default() += 1;
        }
        counts
    }
}

impl SplitSource for Ticks {
    fn splits(&self) -> u64 {
        self.splits
    }
    fn fingerprint(&self) -> String {
        "ticks".to_owned()
    }
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(TickReader { ticks: self.clone(), split, position }))
    }
}

struct TickReader {
    ticks: Ticks,
    split: u64,
    position: u64,
}

impl TickReader {
    fn time(&self, index: u64) -> i64 {
        (self.split * self.ticks.records + index).cast_signed() * STEP
    }
}

impl SplitReader for TickReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        if (self.ticks.hook)(self.split, self.position)? == ReadOutcome::Idle {
            return Ok(ReadOutcome::Idle);
        }
        let end = self.ticks.records.min(self.position + READ);
        for index in self.position..end {
            out.emit(key_of(self.split, index).as_str(), &self.time(index));
        }
        out.emit_watermark(Timestamp(self.time(end) - 1));
        self.position = end;
        Ok(if end == self.ticks.records { ReadOutcome::End } else { ReadOutcome::More })
    }
    fn position(&self) -> u64 {
        self.position
    }
}

/// Counts by window; adds a window's count to the key's when the window is over. Emits the watermark it saw then.
struct Windows {
    window: ReducingState<Sum<u64>, i64>,
    last: ValueState<i64>,
    count: ReducingState<Sum<u64>>,
}

impl Windows {
    fn open(states: &States<'_>) -> Result<Self> {
        Ok(Self {
            window: states.in_namespaces().reducing("window")?,
            last: states.value("last")?,
            count: states.reducing("count")?,
        })
    }
}

impl KeyedProcess for Windows {
    type In = i64;
    type Out = Timestamp;
    const USES_TIMERS: bool = true;

    async fn process(&self, time: i64, ctx: &Context<Timestamp>) -> Result<()> {
        if self.last.get(ctx).await?.is_some_and(|last| time <= last) {
            return Err(Error::internal(format!("a record of {time} is late")));
        }
        let start = time / WINDOW * WINDOW;
        let window = ctx.in_namespace(&start);
        self.window.add(window, &1)?;
        // One that is taken back never fires.
        window.register_event_timer(Timestamp(start + 1))?;
        window.delete_event_timer(Timestamp(start + 1))?;
        window.register_event_timer(Timestamp(start + WINDOW - 1))
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<Timestamp>) -> Result<()> {
        let start = timer.namespace::<i64>()?;
        let (window, end) = (ctx.in_namespace(&start), timer.time().0);
        let last = self.last.get(ctx).await?;
        if end != start + WINDOW - 1
            || last.is_some_and(|last| end <= last)
            || ctx.current_watermark().0 < end
        {
            return Err(Error::internal(format!("timer {end} of window {start} comes after {last:?}")));
        }
        let count = self.window.get(window).await?;
        let count = count.ok_or_else(|| Error::internal(format!("window {start} fires twice")))?;
        self.last.put(ctx, &end)?;
        self.window.clear(window)?;
        self.count.add(ctx, &count)?;
        ctx.emit(ctx.current_watermark());
        Ok(())
    }
}

/// Runs until the input has ended; all runs before are stopped after a random number of reads, at changing parallelisms.
fn run_in_pieces(backend: impl BackendFactory + Copy + 'static, epoch_mode: EpochMode) -> u32 {
    let (store, entropy, mut pieces) = (memory(), Entropy::from_seed(5), 0);
    let ticks = Ticks { splits: 6, records: 2_000, hook: Arc::new(|_, _| Ok(ReadOutcome::More)) };
    loop {
        pieces += 1;
        let control = JobControl::new();
        let (reads, enough, hooked) = (AtomicU64::new(0), 20 + entropy.next_u64() % 100, control.clone());
        let hook = Arc::new(move |_, _| {
            if reads.fetch_add(1, Ordering::SeqCst) < enough {
                return Ok(ReadOutcome::More);
            }
            hooked.stop();
            Ok(ReadOutcome::Idle)
        });
        let source = Ticks { hook, ..ticks.clone() };
        let settings = JobSettings {
            controller: ControllerSettings { epoch_mode, ..ControllerSettings::default() },
            ..settings(1 + pieces as u16 % 3, 1 + pieces as usize % 3, None)
        };
        let (mut counts, seen) = (Counts::new(), Arc::new(Mutex::new(Vec::new())));
        let emitted = Arc::clone(&seen);
        let open = move |states: &States<'_>| {
            let windows = Windows::open(states)?;
            let (result, emitted) = (windows.count.id(), Arc::clone(&emitted));
            Ok(Operator::new(windows).with_result(result).with_sink(move |outputs| {
                emitted.lock().expect("nobody panics").extend(outputs);
                Ok(())
            }))
        };
        let job = Job { source, settings, world: world(&store, backend) };
        let report: JobReport =
            job.run(open, &control, |scans| collect(scans, &mut counts)).expect("it runs");
        if report.outcome == Outcome::Finished {
            assert_eq!(counts, ticks.counts());
            return pieces;
        }
        let seen = seen.lock().expect("nobody panics");
        assert!(
            seen.iter().all(|watermark| *watermark < Timestamp::MAX),
            "a stop is not the end of the input"
        );
        assert!(pieces < 200, "the job makes progress");
    }
}

#[test]
fn windows_are_counted_exactly_through_stops_and_rescales_in_serial_epochs() {
    assert!(run_in_pieces(SlowFactory::heap(3), EpochMode::SerialBetweenEpochs) > 3);
}

#[test]
fn windows_are_counted_exactly_through_stops_and_rescales_in_parallel_epochs() {
    assert!(run_in_pieces(SlowFactory::heap(3), EpochMode::ParallelBetweenEpochs) > 3);
}

#[test]
fn windows_are_counted_exactly_with_resident_state() {
    assert!(run_in_pieces(HeapBackendFactory, EpochMode::SerialBetweenEpochs) > 3);
}

/// Registers a timer so many milliseconds ahead with each record, and says when it fires.
struct Alarm(i64);

impl KeyedProcess for Alarm {
    type In = i64;
    type Out = Option<Timestamp>;
    const USES_TIMERS: bool = true;

    async fn process(&self, _: i64, ctx: &Context<Self::Out>) -> Result<()> {
        ctx.register_processing_timer(ctx.current_processing_time().plus_millis(self.0))?;
        ctx.emit(None);
        Ok(())
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<Self::Out>) -> Result<()> {
        if ctx.current_processing_time() < timer.time() {
            return Err(Error::internal("too early"));
        }
        ctx.emit(Some(timer.time()));
        Ok(())
    }
}

/// A job of [`Alarm`]s that reads its first records and then waits, and what it says.
struct Alarms {
    outputs: Receiver<Option<Timestamp>>,
    control: JobControl,
    running: JoinHandle<Result<JobReport>>,
}

impl Alarms {
    fn start(ahead: i64, parallelism: u16, world: World) -> Self {
        let hook: Hook =
            Arc::new(|_, position| Ok(if position == 0 { ReadOutcome::More } else { ReadOutcome::Idle }));
        let source = Ticks { splits: 1, records: 40, hook };
        let (told, outputs) = channel();
        let open = move |_: &States<'_>| {
            let told = told.clone();
            Ok(Operator::new(Alarm(ahead)).with_sink(move |outputs: Vec<Option<Timestamp>>| {
                let mut told_all = outputs.into_iter().map(|output| told.send(output));
                told_all.try_for_each(|told| told).map_err(|_| Error::internal("nobody listens"))
            }))
        };
        let (job, control) =
            (Job { source, settings: settings(parallelism, 1, None), world }, JobControl::new());
        let hand = control.clone();
        let running = spawn_thread("job", move || job.run(open, &control, |_| Ok(())));
        Self { outputs, control: hand, running: running.expect("a thread") }
    }

    fn next(&self) -> Option<Timestamp> {
        self.outputs.recv_timeout(Duration::from_mins(1)).expect("the job says something")
    }

    fn stop(self) {
        assert_eq!(self.stop_and_count(), 0, "nothing fires twice, and nothing because of a stop");
    }

    /// Returns how many outputs nobody has taken.
    fn stop_and_count(self) -> usize {
        self.control.stop();
        let report = self.running.join().expect("no panic").expect("no error");
        assert_eq!(report.outcome, Outcome::Stopped);
        self.outputs.try_iter().count()
    }
}

#[test]
fn a_timer_of_processing_time_fires_when_the_clock_says_so_though_nothing_else_happens() {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(100)));
    let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..world(&memory(), HeapBackendFactory) };
    let alarms = Alarms::start(10_000, 2, world);
    (0..READ).for_each(|_| assert_eq!(alarms.next(), None, "all records first"));
    clock.advance(Duration::from_millis(9_999));
    clock.advance(Duration::from_millis(1));
    (0..KEYS).for_each(|_| assert_eq!(alarms.next(), Some(Timestamp(110_000)), "one a key"));
    alarms.stop();
}

#[test]
fn timers_of_processing_time_survive_a_stop_and_fire_at_once_if_it_took_too_long() {
    let (clock, store) = (Arc::new(ManualClock::at(Duration::from_secs(100))), memory());
    let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..world(&store, SlowFactory::heap(2)) };
    let alarms = Alarms::start(10_000, 2, world.clone());
    (0..READ).for_each(|_| assert_eq!(alarms.next(), None));
    alarms.stop();
    clock.advance(Duration::from_mins(1));
    let again = Alarms::start(10_000, 3, world);
    (0..KEYS).for_each(|_| assert_eq!(again.next(), Some(Timestamp(110_000)), "at another parallelism"));
    again.stop();
}

#[test]
fn by_the_machines_clock_a_task_wakes_itself_for_a_timer() {
    let alarms = Alarms::start(20, 1, world(&memory(), HeapBackendFactory));
    (0..READ).for_each(|_| assert_eq!(alarms.next(), None));
    (0..KEYS).for_each(|_| assert!(alarms.next().is_some()));
    // A key whose records were processed in different milliseconds has a timer for each.
    assert!(alarms.stop_and_count() <= (READ - KEYS) as usize);
}

#[test]
fn a_panic_of_a_timer_is_the_job_s_error_with_operator_and_key_group() {
    struct Panics;
    impl KeyedProcess for Panics {
        type In = i64;
        type Out = ();
        const USES_TIMERS: bool = true;
        async fn process(&self, time: i64, ctx: &Context<()>) -> Result<()> {
            ctx.register_event_timer(Timestamp(time))
        }
        async fn on_timer(&self, timer: Timer, _: &Context<()>) -> Result<()> {
            panic!("timer {} broke it", timer.time())
        }
    }
    let source = Ticks { splits: 1, records: 40, hook: Arc::new(|_, _| Ok(ReadOutcome::More)) };
    let job = Job { source, settings: settings(2, 1, None), world: world(&memory(), HeapBackendFactory) };
    let error =
        job.run(|_| Ok(Operator::new(Panics)), &JobControl::new(), |_| Ok(())).unwrap_err().to_string();
    assert!(error.starts_with("operator words, subtask "), "{error}");
    assert!(error.contains("key group ") && error.contains("broke it"), "{error}");
}

#[test]
fn a_timer_without_the_word_that_there_are_any_is_an_error_that_tells_the_word() {
    struct Silent;
    impl KeyedProcess for Silent {
        type In = i64;
        type Out = ();
        async fn process(&self, time: i64, ctx: &Context<()>) -> Result<()> {
            ctx.register_event_timer(Timestamp(time))
        }
    }
    let source = Ticks { splits: 1, records: 40, hook: Arc::new(|_, _| Ok(ReadOutcome::More)) };
    let job = Job { source, settings: settings(1, 1, None), world: world(&memory(), HeapBackendFactory) };
    let error = job.run(|_| Ok(Operator::new(Silent)), &JobControl::new(), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("USES_TIMERS"), "{error}");
}

/// Registers another timer with every timer, for ever.
struct Perpetual {
    domain: TimeDomain,
    count: ReducingState<Sum<u64>>,
    fired: Arc<AtomicU64>,
}

impl Perpetual {
    fn register(&self, at: Timestamp, ctx: &Context<()>) -> Result<()> {
        match self.domain {
            TimeDomain::EventTime => ctx.register_event_timer(at),
            TimeDomain::ProcessingTime => ctx.register_processing_timer(at),
        }
    }
}

impl KeyedProcess for Perpetual {
    type In = i64;
    type Out = ();
    const USES_TIMERS: bool = true;

    async fn process(&self, time: i64, ctx: &Context<()>) -> Result<()> {
        self.register(Timestamp(time), ctx)
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<()>) -> Result<()> {
        self.count.get(ctx).await?;
        self.count.add(ctx, &1)?;
        self.fired.fetch_add(1, Ordering::Relaxed);
        let next = match self.domain {
            TimeDomain::EventTime => timer.time().plus_millis(60_000),
            TimeDomain::ProcessingTime => ctx.current_processing_time(),
        };
        self.register(next, ctx)
    }
}

/// Records of a perpetual job.
const RECORDS: u64 = 400;

/// A job of [`Perpetual`]s that reads so many of its records and then waits, unless that is all.
struct Perpetually {
    domain: TimeDomain,
    reads: u64,
    controller: ControllerSettings,
    interval: Option<Duration>,
}

impl Perpetually {
    /// It reads what it is to, fires timers, takes checkpoints if there can be any, and then can be cancelled.
    fn cancels(self, backend: impl BackendFactory + 'static) {
        let Self { domain, reads, controller, interval } = self;
        let checkpoints = if controller.keep_inputs && interval.is_some() { 3 } else { 0 };
        let more =
            move |_, position| Ok(if position < reads { ReadOutcome::More } else { ReadOutcome::Idle });
        let source = Ticks { splits: 1, records: RECORDS, hook: Arc::new(more) };
        let fired = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&fired);
        let open = move |states: &States<'_>| {
            let (count, fired) = (states.reducing("count")?, Arc::clone(&counter));
            Ok(Operator::new(Perpetual { domain, count, fired }))
        };
        let settings = JobSettings { controller, ..settings(1, 1, interval) };
        let job = Job { source, settings, world: world(&memory(), backend) };
        let (control, (ended, end)) = (JobControl::new(), channel());
        let hand = control.clone();
        let running = spawn_thread("job", move || {
            let _ = ended.send(job.run(open, &control, |_| Ok(())).map(|report| report.outcome));
        });
        let looks = (0..60_000).find(|_| {
            let ended = end.recv_timeout(Duration::from_millis(1));
            assert!(ended.is_err(), "it ended by itself: {ended:?}");
            let now = hand.progress();
            now.checkpoints_completed >= checkpoints
                && now.records >= reads
                && fired.load(Ordering::Relaxed) > 10_000
        });
        assert!(looks.is_some(), "{fired:?} timers were fired: {:?}", hand.progress());
        hand.cancel();
        let result = end.recv_timeout(Duration::from_mins(1)).expect("it ends");
        assert_eq!(result.expect_err("it was cancelled").kind(), ErrorKind::Cancelled);
        running.expect("a thread").join().expect("no panic");
    }
}

#[test]
fn timers_that_are_due_again_at_once_hold_up_neither_mail_nor_barriers_nor_the_end() {
    let job = |max_in_flight| Perpetually {
        domain: TimeDomain::ProcessingTime,
        reads: RECORDS / 2,
        controller: ControllerSettings { max_in_flight, ..ControllerSettings::default() },
        interval: Some(Duration::from_millis(1)),
    };
    job(1000).cancels(HeapBackendFactory);
    // They would always take the one place there is.
    job(1).cancels(SlowFactory::heap(1));
}

#[test]
fn timers_that_register_others_for_ever_at_the_end_of_the_input_hold_up_no_checkpoint_and_no_cancellation() {
    let job = |keep_inputs, interval| Perpetually {
        domain: TimeDomain::EventTime,
        reads: RECORDS,
        controller: ControllerSettings { keep_inputs, ..ControllerSettings::default() },
        interval,
    };
    let often = Some(Duration::from_millis(1));
    // A barrier that drains waits for ever, and can be cancelled.
    for (keep_inputs, interval) in [(true, often), (true, None), (false, often)] {
        job(keep_inputs, interval).cancels(HeapBackendFactory);
        job(keep_inputs, interval).cancels(SlowFactory::heap(1));
    }
}
