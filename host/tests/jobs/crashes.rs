//! Exactly once, wherever a process dies: jobs on the store whose process ends at a random call to the object store, again
//! and again, at changing parallelisms, against one run on the heap that nothing interrupts.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, EpochMode};
use alluvium_checkpoint::RetainedCheckpoints;
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::{
    Collector, Job, JobControl, JobReport, JobSettings, Operator, Outcome, ReadOutcome, SplitReader,
    SplitSource, World,
};
use alluvium_state_api::{
    BackendFactory, Codec, Context, HeapBackendFactory, KeyCodec, KeyedProcess, OperatorListState,
    ReducingState, StateScan, States, Sum, Timer, Timestamp, ValueState, state_key,
};
use object_store::ObjectStore;

use crate::dying_store::{DyingStore, Life};
use crate::slow_backend::SlowFactory;
use crate::words::{memory, settings, world};

/// Seeds of a run; each is so many processes that die, and one that does not.
const SEEDS: u64 = 16;
/// Runs one seed only: the line that a failure prints.
const SEED: &str = "ALLUVIUM_CRASH_SEED";
/// Lives until a process is left alone.
const LIVES: u64 = 8;
/// Calls to the store in the longest life.
const CALLS: u64 = 160;

/// Clicks with event times, on keys of their split alone: so the order of a key's records is known. Splits follow each
/// other in time.
struct Clicks;

const SPLITS: u64 = 5;
const CLICKS: u64 = 500;
/// Clicks of one read, the milliseconds between two, and those of a window.
const READ: u64 = 10;
const STEP: i64 = 10;
const WINDOW: i64 = 150;

fn time_of(split: u64, click: u64) -> i64 {
    (split * CLICKS + click).cast_signed() * STEP
}

impl SplitSource for Clicks {
    fn splits(&self) -> u64 {
        SPLITS
    }
    fn fingerprint(&self) -> String {
        "clicks".to_owned()
    }
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(ClickReader { split, position }))
    }
}

struct ClickReader {
    split: u64,
    position: u64,
}

impl SplitReader for ClickReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        let end = CLICKS.min(self.position + READ);
        for click in self.position..end {
            let key = format!("{}-{}", self.split, click * click % 7);
            out.emit(key.as_str(), &time_of(self.split, click));
        }
        out.emit_watermark(Timestamp(time_of(self.split, end) - 1));
        self.position = end;
        Ok(if end == CLICKS { ReadOutcome::End } else { ReadOutcome::More })
    }
    fn position(&self) -> u64 {
        self.position
    }
}

/// What a key has seen: a digest of its records in their order, one of its windows in theirs, and ballast that fills
/// memtables.
type Seen = (u64, u64, Vec<u8>);

fn digest(before: u64, with: u64) -> u64 {
    before.wrapping_mul(0x0100_0000_01B3).wrapping_add(with + 1)
}

/// Counts clicks by window, and remembers all that happened and in which order.
struct Remember {
    clicks: ReducingState<Sum<u64>, i64>,
    latest: ValueState<i64>,
    seen: ValueState<Seen>,
    /// Clicks of the subtask.
    counted: OperatorListState<u64>,
}

impl Remember {
    /// Adds what all subtasks have counted to `counted`.
    fn open(states: &States<'_>, counted: &AtomicU64) -> Result<Operator<Self>> {
        let remember = Self {
            clicks: states.in_namespaces().reducing("clicks")?,
            latest: states.value("latest")?,
            seen: states.value("seen")?,
            counted: states.operator_list("counted")?,
        };
        counted.fetch_add(remember.counted.get()?.into_iter().sum(), Ordering::SeqCst);
        let seen = remember.seen.id();
        Ok(Operator::new(remember).with_result(seen))
    }
}

impl KeyedProcess for Remember {
    type In = i64;
    type Out = ();
    const USES_TIMERS: bool = true;

    async fn process(&self, time: i64, ctx: &Context<()>) -> Result<()> {
        let latest = self.latest.get(ctx).await?;
        if latest.is_some_and(|latest| time <= latest) {
            return Err(Error::internal(format!("a click of {time} comes after that of {latest:?}")));
        }
        let counted = self.counted.get()?.into_iter().sum::<u64>() + 1;
        self.counted.update(ctx, [&counted])?;
        let start = time / WINDOW * WINDOW;
        let window = ctx.in_namespace(&start);
        self.clicks.add(window, &1)?;
        window.register_event_timer(Timestamp(start + WINDOW - 1))?;
        // Suspended once it has done something.
        let (records, windows, _) = self.seen.get(ctx).await?.unwrap_or_default();
        self.seen.put(ctx, &(digest(records, time.cast_unsigned()), windows, vec![7; 1000]))?;
        self.latest.put(ctx, &time)
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<()>) -> Result<()> {
        let start = timer.namespace::<i64>()?;
        let window = ctx.in_namespace(&start);
        let (clicks, seen) = (self.clicks.get(window), self.seen.get(ctx));
        let clicks = clicks.await?.ok_or_else(|| Error::internal(format!("window {start} fires twice")))?;
        let (records, windows, ballast) = seen.await?.unwrap_or_default();
        self.clicks.clear(window)?;
        let windows = digest(digest(windows, start.cast_unsigned()), clicks);
        self.seen.put(ctx, &(records, windows, ballast))
    }
}

type All = BTreeMap<String, Seen>;

