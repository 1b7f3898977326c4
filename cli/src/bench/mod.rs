//! `alluvium bench`: drives the state engine with one kind of operation and reports what it takes.
//!
//! ```text
//!  calling thread                 task threads, one a subtask
//!  budget, store, link ─start──►  open backend, load, settle, warm up ──► prepared
//!  counters before     ─go─────►  measure (sync or async driver)      ──► measured
//!  counters after      ─go─────►  wait for what is left to do         ──► paid off
//!  counters once more  ─go─────►  compare what was not compared yet   ──► checked
//!  report, clean up    ─end────►  drop the backend, which deletes its files
//! ```
//!
//! The case `checkpoint` is another thing: a whole job (`job/mod.rs`).
mod args;
mod bell;
mod cpu;
mod crew;
mod drive_async;
mod drive_sync;
mod figures;
mod gauge;
mod job;
mod job_args;
mod keys;
mod load;
mod maps;
mod oracle;
mod page;
mod progress;
mod report;
mod scratch;
mod settle;
mod states;
mod subtask;
mod threads;
mod values;
mod workload;
mod zipf;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use alluvium_async_exec::ControllerSettings;
use alluvium_env::{Error, IoRuntime, Result, cores};
use alluvium_forst::ForstMetrics;
use alluvium_host::JobSettings;
use alluvium_host::storage::{Link, Storage};
use alluvium_state_api::{BackendFactory, HeapBackendFactory, MaxParallelism};

use crate::backend::Local;
use crate::metrics::{self, ShownMetrics};
use crate::progress::{Pace, ProgressLine};
use crate::units::ByteSize;
use crate::{Failure, backend, budget, state};
use args::BenchArgs;
use args::{Backend, Case, DEFAULT_STATE, Mode};
pub(crate) use args::{BenchCommand, EXAMPLES};
use crew::{Crew, Report};
use figures::{Figures, Moment};
use progress::Progress;
use scratch::Scratch;
use settle::Quiet;
use subtask::Subtask;

/// Putting keys in order for the load may take one part in so many of the budget, at eight bytes a key.
const ORDER_SHARE: u64 = 16;

/// What is known before anything is touched.
struct Plan {
    controller: ControllerSettings,
    store_memory: ByteSize,
}

/// Where the state is.
struct Place {
    storage: Storage,
    scratch: Arc<Scratch>,
    backend: Arc<dyn BackendFactory>,
    /// Of all stores that are opened here, if somebody looks.
    of_stores: Option<Arc<ForstMetrics>>,
}

/// Runs the benchmark and prints its figures, or makes a page of those that were kept.
///
/// # Errors
/// `Usage` for what the command line alone shows to be wrong, `Job` for everything else.
pub(crate) fn run(command: &BenchCommand) -> Result<(), Failure> {
    match command {
        BenchCommand::Case(args) => run_case(args),
        BenchCommand::Report(args) => page::run(args).map_err(Failure::Job),
    }
}

fn run_case(args: &BenchArgs) -> Result<(), Failure> {
    let plan = plan(args).map_err(Failure::Usage)?;
    execute(args, &plan).map_err(Failure::Job)
}

fn plan(args: &BenchArgs) -> Result<Plan> {
    args.check()?;
    for parallelism in args.job.restore_at() {
        job::settings(args, *parallelism)?;
    }
    let wanted = args.in_flight();
    let mut settings =
        JobSettings { parallelism: args.parallelism, operator_state_bytes: 0, ..JobSettings::default() };
    settings.controller.max_in_flight = settings.controller.max_in_flight.max(wanted);
    if args.mode() == Mode::Sync {
        // The task thread asks the store itself: there are no channels, and no records in flight.
        (settings.sources, settings.controller.max_in_flight_bytes) = (0, 0);
    }
    let store_memory = match args.backend {
        Backend::Forst => budget::split(args.memory, &mut settings)?,
        Backend::Heap => args.memory,
    };
    let fits = settings.controller.max_in_flight;
    if args.mode() == Mode::Async && args.in_flight.is_some() && fits < wanted {
        return Err(Error::invalid(format!(
            "--memory {} holds at most {fits} operations under way, not --in-flight {wanted}; give more memory or \
             fewer operations",
            args.memory
        )));
    }
    settings.controller.max_in_flight = wanted.min(fits);
    // A batch that never gets full would go with flushes alone.
    settings.controller.batch_reads = args.batch().min(settings.controller.max_in_flight);
    Ok(Plan { controller: settings.controller, store_memory })
}

fn link(args: &BenchArgs) -> Link {
    Link {
        latency: args.latency.map_or(Duration::ZERO, |delay| delay.0),
        bytes_per_second: args.bandwidth.and_then(|size| NonZeroU64::new(size.0)),
        slow_tail: args.slow_tail,
    }
}

