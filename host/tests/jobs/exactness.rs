//! Counts are exact: in one run, and through any number of stops, cancellations, restores and rescales.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::{Clock, Entropy, ErrorKind, SystemClock};
use alluvium_host::{JobControl, JobReport, JobSettings, Outcome, ReadOutcome, Restore, storage};
use alluvium_state_api::{BackendFactory, HeapBackendFactory};
use object_store::ObjectStore;

use crate::faulty_backend::FaultyFactory;
use crate::operators::{Add, TwoSteps};
use crate::slow_backend::SlowFactory;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

const OFTEN: Option<Duration> = Some(Duration::from_millis(1));

#[test]
fn one_run_counts_exactly_at_every_parallelism() {
    let words = Words::new(7, 3_010, 400);
    for (parallelism, sources) in [(1, 1), (2, 3), (4, 2), (3, 8)] {
        let mut counts = Counts::new();
        let settings = settings(parallelism, sources, OFTEN);
        let control = JobControl::new();
        let report = job(&words, settings, world(&memory(), HeapBackendFactory))
            .run(Add::open, &control, |scans| {
                assert_eq!(scans.len(), usize::from(parallelism));
                collect(scans, &mut counts)
            })
            .unwrap();
        assert_eq!(counts, words.counts());
        assert_eq!((report.outcome, report.records), (Outcome::Finished, words.total()));
        assert_eq!(control.progress().records, words.total());
        assert!(report.checkpoints.completed >= 1, "a finished job has its last checkpoint");
        assert_eq!(control.progress().last_checkpoint, report.checkpoints.last.map(|last| last.id.0));
        assert_eq!(report.restore.checkpoint, None);
        assert!(report.restore.millis_to_first_record.is_some());
        assert!(report.notes[0].contains("no checkpoint in memory:///"), "{:?}", report.notes);
    }
}

#[test]
fn every_output_reaches_the_sink_once_when_nothing_fails() {
    let words = Words::new(3, 1_000, 10);
    let seen = Arc::new(AtomicU64::new(0));
    let sink = Arc::clone(&seen);
    let open = move |states: &alluvium_state_api::States<'_>| {
        let sink = Arc::clone(&sink);
        Ok(TwoSteps::open(states)?.with_sink(move |outputs| {
            sink.fetch_add(outputs.len() as u64, Ordering::SeqCst);
            Ok(())
        }))
    };
    let job = job(&words, settings(2, 1, OFTEN), world(&memory(), SlowFactory::heap(1)));
    job.run(open, &JobControl::new(), |_| Ok(())).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), words.total());
}

