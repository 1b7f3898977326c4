//! What the way from a source to a task costs: `cargo bench -p alluvium-host`.
//!
//! One source thread emits made-up words, the task threads run an operator that does nothing, and one that counts on
//! the heap backend. Prints wall time and CPU time a record; on a shared machine trust the CPU time.
use std::sync::Arc;

use alluvium_checkpoint::CheckpointSettings;
use alluvium_env::{Entropy, IoRuntime, Result, SystemClock};
use alluvium_host::{
    Collector, Job, JobControl, JobSettings, Operator, ReadOutcome, SplitReader, SplitSource, World, storage,
};
use alluvium_state_api::{Codec, Context, HeapBackendFactory, KeyedProcess, ReducingState, States, Sum};

const RECORDS: u32 = 20_000_000;
const WORDS: u64 = 50_000;

struct Words(Arc<Vec<String>>);

struct Reader {
    words: Arc<Vec<String>>,
    left: u64,
}

impl SplitSource for Words {
    fn splits(&self) -> u64 {
        1
    }
    fn fingerprint(&self) -> String {
        "words".to_owned()
    }
    fn open(&self, _: u64, _: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(Reader { words: Arc::clone(&self.0), left: u64::from(RECORDS) }))
    }
}

impl SplitReader for Reader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        for word in self.words.iter().cycle().skip(self.left as usize % 997).take(8_000) {
            out.emit(word.as_str(), &1_u64);
        }
        self.left = self.left.saturating_sub(8_000);
        Ok(if self.left == 0 { ReadOutcome::End } else { ReadOutcome::More })
    }
    fn position(&self) -> u64 {
        u64::from(RECORDS) - self.left
    }
}

struct Nothing;

impl KeyedProcess for Nothing {
    type In = u64;
    type Out = ();
    async fn process(&self, _: u64, _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

struct Count(ReducingState<Sum<u64>>);

impl KeyedProcess for Count {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.0.add(ctx, &times)
    }
}

/// CPU seconds of the process so far, in ticks of 10 ms; 0 where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn measure<P: KeyedProcess<In: Codec>>(
    name: &str,
    parallelism: u16,
    open: impl Fn(&States<'_>) -> Result<Operator<P>> + Send + Sync + 'static,
) -> Result<()> {
    let storage = storage::open("memory:///")?;
    let checkpoints = CheckpointSettings { interval: None, ..CheckpointSettings::default() };
    let job = Job {
        source: Words(Arc::new((0..WORDS).map(|n| format!("w{:x}", n * 0x9E37 % 0xF_FFFF)).collect())),
        settings: JobSettings { parallelism, checkpoints, ..JobSettings::default() },
        world: World {
            store: Arc::clone(&storage.store),
            state_url: storage.url().to_owned(),
            backend: Arc::new(HeapBackendFactory),
            io: IoRuntime::new(1)?,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(Entropy::from_os()),
        },
    };
    let cpu = cpu_seconds();
    let report = job.run(open, &JobControl::new(), |_| Ok(()))?;
    let nanos = |seconds: f64| seconds * 1e9 / f64::from(RECORDS);
    let (wall, cpu) = (nanos(report.seconds), nanos(cpu_seconds() - cpu));
    println!("{name:<28} parallelism {parallelism}: {wall:6.1} ns wall, {cpu:6.1} ns CPU a record");
    Ok(())
}

fn main() -> Result<()> {
    for parallelism in [1, 2] {
        measure("exchange, operator idle", parallelism, |_| Ok(Operator::new(Nothing)))?;
        measure("exchange, count on the heap", parallelism, |states| {
            Ok(Operator::new(Count(states.reducing("count")?)))
        })?;
    }
    Ok(())
}
