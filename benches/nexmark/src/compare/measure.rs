//! One measurement, in the process that was started for it.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock as _, Entropy, Error, HashSet, IoRuntime, Result, SystemClock, cores};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::storage::{self, Link, Storage};
use alluvium_host::{JobControl, JobReport, JobSettings, World};
use alluvium_state_api::{BackendFactory, HeapBackendFactory};

use super::args::{JobArgs, MeasureArgs, Place};
use super::figures::{Blocks, Cpu, Expected, Figures, Requests, peak_rss_bytes, ratio};
use super::nothing::Nothing;
use crate::answer::Digest;
use crate::budget;
use crate::events::Source;
use crate::job::{self, Sink};
use crate::query::{Query, WithQuery, of_name};
use crate::units::ByteSize;

/// Below the working directory.
const FOLDER: &str = "target/state";

/// Computes an answer and prints its digest.
///
/// # Errors
/// `Invalid` if there is no such query; `Unavailable` if stdout cannot be written.
pub(crate) fn expect(args: &MeasureArgs) -> Result<()> {
    let expected = of_name(&args.query, InPlainMemory(&args.job)).ok_or_else(|| unknown(&args.query))?;
    print(&expected)
}

/// Runs a query and prints the figures.
///
/// # Errors
/// The job's; `Invalid` for settings that do not fit.
pub(crate) fn measure(args: &MeasureArgs) -> Result<()> {
    print(&of_name(&args.query, AsJob(args)).ok_or_else(|| unknown(&args.query))??)
}

fn unknown(query: &str) -> Error {
    Error::invalid(format!("there is no query {query}"))
}

#[expect(clippy::print_stdout, reason = "this is what the process that started this one reads")]
fn print(figures: &impl serde::Serialize) -> Result<()> {
    let line = serde_json::to_string(figures);
    println!("{}", line.map_err(|e| Error::internal("cannot write figures as JSON").with_source(e))?);
    Ok(())
}

struct InPlainMemory<'a>(&'a JobArgs);

impl WithQuery for InPlainMemory<'_> {
    type Done = Expected;
    fn with<Q: Query>(self) -> Expected {
        let (stream, clock) = (self.0.stream(), SystemClock::new());
        let begun = clock.monotonic();
        let answer = job::expected::<Q, Digest>(stream);
        let seconds = clock.monotonic().saturating_sub(begun).as_secs_f64();
        let keys = stream.all().filter_map(|(number, event)| Some(Q::project(number, event)?.0));
        Expected { answer, keys: keys.collect::<HashSet<_>>().len() as u64, seconds }
    }
}

struct AsJob<'a>(&'a MeasureArgs);

impl WithQuery for AsJob<'_> {
    type Done = Result<Figures>;
    fn with<Q: Query>(self) -> Result<Figures> {
        match self.0.place {
            Place::None => Stage::open(self.0)?.run::<Nothing<Q>>(),
            _ => Stage::open(self.0)?.run::<Q>(),
        }
    }
}

/// What a job runs on.
struct Stage<'a> {
    args: &'a MeasureArgs,
    settings: JobSettings,
    storage: Storage,
    world: World,
    /// Deleted at the end.
    folder: Option<PathBuf>,
    /// Of the whole process; nothing if no store is to keep to it.
    memory: Option<ByteSize>,
}

/// As the command sets its stores.
fn store_settings(memory: ByteSize, near: bool) -> ForstSettings {
    let defaults = ForstSettings::default();
    let coalesce_gap_bytes = if near { 0 } else { defaults.coalesce_gap_bytes };
    ForstSettings { memory_bytes: memory.0, vectored_reads: near, coalesce_gap_bytes, ..defaults }
}

/// The storage of a measurement, and the folder to delete behind it. What a former one has left is swept by the job.
fn open_storage(args: &MeasureArgs) -> Result<(Storage, Option<PathBuf>)> {
    let MeasureArgs { query, place, job } = args;
    match (place, &job.state) {
        (Place::None | Place::Heap, _) => Ok((storage::open("memory:///")?, None)),
        (Place::Resident, _) | (Place::Forst, None) => {
            let folder = PathBuf::from(FOLDER).join(query);
            Ok((linked(storage::open_folder(&folder)?, args)?, Some(folder)))
        }
        (Place::Forst, Some(url)) => {
            let url = format!("{}/{query}", url.trim_end_matches('/'));
            Ok((linked(storage::open(&url)?, args)?, None))
        }
    }
}

