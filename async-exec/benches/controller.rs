//! What the controller adds to a record: `cargo bench -p alluvium-async-exec`.
//!
//! A bare loop and the controller do the same two accesses a record, a get and a put of a counter, to the same
//! backend with 100 000 keys, all resident. A third figure has every get miss and be answered at the next poll, so
//! that every record is suspended once. The records are run in short rounds, each of them several times, and of each
//! round the fastest run counts: other work on the machine only ever adds.
#![expect(clippy::cast_precision_loss, reason = "figures of a bench are far below 2^52")]
use std::borrow::Cow;
use std::hint::black_box;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use alluvium_async_exec::{AsyncExecutionController, ControllerSettings, StartRecord, controller};
use alluvium_env::{Clock, Entropy, Error, HashMap, Result, SystemClock};
use alluvium_state_api::{
    Answered, BackendStats, CheckpointId, Codec, Context, HeapBackend, KeyedProcess, KeyedStateBackend,
    Lookup, MaxParallelism, PageRequest, ReadBatch, ReadId, RecordBatch, RecordBatchBuilder, SnapshotTask,
    StateDescriptor, StateId, StateKind, StateScan, TaskContext, ValueState, state_key,
};

const KEYS: u64 = 100_000;
const BATCHES: usize = 200;
const BATCH_RECORDS: usize = 1000;
/// A round runs this many batches; the next round goes on with those after them.
const ROUND_BATCHES: usize = 10;
const PASSES: usize = 20;

struct Count {
    seen: ValueState<u64>,
}

impl KeyedProcess for Count {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + times))
    }
}

/// The least a backend can cost: a hash map whose values are overwritten in place.
#[derive(Default)]
struct HashBackend {
    values: HashMap<Vec<u8>, Vec<u8>>,
    misses: bool,
    pending: Vec<(ReadId, Vec<u8>)>,
}

impl KeyedStateBackend for HashBackend {
    fn register(&mut self, _: &StateDescriptor) -> Result<StateId> {
        Ok(StateId(0))
    }