fn collect(scans: Vec<Box<dyn StateScan>>, into: &mut All) -> Result<()> {
    for mut scan in scans {
        while let Some((key, seen)) = scan.next_entry()? {
            let key = str::decode_key(state_key::split(key)?.2)?;
            assert!(into.insert(key, Seen::decode(seen)?).is_none(), "a key is with one subtask");
        }
    }
    Ok(())
}

/// What a job returns, its result, and how many clicks it found counted when it was opened.
type Ran = (Result<JobReport>, All, u64);

fn run(settings: JobSettings, world: World, control: &JobControl) -> Ran {
    let (mut all, counted) = (All::new(), Arc::new(AtomicU64::new(0)));
    let (job, found) = (Job { source: Clicks, settings, world }, Arc::clone(&counted));
    let open = move |states: &States<'_>| Remember::open(states, &found);
    let result = job.run(open, control, |scans| collect(scans, &mut all));
    (result, all, counted.load(Ordering::SeqCst))
}

fn oracle() -> All {
    let (report, all, _) =
        run(settings(1, 1, None), world(&memory(), HeapBackendFactory), &JobControl::new());
    assert_eq!(report.expect("it runs").records, SPLITS * CLICKS);
    all
}

/// The store with little memory, so that it flushes, compacts and drops, behind reads that are late.
fn forst(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> impl BackendFactory + 'static {
    let settings = ForstSettings {
        memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
        block_size_bytes: 512,
        value_threshold_bytes: 900,
        paged_tables: 1,
        ..ForstSettings::default()
    };
    let inner = ForstBackendFactory::new(settings, Arc::clone(store), io.clone()).expect("settings");
    SlowFactory { inner, polls: 3 }
}

/// What the lives of a seed have come across.
#[derive(Debug, Default)]
struct Crossed {
    deaths: u64,
    restores: u64,
    inputs: u64,
}

fn kept_in_latest(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Option<u64> {
    let retained = RetainedCheckpoints::read(Arc::clone(store), io).expect("a sound ledger");
    let latest = retained.all().last()?;
    Some(latest.subtasks.iter().map(|subtask| subtask.inputs_count).sum())
}

/// Processes that die, and one that does not.
fn live_and_die(seed: u64, expected: &All) -> Crossed {
    let (random, inner, io) = (Entropy::from_seed(seed), memory(), IoRuntime::new(2).expect("threads"));
    let mut crossed = Crossed::default();
    for life in 1.. {
        let below = |end: u64| random.next_u64() % end;
        if let Some(kept) = kept_in_latest(&inner, &io) {
            crossed.restores += 1;
            crossed.inputs += kept;
        }
        let last = if life > LIVES { u64::MAX } else { 1 + below(CALLS) };
        let control = JobControl::new();
        let dying = control.clone();
        let life = Life::new(last, below(2) == 0, move || dying.cancel());
        let store: Arc<dyn ObjectStore> =
            Arc::new(DyingStore { inner: Arc::clone(&inner), life: Arc::clone(&life) });
        let epoch_mode =
            if below(2) == 0 { EpochMode::SerialBetweenEpochs } else { EpochMode::ParallelBetweenEpochs };
        let job_settings = JobSettings {
            controller: ControllerSettings { epoch_mode, ..ControllerSettings::default() },
            ..settings(1 + below(4) as u16, 1 + below(3) as usize, Some(Duration::from_millis(1)))
        };
        let mortal = World { io: io.clone(), ..world(&store, forst(&store, &io)) };
        let (result, all, _) = run(job_settings, mortal, &control);
        match result {
            Ok(report) if report.outcome == Outcome::Finished => {
                assert!(all == *expected, "another result: {}", first_difference(&all, expected));
                let world = World { io: io.clone(), ..world(&inner, forst(&inner, &io)) };
                let (_, again, counted) = run(settings(2, 1, None), world, &JobControl::new());
                assert!(again == all && counted == SPLITS * CLICKS, "{counted} clicks were counted");
                return crossed;
            }
            // Whatever it says: the dead are not heard.
            other => {
                assert!(life.is_over(), "nobody has killed it: {other:?}, after {} calls", life.calls());
                crossed.deaths += 1;
            }
        }
    }
    crossed
}

/// The first key that differs: what was found, and what was expected.
fn first_difference(all: &All, expected: &All) -> String {
    let digests = |of: Option<&Seen>| of.map(|(records, windows, _)| (*records, *windows));
    let mut keys = expected.keys().filter(|key| all.get(*key) != expected.get(*key));
    let key = keys.next().map_or("one too many", String::as_str);
    format!("{key}: {:?} instead of {:?}", digests(all.get(key)), digests(expected.get(key)))
}

#[test]
fn wherever_a_process_dies_the_result_is_that_of_one_run_on_the_heap() {
    let expected = oracle();
    let one = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut all = Crossed::default();
    for seed in seeds {
        let crossed = std::panic::catch_unwind(|| live_and_die(seed, &expected)).unwrap_or_else(|panic| {
            eprintln!("to run it again: {SEED}={seed} cargo test -p alluvium-host --test jobs wherever_a_process_dies");
            std::panic::resume_unwind(panic)
        });
        all.deaths += crossed.deaths;
        all.restores += crossed.restores;
        all.inputs += crossed.inputs;
    }
    assert!(one.is_some() || (all.deaths > SEEDS && all.restores > SEEDS && all.inputs > 0), "{all:?}");
}