/// At the end of a link, if it is to be far away.
fn linked(storage: Storage, args: &MeasureArgs) -> Result<Storage> {
    match args.latency() {
        Duration::ZERO => Ok(storage),
        latency => storage.behind(Link { latency, ..Link::default() }),
    }
}

impl<'a> Stage<'a> {
    fn open(args: &'a MeasureArgs) -> Result<Self> {
        let MeasureArgs { place, job, .. } = args;
        let mut settings = JobSettings {
            job: "nexmark".to_owned(),
            parallelism: job.parallelism,
            sources: usize::from(job.parallelism).div_ceil(2),
            ..JobSettings::default()
        };
        settings.checkpoints.interval = job.checkpoint_interval.0;
        let io = IoRuntime::new(cores().clamp(2, 4))?;
        let (storage, folder) = open_storage(args)?;
        let memory = match place {
            Place::None | Place::Heap => None,
            Place::Resident => Some(job.resident_memory),
            Place::Forst => Some(job.memory),
        };
        let backend: Arc<dyn BackendFactory> = match memory {
            Some(memory) => {
                let each = budget::split(memory, &mut settings)?;
                let store = Arc::clone(&storage.store);
                Arc::new(ForstBackendFactory::new(store_settings(each, storage.local), store, io.clone())?)
            }
            None => Arc::new(HeapBackendFactory),
        };
        let world = World {
            store: Arc::clone(&storage.store),
            state_url: storage.url().to_owned(),
            backend,
            io,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(Entropy::from_os()),
        };
        Ok(Self { args, settings, storage, world, folder, memory })
    }

    fn run<Q: Query>(self) -> Result<Figures> {
        let (sink, stream) = (Sink::<Q, Digest>::new(), self.args.job.stream());
        let (settings, world, control) = (self.settings.clone(), self.world.clone(), JobControl::new());
        let before = crate::cpu::process();
        let report = sink.run(Source::<Q>::new(stream), settings, world, &control)?;
        let micros = crate::cpu::process().saturating_sub(before).as_micros();
        let figures = self.figures(&report, u64::try_from(micros).unwrap_or(u64::MAX), sink.into_rows());
        if let Some(folder) = &self.folder {
            // What cannot be deleted now is in a folder that the next run empties.
            let _ = std::fs::remove_dir_all(folder);
        }
        Ok(figures)
    }

    fn figures(&self, report: &JobReport, cpu_micros: u64, answer: Digest) -> Figures {
        let MeasureArgs { query, place, job } = self.args;
        let (events, memory) = (job.events.0, self.memory);
        let operations_per_second = ratio(events, 1).unwrap_or(0.0) / report.seconds;
        Figures {
            case: format!("nexmark-{query}"),
            mode: "async".to_owned(),
            backend: match place {
                Place::None => "none",
                Place::Heap => "heap",
                Place::Resident | Place::Forst => "forst",
            }
            .to_owned(),
            state: memory.map(|_| self.storage.url().to_owned()),
            keys: None,
            parallelism: report.parallelism,
            sources: self.settings.sources,
            in_flight: self.settings.controller.max_in_flight,
            batch: self.settings.controller.batch_reads,
            memory_bytes: memory.map(|memory| memory.0),
            latency_micros: self.args.latency().as_micros() as u64,
            event_rate: job.rate.0,
            checkpoints: report.checkpoints.completed,
            operations: events,
            records: report.records,
            seconds: report.seconds,
            operations_per_second,
            cpu: Cpu { micros_per_operation: ratio(cpu_micros, events).unwrap_or(0.0) },
            store: Requests::new(self.storage.requests.snapshot(), events),
            cache: Blocks::new(report),
            flushes: report.backend.flushes,
            compactions: report.backend.compactions,
            peak_rss_bytes: peak_rss_bytes(),
            answer: (*place != Place::None).then_some(answer),
        }
    }
}
