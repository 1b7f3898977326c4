//! `alluvium bench checkpoint`: a whole job, sources and checkpoints included, that is stopped and restored at other parallelisms.
//!
//! ```text
//!  calling thread             conductor                           sources and subtasks
//!  run 1: start the job       load ─► quiet ─► updates for a while    put every key once; read, change, write some
//!                             stop                                    a last checkpoint
//!  run 2, 3, …: restore it    updates, or every key read back         what is cold is fetched, what was kept is run again
//!  report, clean up           stop
//! ```
//!
//! Each run has a backend and a disk cache of its own, so nothing of the former run's caches is left; the state is where `--state` says.
mod conductor;
mod operator;
mod report;
mod script;
mod source;

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Entropy, Error, IoRuntime, Result, SystemClock, cores, spawn_thread};
use alluvium_host::{Job, JobControl, JobReport, JobSettings, Outcome, Restore, World};

use super::args::{Backend, BenchArgs};
use super::{Place, open};
use crate::budget;
use crate::progress::{Pace, ProgressLine};
use conductor::{Conductor, Seen};
use operator::Update;
use script::Script;
use source::ScriptedSource;

/// One run of the job.
struct Run {
    parallelism: u16,
    report: JobReport,
    seen: Seen,
}

/// What all runs share.
struct Stage<'a> {
    args: &'a BenchArgs,
    place: &'a Place,
    io: IoRuntime,
    script: Arc<Script>,
}

/// What a job of so many subtasks is told, and the memory of each of its stores.
///
/// # Errors
/// `Invalid` if the budget is too small.
pub(super) fn settings(args: &BenchArgs, parallelism: u16) -> Result<(JobSettings, crate::units::ByteSize)> {
    let mut settings = JobSettings {
        job: "bench".to_owned(),
        parallelism,
        sources: usize::from(parallelism).div_ceil(2),
        operator_state_bytes: 0,
        ..JobSettings::default()
    };
    settings.controller.max_in_flight = args.in_flight();
    settings.controller.batch_reads = args.batch().min(args.in_flight());
    settings.checkpoints.interval = Some(args.job.interval());
    let memory = match args.backend {
        Backend::Forst => budget::split(args.memory, &mut settings)?,
        Backend::Heap => args.memory,
    };
    Ok((settings, memory))
}

/// Runs the job again and again, and prints what that took.
///
/// # Errors
/// What a job failed with, or that it counted wrongly.
pub(super) fn run(args: &BenchArgs) -> Result<()> {
    let (settings, memory) = settings(args, args.parallelism)?;
    let io = IoRuntime::new(cores().clamp(2, 4))?;
    let (mut place, shown) = open(args, memory, &io)?;
    let script = Arc::new(Script::new(args));
    let line = {
        let (script, mut rate) = (Arc::clone(&script), Pace::default());
        ProgressLine::start(None, move |now| script.look(&mut rate, now))?
    };
    let begun =
        Stage { args, place: &place, io: io.clone(), script: Arc::clone(&script) }.perform(settings, true)?;
    let mut restored = Vec::new();
    for (at, parallelism) in args.job.restore_at().iter().enumerate() {
        let (settings, memory) = self::settings(args, *parallelism)?;
        let restore = JobSettings { restore: Restore::Latest, ..settings };
        let mut own = args.clone();
        own.store.cache_dir =
            args.store.cache_dir.as_ref().map(|folder| folder.join(format!("restore-{at}")));
        let metrics = place.of_stores.clone();
        place.backend = super::backend_of(&own, memory, (&place.storage, &place.scratch), metrics, &io)?;
        let stage = Stage { args, place: &place, io: io.clone(), script: Arc::clone(&script) };
        restored.push(stage.perform(restore, false)?);
    }
    drop(line);
    drop(shown);
    report::print(args, &place, &script, &begun, &restored)?;
    place.scratch.clear()
}

impl Stage<'_> {
    /// One run; the first one loads.
    fn perform(self, settings: JobSettings, is_first: bool) -> Result<Run> {
        let (control, parallelism) = (JobControl::new(), settings.parallelism);
        self.script.begin_run();
        let conductor = Conductor {
            script: Arc::clone(&self.script),
            control: control.clone(),
            requests: Arc::clone(&self.place.storage.requests),
            seconds: Duration::from_secs(self.args.seconds.unwrap_or(DEFAULT_SECONDS).into()),
            reads_back: self.args.job.reads_back(),
        };
        let conducting = spawn_thread("alluvium-conductor", move || {
            if is_first { Ok(conductor.load_and_update()) } else { conductor.restore() }
        })?;
        let opens = Arc::clone(&self.script);
        let job = Job {
            source: ScriptedSource::new(Arc::clone(&self.script), SPLITS),
            settings,
            world: World {
                store: Arc::clone(&self.place.scratch.store),
                state_url: self.place.storage.url().to_owned(),
                backend: Arc::clone(&self.place.backend),
                io: self.io,
                clock: Arc::new(SystemClock::new()),
                entropy: Arc::new(Entropy::from_os()),
            },
        };
        let ended = job.run(move |states| Update::open(states, Arc::clone(&opens)), &control, |_| Ok(()));
        self.script.end_run();
        let seen = conducting.join().map_err(|_| Error::internal("the conductor panicked"));
        let report = ended?;
        if report.outcome != Outcome::Stopped {
            return Err(Error::internal("the benchmark's job ended before it was stopped"));
        }
        Ok(Run { parallelism, report, seen: seen?? })
    }
}

/// How long updates go on, if nothing is said.
pub(super) const DEFAULT_SECONDS: u32 = 20;
/// A source thread reads one; there are never more threads than half the subtasks.
const SPLITS: u64 = 64;
