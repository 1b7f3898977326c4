//! What was in memory is fetched again in the background where a checkpoint goes on: in place, of a savepoint, in a fork.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_checkpoint::{
    CheckpointSettings, Origin, RestoreMode, SavepointRequest, Transfer, create_savepoint,
};
use alluvium_env::{Clock as _, Entropy, IoRuntime, SystemClock};
use alluvium_forst::{ForstBackendFactory, ForstMetrics, ForstSettings};
use alluvium_host::storage::over;
use alluvium_host::{JobControl, JobReport, JobSettings, Outcome, ReadOutcome, Restore, exposition};
use object_store::ObjectStore;
use prometheus_client::registry::Registry;

use crate::operators::TwoSteps;
use crate::words::{Words, job, memory, settings, world};

fn transfer(from: &Arc<dyn ObjectStore>, to: &Arc<dyn ObjectStore>) -> Transfer {
    Transfer { from: Arc::clone(from), to: Arc::clone(to), shared: None }
}

/// How long a job that was restored waits for its warm-up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Blocks that stores have brought into memory unasked.
fn warmed(registry: &Registry) -> u64 {
    let text = exposition(registry).expect("it is text");
    let line = text.lines().find_map(|line| line.strip_prefix("forst_warmed_blocks_total "));
    line.expect("it is shown").parse().expect("a number")
}

/// Runs for so many reads of the input, with a checkpoint every few; how many blocks it brought into memory unasked. What goes on
/// reads once a checkpoint: reads that never pause fetch all there is before a warm-up does, and their stores merge what hints name.
fn run(
    store: &Arc<dyn ObjectStore>,
    words: &Words,
    (restore, parallelism, reads, warms): (Restore, u16, u64, bool),
) -> (JobReport, u64) {
    let read_from = match &restore {
        Restore::From(origin) => over(store, origin),
        _ => Arc::clone(store),
    };
    // The first one flushes and merges; what goes on has room for all there is.
    let memory_bytes = if matches!(restore, Restore::None) { 2 << 20 } else { 32 << 20 };
    let settings_of_store = ForstSettings { memory_bytes, ..ForstSettings::default() };
    let metrics = ForstMetrics::new(Arc::new(SystemClock::new()));
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let factory = ForstBackendFactory::new(settings_of_store, read_from, IoRuntime::new(2).expect("threads"));
    let factory = factory.expect("it opens").with_metrics(metrics);
    let (control, made, turn) = (JobControl::new(), AtomicU64::new(0), AtomicU64::new(0));
    let paced = !matches!(restore, Restore::None);
    let hooked = control.clone();
    let (registry, clock) = (Arc::new(registry), SystemClock::new());
    let (shown, deadline) = (Arc::clone(&registry), clock.monotonic() + PATIENCE);
    let source = words.clone().hooked(move |_, _| {
        // What there is is sent, and the next checkpoint wakes it.
        if paced && turn.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return Ok(ReadOutcome::Idle);
        }
        // A few more, until there was time for it.
        if warms && warmed(&shown) == 0 && clock.monotonic() < deadline {
            return Ok(ReadOutcome::More);
        }
        if made.fetch_add(1, Ordering::SeqCst) < reads {
            return Ok(ReadOutcome::More);
        }
        hooked.stop();
        Ok(ReadOutcome::Idle)
    });
    let checkpoints =
        CheckpointSettings { interval: Some(Duration::from_millis(5)), ..CheckpointSettings::default() };
    let settings = JobSettings { checkpoints, restore, ..settings(parallelism, 1, None) };
    let ran = job(&source, settings, world(store, factory)).run(TwoSteps::open, &control, |_| Ok(()));
    (ran.expect("it runs"), warmed(&registry))
}

#[test]
fn a_checkpoint_goes_on_warm_in_place_in_a_savepoint_and_in_a_fork() {
    let words = Words::new(1, 5_000_000, 30_000);
    let store = memory();
    let (first, warmed) = run(&store, &words, (Restore::None, 2, 800, false));
    assert!(first.outcome == Outcome::Stopped && first.backend.flushes > 1 && warmed == 0, "{first:?}");
    // Its last hints may be of tables that were merged away before its end. These are of tables that stand: what goes on reads
    // too little to be taken for resident, which would merge level 0 behind the last hint.
    run(&store, &words, (Restore::Latest, 2, 60, false));

    let savepoint = memory();
    let copied = |_| ();
    let request = SavepointRequest {
        transfer: transfer(&store, &savepoint),
        url: "memory:///".to_owned(),
        checkpoint: None,
        copied: &copied,
    };
    create_savepoint(&request, &IoRuntime::new(1).unwrap(), &Entropy::from_seed(1)).unwrap();

    let fork = memory();
    let origin = Origin::new(transfer(&savepoint, &fork), "memory:///", None, RestoreMode::NoClaim);
    let begun = Restore::From(Arc::new(origin));
    for (what, root, restore, parallelism) in [
        ("in place, of fewer subtasks", &store, Restore::Latest, 1),
        ("a fork of a savepoint, of more", &fork, begun, 3),
        ("the fork, again", &fork, Restore::Latest, 2),
        ("the savepoint", &savepoint, Restore::Latest, 2),
    ] {
        let (went_on, warmed) = run(root, &words, (restore, parallelism, 10, true));
        assert!(went_on.restore.checkpoint.is_some() && warmed > 0, "{what}: {warmed} blocks");
    }
}