/// Runs until the input has ended; each run is interrupted by `interrupt` after a random number of reads, and not
/// before it has completed `checkpoints`. Returns the number of runs and of kept inputs.
fn run_in_pieces(
    store: &Arc<dyn ObjectStore>,
    backend: &(impl BackendFactory + Clone + 'static),
    (interval, checkpoints): (Option<Duration>, u64),
    interrupt: fn(&JobControl),
) -> (u32, u64) {
    let words = Words::new(9, 4_000, 60);
    let entropy = Entropy::from_seed(5);
    let (mut pieces, mut kept) = (0, 0);
    loop {
        pieces += 1;
        let control = JobControl::new();
        let (reads, enough, hooked) = (AtomicU64::new(0), 50 + entropy.next_u64() % 150, control.clone());
        let source = words.clone().hooked(move |_, _| {
            let reads = reads.fetch_add(1, Ordering::SeqCst);
            if reads < enough {
                return Ok(ReadOutcome::More);
            }
            // An idle source is asked again at each barrier.
            if hooked.progress().checkpoints_completed >= checkpoints {
                interrupt(&hooked);
            }
            Ok(ReadOutcome::Idle)
        });
        let mut settings =
            JobSettings { sources: 1 + pieces as usize % 3, ..settings(1 + pieces as u16 % 4, 1, interval) };
        settings.checkpoints.concurrent = 1 + pieces as usize % 3;
        let mut counts = Counts::new();
        let result =
            job(&source, settings, world(store, backend.clone()))
                .run(TwoSteps::open, &control, |scans| collect(scans, &mut counts));
        match result {
            Ok(JobReport { outcome: Outcome::Finished, .. }) => {
                assert_eq!(counts, words.counts());
                return (pieces, kept);
            }
            Ok(report) => {
                assert!(counts.is_empty(), "a stopped job has no result");
                kept += report.checkpoints.last.map_or(0, |last| last.inputs_kept);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}"),
        }
        assert!(pieces < 200, "the job makes progress");
    }
}

#[test]
fn stopped_jobs_continue_exactly_at_another_parallelism_with_kept_inputs() {
    let (pieces, kept) = run_in_pieces(&memory(), &SlowFactory::heap(3), (None, 0), JobControl::stop);
    assert!(pieces > 3 && kept > 0, "{pieces} pieces, {kept} kept inputs");
}

#[test]
fn cancelled_jobs_continue_exactly_from_their_last_checkpoint() {
    let (pieces, _) = run_in_pieces(&memory(), &SlowFactory::heap(3), (OFTEN, 2), JobControl::cancel);
    assert!(pieces > 1, "{pieces} pieces");
}

#[test]
fn what_a_checkpoint_holds_does_not_depend_on_how_many_are_under_way() {
    for interrupt in [JobControl::cancel, JobControl::stop] {
        let (pieces, _) = run_in_pieces(&memory(), &FaultyFactory::Uneven, (OFTEN, 2), interrupt);
        assert!(pieces > 1, "{pieces} pieces");
    }
}

#[test]
fn a_local_folder_continues_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let storage = storage::open_folder(folder.path()).unwrap();
    let (pieces, _) = run_in_pieces(&storage.store, &HeapBackendFactory, (OFTEN, 0), JobControl::stop);
    assert!(pieces > 3);
    assert!(storage.requests.snapshot().puts > 0);
}

#[test]
fn records_behind_a_barrier_wait_for_the_slowest_source() {
    let store = memory();
    let words = Words::new(2, 8_000, 100);
    let control = JobControl::new();
    let (ahead, hooked, clock) = (AtomicU64::new(0), control.clone(), SystemClock::new());
    let source = words.clone().hooked(move |split, position| {
        if split == 0 {
            ahead.store(position, Ordering::SeqCst);
            if position == 1_000 {
                // Until a checkpoint has been due for long: the next thing this source sends is its barrier.
                let due = clock.monotonic() + Duration::from_millis(20);
                while clock.monotonic() < due {
                    std::thread::yield_now();
                }
            }
        } else if position == 50 {
            // The barrier of split 0 stands in its lanes with 6,000 records behind it.
            while ahead.load(Ordering::SeqCst) < 7_000 {
                std::thread::yield_now();
            }
        }
        if split == 1 && position == 100 {
            if hooked.progress().checkpoints_completed > 0 {
                hooked.cancel();
            }
            return Ok(ReadOutcome::Idle);
        }
        Ok(ReadOutcome::More)
    });
    let first = job(&source, settings(2, 2, OFTEN), world(&store, HeapBackendFactory));
    assert_eq!(first.run(Add::open, &control, |_| Ok(())).unwrap_err().kind(), ErrorKind::Cancelled);
    let mut counts = Counts::new();
    let second = job(&words, settings(3, 2, OFTEN), world(&store, HeapBackendFactory));
    let restore = JobSettings { restore: Restore::Id(1), ..second.settings };
    let second = alluvium_host::Job { settings: restore, ..second };
    second.run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts)).unwrap();
    assert_eq!(counts, words.counts());
}

#[test]
fn a_finished_job_restored_has_its_result_at_once() {
    let store = memory();
    let words = Words::new(3, 500, 30);
    for (parallelism, records) in [(2, words.total()), (3, 0)] {
        let mut counts = Counts::new();
        let job = job(&words, settings(parallelism, 2, OFTEN), world(&store, HeapBackendFactory));
        let report = job.run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts)).unwrap();
        assert_eq!((report.records, counts), (records, words.counts()));
    }
}
