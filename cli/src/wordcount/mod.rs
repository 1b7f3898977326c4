//! `alluvium wordcount`: wires input, state, job and results, in that order, so that a mistake costs nothing.
//!
//! **Failure**: until the job has started nothing is created but the state folder; afterwards whatever was complete
//! stays: checkpoints in the state URL, the old output file.
mod begun;
mod operator;
mod report;
mod resume;
mod source;
mod watched;

use std::io::{IsTerminal as _, stdin};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alluvium_env::{Entropy, Error, IoRuntime, Result, SystemClock, cores};
use alluvium_host::storage::{Storage, over};
use alluvium_host::{Job, JobControl, JobSettings, Outcome, Restore, World};
use prometheus_client::registry::Registry;

use crate::args::{Counting, DEFAULT_STATE, RestoreFrom, WordcountArgs};
use crate::backend::Local;
use crate::input::{TextInput, discover};
use crate::metrics::{self, MetricsTarget, ShownMetrics};
use crate::progress::{Pace, ProgressLine};
use crate::results::{Counts, SortedFile, collect};
use crate::signals::stop_on_signal;
use crate::units::ByteSize;
use crate::{Failure, backend, budget, state};
use begun::Begun;
use operator::{CountByAdd, CountByGetPut};
use watched::Watched;

/// What is known before anything is touched.
struct Plan {
    inputs: Vec<PathBuf>,
    settings: JobSettings,
    store_memory: ByteSize,
}

/// Runs the job and prints what it found.
///
/// # Errors
/// `Usage` for what the command line alone shows to be wrong, `Job` for everything else.
pub(crate) fn run(args: &WordcountArgs) -> Result<Outcome, Failure> {
    let plan = plan(args).map_err(Failure::Usage)?;
    execute(args, plan).map_err(Failure::Job)
}

fn plan(args: &WordcountArgs) -> Result<Plan> {
    args.check()?;
    let mut inputs = args.inputs.clone();
    if inputs.is_empty() {
        if stdin().is_terminal() {
            return Err(Error::invalid("nothing to read; name files or folders, or pipe text into it"));
        }
        inputs.push(PathBuf::from("-"));
    }
    let parallelism = args.parallelism.unwrap_or_else(|| u16::try_from(cores().min(128)).unwrap_or(1));
    let mut settings = JobSettings {
        job: format!("wordcount --count {}", args.count.name()),
        parallelism,
        // Finding words costs about half of what counting them does.
        sources: usize::from(parallelism).div_ceil(2),
        restore: match args.restore {
            // Another root's is opened once its own is.
            RestoreFrom::None | RestoreFrom::Elsewhere(..) => Restore::None,
            RestoreFrom::Latest => Restore::Latest,
            RestoreFrom::Id(id) => Restore::Id(id),
        },
        checkpoints: args.checkpoints.settings(),
        // It has none.
        operator_state_bytes: 0,
        ..JobSettings::default()
    };
    let store_memory = budget::split(args.memory, &mut settings)?;
    Ok(Plan { inputs, settings, store_memory })
}

fn execute(args: &WordcountArgs, mut plan: Plan) -> Result<Outcome> {
    let found = discover(&plan.inputs, &own_paths(args))?;
    report::skipped(&found.skipped);
    let mut output = args.output.as_deref().map(SortedFile::create).transpose()?;
    let io = IoRuntime::new(cores().clamp(2, 4))?;
    let begun = Begun::open(args, &io)?;
    let storage = state::open(args.state.as_deref(), DEFAULT_STATE, &io)?;
    let store = match &begun {
        None => Arc::clone(&storage.store),
        Some(begun) => {
            let origin = begun.origin(args, &storage);
            plan.settings.restore = Restore::From(Arc::clone(&origin));
            over(&storage.store, &origin)
        }
    };
    let input = TextInput::new(found.files, args.repeat);
    let control = JobControl::new();
    let fresh = args.restore == RestoreFrom::None;
    let finishing = Arc::new(AtomicBool::new(false));
    let watched = Watched {
        control: control.clone(),
        read_bytes: input.read_bytes(),
        finishing: Arc::clone(&finishing),
    };
    // What an earlier run has read is not known.
    let total_bytes = input.total_bytes().filter(|_| fresh);
    let mut registry = metrics::registry();
    let local = Local {
        memory: plan.store_memory,
        args: &args.store,
        hedge_factor: None,
        metrics: args.metrics.as_ref().map(|_| backend::metrics(&mut registry)),
    };
    let shown = show_metrics(args, registry, (&storage, &control, &io))?;
    let backend = backend::open(local, &store, storage.local, &io)?;
    let job = Job {
        source: input,
        settings: plan.settings,
        world: World {
            store: Arc::clone(&storage.store),
            state_url: storage.url().to_owned(),
            backend: backend.clone(),
            io,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(Entropy::from_os()),
        },
    };
    stop_on_signal(control.clone())?;
    let mut pace = Pace::default();
    let progress = ProgressLine::start(total_bytes, move |now| watched.look(&mut pace, now))?;
    let mut counts = None;
    let finish = |scans| {
        finishing.store(true, Ordering::Relaxed);
        counts = Some(collect(scans, args.top, output.as_mut())?);
        output.take().map_or(Ok(()), SortedFile::finish)
    };
    let ended = match args.count {
        Counting::Add => job.run(CountByAdd::open, &control, finish),
        Counting::GetPut => job.run(CountByGetPut::open, &control, finish),
    };
    drop(progress);
    let mut ended = ended?;
    ended.notes.extend(backend.disk_cache().and_then(|cache| cache.trouble()));
    // The threads that flush and compact end here; what they have written counts, in the metrics as in the summary.
    drop(backend);
    drop(shown);
    report::print(args, &storage, &ended, counts.as_ref())?;
    Ok(ended.outcome)
}

/// Shows metrics, if somebody looks.
fn show_metrics(
    args: &WordcountArgs,
    mut registry: Registry,
    (storage, control, io): (&Storage, &JobControl, &IoRuntime),
) -> Result<Option<ShownMetrics>> {
    let Some(target) = &args.metrics else { return Ok(None) };
    storage.requests.register(&mut registry);
    control.register(&mut registry);
    ShownMetrics::start(target, registry, io).map(Some)
}

/// What lies among the input but is not input: the job's own output, state and cache.
fn own_paths(args: &WordcountArgs) -> Vec<PathBuf> {
    let metrics = match &args.metrics {
        Some(MetricsTarget::File(file)) => Some(file.clone()),
        _ => None,
    };
    [args.output.clone(), metrics, args.store.cache_dir.clone(), args.state_folder()]
        .into_iter()
        .flatten()
        .collect()
}