/// Opens what the case is about; shows its metrics, if somebody looks.
fn open(args: &BenchArgs, memory: ByteSize, io: &IoRuntime) -> Result<(Place, Option<ShownMetrics>)> {
    let url = if args.backend == Backend::Heap { Some("memory:///") } else { args.state.as_deref() };
    let mut storage = state::open(url, DEFAULT_STATE, io)?;
    if link(args) != Link::default() {
        storage = storage.behind(link(args))?;
    }
    let mut registry = metrics::registry();
    let of_stores = args.metrics.as_ref().map(|_| backend::metrics(&mut registry));
    let shown = args.metrics.as_ref().map(|target| {
        storage.requests.register(&mut registry);
        ShownMetrics::start(target, registry, io)
    });
    let shown = shown.transpose()?;
    let scratch = Scratch::open(&storage.store, io)?;
    let backend = backend_of(args, memory, (&storage, &scratch), of_stores.clone(), io)?;
    Ok((Place { storage, scratch, backend, of_stores }, shown))
}

/// What opens the stores; each with so much memory.
fn backend_of(
    args: &BenchArgs,
    memory: ByteSize,
    (storage, scratch): (&Storage, &Scratch),
    metrics: Option<Arc<ForstMetrics>>,
    io: &IoRuntime,
) -> Result<Arc<dyn BackendFactory>> {
    Ok(match args.backend {
        Backend::Heap => Arc::new(HeapBackendFactory),
        Backend::Forst => {
            let local = Local { memory, args: &args.store, hedge_factor: args.hedge, metrics };
            backend::open(local, &scratch.store, storage.local, io)?
        }
    })
}

fn execute(args: &BenchArgs, plan: &Plan) -> Result<()> {
    if args.case == Case::Checkpoint {
        return job::run(args);
    }
    let io = IoRuntime::new(cores().clamp(2, 4))?;
    let (place, shown) = open(args, plan.store_memory, &io)?;
    let progress = Arc::new(Progress::default());
    let crew = Crew::start(subtasks(args, plan, &place, &progress)?)?;
    let line = {
        let mut rate = Pace::default();
        ProgressLine::start(None, move |now| progress.look(&mut rate, now))?
    };
    let figures = measure(&crew, &place)?;
    drop(line);
    crew.end();
    drop(shown);
    report::print(args, place.storage.url(), &figures)?;
    place.scratch.clear()
}

/// Leads the crew through the phases and reads the counters in between.
fn measure(crew: &Crew, place: &Place) -> Result<Figures> {
    let requests = || place.storage.requests.snapshot();
    let prepared = crew.gather(|report| match report {
        Report::Prepared(took, stats) => Some((took, stats)),
        _ => None,
    })?;
    let before = Moment::now(requests(), prepared.iter().map(|(_, stats)| *stats));
    crew.go();
    let measured = crew.gather(|report| match report {
        Report::Measured(measured, stats) => Some((*measured, stats)),
        _ => None,
    })?;
    let after = Moment::now(requests(), measured.iter().map(|(_, stats)| *stats));
    crew.go();
    let debts = crew.gather(|report| match report {
        Report::PaidOff(debt) => Some(debt),
        _ => None,
    })?;
    let paid_off = requests();
    let stored_bytes = place.scratch.stored_bytes()?;
    crew.go();
    let checked = crew.gather(|report| match report {
        Report::Checked(verified) => Some(verified),
        _ => None,
    })?;
    Ok(Figures {
        load: prepared.iter().map(|(took, _)| took.wall).max().unwrap_or_default(),
        before,
        after,
        debt: debts.into_iter().max().unwrap_or_default(),
        paid_off,
        measured: measured.into_iter().map(|(measured, _)| measured).collect(),
        verified: checked.iter().sum(),
        stored_bytes,
    })
}

fn subtasks(args: &BenchArgs, plan: &Plan, place: &Place, progress: &Arc<Progress>) -> Result<Vec<Subtask>> {
    let requests = (args.backend == Backend::Forst).then(|| Arc::clone(&place.storage.requests));
    let quiet = Arc::new(Quiet::new(requests, link(args)));
    let args = Arc::new(args.clone());
    let subtask = |index| {
        Ok(Subtask {
            index,
            key_groups: MaxParallelism::DEFAULT.range_of(index, args.parallelism)?,
            args: Arc::clone(&args),
            controller: plan.controller.clone(),
            backend: Arc::clone(&place.backend),
            files: Arc::clone(&place.scratch) as _,
            quiet: Arc::clone(&quiet),
            order_keys: args.memory.0 / ORDER_SHARE / size_of::<u64>() as u64 / u64::from(args.parallelism),
            progress: Arc::clone(progress),
        })
    };
    (0..args.parallelism).map(subtask).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn controller(options: &str) -> ControllerSettings {
        let command = BenchCommand::augment_args(Command::new("bench"));
        let matches = command.try_get_matches_from(format!("bench get {options}").split(' ')).unwrap();
        match BenchCommand::from_arg_matches(&matches).unwrap() {
            BenchCommand::Case(args) => plan(&args).unwrap().controller,
            BenchCommand::Report(_) => panic!("a case was asked for"),
        }
    }

    #[test]
    fn a_batch_is_no_larger_than_what_can_be_in_flight() {
        for options in ["--in-flight 10", "--batch 4000 --memory 64MiB --parallelism 4"] {
            let ControllerSettings { max_in_flight, batch_reads, .. } = controller(options);
            assert_eq!(batch_reads, max_in_flight, "{options}");
        }
        assert_eq!(controller("--batch 7").batch_reads, 7);
    }
}
