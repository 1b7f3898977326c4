//! The job of `benches/flink` on Alluvium's host: source, channel, controller, store.
//!
//! It loads all keys, waits until the process is quiet, warms up, measures, and prints one object of JSON with the names that
//! `alluvium bench --json` has. `RmwBench.java` does the same with Flink.
#[path = "../../../../cli/src/allocator.rs"]
mod allocator;
mod args;
#[path = "../../../../cli/src/bench/bell.rs"]
#[expect(dead_code, reason = "`alluvium bench` needs more of it")]
mod bell;
mod conductor;
#[path = "../../../../cli/src/bench/cpu.rs"]
#[expect(dead_code, reason = "`alluvium bench` needs more of it")]
mod cpu;
mod keys;
mod operator;
mod script;
mod source;
#[path = "../../../../cli/src/bench/threads.rs"]
mod threads;
mod values;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Entropy, Error, ErrorKind, IoRuntime, Result, SystemClock, cores, spawn_thread};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::storage::{self, Link, Storage};
use alluvium_host::{Job, JobControl, JobSettings, World};
use alluvium_state_api::{BackendFactory, HeapBackendFactory};
use clap::Parser as _;
use url::Url;

use args::{Args, Backend};
use conductor::{Conductor, Seen};
use keys::Keys;
use operator::Update;
use script::Script;
use source::KeySource;
use values::Values;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(seen) => {
            println!("{}", figures(&args, &seen));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Opens what the store is: a folder, or one behind a link.
fn open(args: &Args) -> Result<Storage> {
    let folder = std::path::absolute(args.dir.join("state"));
    let url = folder.ok().and_then(|folder| Url::from_directory_path(folder).ok());
    let Some(url) = url else {
        return Err(Error::invalid(format!("--dir {} is no folder", args.dir.display())));
    };
    let storage = storage::open(url.as_str())?;
    if args.backend != Backend::ForstRemote {
        return Ok(storage);
    }
    storage.behind(Link { latency: Duration::from_micros(args.latency_micros), ..Link::default() })
}

/// What opens the subtasks' state; each has its share of the memory, as a slot has in Flink.
fn backend(args: &Args, storage: &Storage, io: &IoRuntime) -> Result<Arc<dyn BackendFactory>> {
    if matches!(args.backend, Backend::None | Backend::Heap) {
        return Ok(Arc::new(HeapBackendFactory));
    }
    let defaults = ForstSettings::default();
    let settings = ForstSettings {
        memory_bytes: args.memory_bytes / u64::from(args.parallelism),
        // As `cli/src/backend.rs` sets them.
        vectored_reads: storage.local,
        coalesce_gap_bytes: if storage.local { 0 } else { defaults.coalesce_gap_bytes },
        cache_dir: (args.backend == Backend::ForstRemote).then(|| args.dir.join("cache")),
        cache_size_bytes: args.cache_bytes,
        ..defaults
    };
    Ok(Arc::new(ForstBackendFactory::new(settings, Arc::clone(&storage.store), io.clone())?))
}

fn run(args: &Args) -> Result<Seen> {
    let io = IoRuntime::new(cores().clamp(2, 4))?;
    let storage = open(args)?;
    let keys = Keys { count: args.keys, seed: args.seed };
    let script = Arc::new(Script::new(keys, Values { bytes: args.value_bytes }));
    let sources = usize::from(args.parallelism);
    let control = JobControl::new();
    let mut settings = JobSettings {
        job: "job-rmw".to_owned(),
        parallelism: args.parallelism,
        sources,
        ..JobSettings::default()
    };
    // Flink takes none either, unless it is told to.
    settings.checkpoints.interval = None;
    let job = Job {
        source: KeySource { script: Arc::clone(&script), splits: sources as u64 },
        settings,
        world: World {
            store: Arc::clone(&storage.store),
            state_url: storage.url().to_owned(),
            backend: backend(args, &storage, &io)?,
            io,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(Entropy::from_os()),
        },
    };
    let conductor = Conductor::new(Arc::clone(&script), control.clone(), args);
    let conducting = spawn_thread("bench-conductor", move || conductor.conduct())?;
    let touches_state = args.backend != Backend::None;
    let ended =
        job.run(move |states| Update::open(states, Arc::clone(&script), touches_state), &control, |_| Ok(()));
    if let Err(error) = ended
        && error.kind() != ErrorKind::Cancelled
    {
        // The conductor waits for a job that is no more; it ends with the process.
        return Err(error);
    }
    conducting.join().map_err(|_| Error::internal("the conductor panicked"))
}

fn figures(args: &Args, seen: &Seen) -> serde_json::Value {
    let (seconds, load) = (seen.took.as_secs_f64(), seen.load.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    let (operations, keys) = (seen.operations as f64, args.keys as f64);
    let backend = clap::ValueEnum::to_possible_value(&args.backend);
    serde_json::json!({
        "case": "job-rmw",
        "backend": backend.map(|backend| backend.get_name().to_owned()),
        "mode": "async",
        "keys": args.keys,
        "value_bytes": args.value_bytes,
        "parallelism": args.parallelism,
        "seed": args.seed,
        "memory_bytes": args.memory_bytes,
        "cache_size_bytes": (args.backend == Backend::ForstRemote).then_some(args.cache_bytes),
        "latency_micros": args.latency_micros,
        "operations": seen.operations,
        "seconds": seconds,
        "operations_per_second": operations / seconds,
        "cpu": { "micros_per_operation": seen.cpu.as_secs_f64() * 1e6 / operations },
        "load": { "seconds": load, "keys_per_second": keys / load },
        "peak_rss_bytes": seen.peak_rss_bytes,
        "versions": { "alluvium": env!("CARGO_PKG_VERSION") },
    })
}