    #[inline]
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        if self.misses {
            return Ok(Lookup::Miss);
        }
        Ok(self.values.get(key).map_or(Lookup::Absent, |value| Lookup::Hit(Cow::Borrowed(value))))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self.values.get_mut(key) {
            Some(place) => value.clone_into(place),
            None => drop(self.values.insert(key.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.put(key, operand)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.values.remove(key);
        Ok(())
    }

    fn delete_prefix(&mut self, _: &[u8]) -> Result<()> {
        Err(Error::internal("not measured"))
    }

    fn try_page(&self, _: PageRequest<'_>) -> Result<Lookup<'_>> {
        Err(Error::internal("not measured"))
    }

    fn submit(&mut self, batch: ReadBatch) {
        self.pending.extend(batch.iter().map(|(id, key)| (id, key.to_vec())));
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        for (id, key) in self.pending.drain(..) {
            answered(id, Ok(self.values.get(&key).map(Vec::as_slice)));
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

fn batches() -> Vec<Rc<RecordBatch>> {
    let entropy = Entropy::from_seed(1);
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    let batch = |_| {
        for _ in 0..BATCH_RECORDS {
            builder.push(format!("word-{}", entropy.next_u64() % KEYS).as_str(), &1_u64);
        }
        Rc::new(builder.finish())
    };
    (0..BATCHES).map(batch).collect()
}

fn bare(backend: &mut dyn KeyedStateBackend, state: StateId, batches: &[Rc<RecordBatch>]) -> Result<()> {
    let mut key = Vec::new();
    for batch in batches {
        let mut index = 0;
        while let Some(record) = batch.get(index) {
            index += 1;
            state_key::build(&mut key, record.group, state, record.key);
            let seen = match backend.try_get(&key)? {
                Lookup::Hit(value) => u64::decode(&value)?,
                Lookup::Absent | Lookup::Miss => 0,
            };
            let seen = seen + u64::decode(record.value)?;
            state_key::build(&mut key, record.group, state, record.key);
            backend.put(&key, &seen.to_le_bytes())?;
        }
    }
    Ok(())
}

fn controlled<P: KeyedProcess, S: StartRecord<P>>(
    controller: &mut AsyncExecutionController<P, S>,
    batches: &[Rc<RecordBatch>],
) -> Result<()> {
    for batch in batches {
        let mut next = 0;
        while next < batch.len() {
            next = controller.run_batch(batch, next)?;
            controller.poll()?;
            if !controller.admits() {
                controller.flush();
            }
        }
    }
    while controller.in_flight() > 0 {
        controller.flush();
        controller.poll()?;
    }
    Ok(())
}

/// Nanoseconds a record of one round.
fn time(clock: &dyn Clock, round: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = clock.monotonic();
    round()?;
    Ok(clock.monotonic().saturating_sub(start).as_secs_f64() * 1e9 / (ROUND_BATCHES * BATCH_RECORDS) as f64)
}

/// Runs every round [`PASSES`] times; the average over the rounds of the fastest run of each.
fn fastest<const N: usize>(
    batches: &[Rc<RecordBatch>],
    mut run: impl FnMut(&[Rc<RecordBatch>]) -> Result<[f64; N]>,
) -> Result<[f64; N]> {
    let rounds: Vec<_> = batches.chunks(ROUND_BATCHES).collect();
    let mut best = vec![[f64::MAX; N]; rounds.len()];
    for _ in 0..PASSES {
        for (round, best) in rounds.iter().zip(&mut best) {
            let figures = run(round)?;
            best.iter_mut().zip(figures).for_each(|(best, figure)| *best = best.min(figure));
        }
    }
    let mut average = [0.0; N];
    for best in &best {
        average.iter_mut().zip(best).for_each(|(average, best)| *average += best / rounds.len() as f64);
    }
    Ok(average)
}

fn count_on(
    backend: Box<dyn KeyedStateBackend>,
) -> Result<AsyncExecutionController<Count, impl StartRecord<Count>>> {
    let task = Rc::new(TaskContext::new(backend));
    let seen = task.states().value("seen")?;
    Ok(controller(Rc::new(Count { seen }), task, ControllerSettings::default(), Arc::new(|| ())))
}

fn resident<B: KeyedStateBackend + Default + 'static>(
    name: &str,
    clock: &dyn Clock,
    batches: &[Rc<RecordBatch>],
) -> Result<()> {
    let mut backend: Box<dyn KeyedStateBackend> = Box::<B>::default();
    let descriptor = StateDescriptor::new("seen", StateKind::Value);
    let state = backend.register(&descriptor)?;
    let mut controller = count_on(Box::<B>::default())?;
    // Every key exists before anything is measured.
    bare(backend.as_mut(), state, batches)?;
    controlled(&mut controller, batches)?;
    let [loop_ns, controller_ns] = fastest(batches, |round| {
        let loop_ns = time(clock, || bare(black_box(backend.as_mut()), state, round))?;
        Ok([loop_ns, time(clock, || controlled(&mut controller, round))?])
    })?;
    let added = controller_ns - loop_ns;
    println!(
        "{name}: bare loop {loop_ns:.1} ns/record, controller {controller_ns:.1} ns/record, adds {added:.1} ns"
    );
    Ok(())
}

fn suspended(clock: &dyn Clock, batches: &[Rc<RecordBatch>]) -> Result<()> {
    let mut controller = count_on(Box::new(HashBackend { misses: true, ..HashBackend::default() }))?;
    let [controller_ns] =
        fastest(batches, |round| Ok([time(clock, || controlled(&mut controller, round))?]))?;
    let stats = controller.stats();
    let share = stats.suspended as f64 / stats.records as f64 * 100.0;
    println!(
        "hash backend, every get a miss: controller {controller_ns:.1} ns/record, {share:.0} % of the records were suspended"
    );
    Ok(())
}

fn run() -> Result<()> {
    let clock = SystemClock::new();
    let batches = batches();
    resident::<HeapBackend>("heap backend, resident", &clock, &batches)?;
    resident::<HashBackend>("hash backend, resident", &clock, &batches)?;
    suspended(&clock, &batches)
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
