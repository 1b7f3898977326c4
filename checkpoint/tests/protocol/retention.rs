//! What is kept, what goes, and at what price in requests.
use std::sync::Arc;
use std::time::Duration;

use alluvium_checkpoint::{CheckpointStore, RetainedCheckpoints};
use alluvium_env::{Entropy, ErrorKind, IoRuntime};
use alluvium_state_api::{CheckpointId, FileOwnership};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, RETAINED, named, names_in, shape};

/// A job on a store whose faults are armed later.
fn job() -> (Arc<Plan>, Arc<dyn ObjectStore>, IoRuntime, Job) {
    let (plan, io) = (Arc::new(Plan::default()), IoRuntime::new(1).unwrap());
    let store: Arc<dyn ObjectStore> =
        Arc::new(FaultyStore::new(Arc::new(InMemory::new()), Arc::clone(&plan)));
    let job = Job::start(Arc::clone(&store), &io, 1).unwrap();
    job.files.settle();
    (plan, store, io, job)
}

fn ids(job: &Job) -> Vec<u64> {
    job.retained.iter().map(|checkpoint| checkpoint.id.0).collect()
}

#[test]
fn the_newest_are_kept_with_their_files_and_the_others_go() {
    let (_, store, io, mut job) = job();
    for _ in 0..6 {
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.end();
    assert_eq!(names_in(&store, &io, "ledger").len(), RETAINED + 1, "and the claim");
    let next = Job::start(Arc::clone(&store), &io, 2).unwrap();
    assert_eq!(ids(&next), [5, 6]);
    assert_eq!(names_in(&store, &io, "state"), named(&store, &io, &next.retained));
}

#[test]
fn whoever_only_looks_sees_what_is_retained_and_fences_nobody() {
    let (_, store, io, mut job) = job();
    assert!(RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap().latest().is_none());
    for _ in 0..3 {
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.files.settle();
    let before = (names_in(&store, &io, "ledger"), names_in(&store, &io, "state"));
    let retained = RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap();
    assert_eq!(before, (names_in(&store, &io, "ledger"), names_in(&store, &io, "state")));
    assert_eq!(retained.all().iter().map(|one| one.id.0).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(retained.latest(), retained.checkpoint(CheckpointId(3)).ok());
    let error = retained.checkpoint(CheckpointId(1)).unwrap_err();
    assert!(error.to_string().contains("there are 2, 3"), "{error}");
    job.step().unwrap();
    job.checkpoint(&mut Oracle::new()).unwrap().expect("it was not fenced");
}

#[test]
fn nothing_is_listed_after_the_start() {
    let (plan, _, _, mut job) = job();
    let at_start = plan.lists();
    assert_eq!(at_start, 4, "the ledger before and after the claim, jobs and files for the sweep");
    for _ in 0..6 {
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.end();
    assert_eq!(plan.lists(), at_start);
}

#[test]
fn a_checkpoint_whose_answer_was_lost_counts_once_the_ledger_shows_it() {
    let (plan, store, io, mut job) = job();
    let mut oracle = Oracle::new();
    job.step().unwrap();
    // The create is performed, its answer lost, and so is the attempt to read it back.
    plan.arm(0, 2, When::After);
    assert_eq!(job.checkpoint(&mut oracle).unwrap(), None);
    assert!(job.coordinator.last_failure().unwrap().contains("injected fault"));
    for _ in 0..3 {
        job.step().unwrap();
    }
    job.files.settle();
    assert_eq!(names_in(&store, &io, "state").len(), 4, "the compacted file may still be a checkpoint's");
    let completed = job.checkpoint(&mut oracle).unwrap().unwrap();
    assert_eq!(completed.id, CheckpointId(2));
    job.end();
    assert_eq!(ids(&Job::start(store, &io, 2).unwrap()), [1, 2]);
}

#[test]
fn a_checkpoint_that_never_reached_the_ledger_lets_its_files_go() {
    let (plan, store, io, mut job) = job();
    let mut oracle = Oracle::new();
    job.step().unwrap();
    plan.arm(0, 2, When::Before);
    assert_eq!(job.checkpoint(&mut oracle).unwrap(), None);
    for _ in 0..3 {
        job.step().unwrap();
    }
    job.checkpoint(&mut oracle).unwrap().unwrap();
    job.files.settle();
    assert_eq!(
        names_in(&store, &io, "state").len(),
        3,
        "the compacted file was only the failed checkpoint's"
    );
    job.end();
    assert_eq!(ids(&Job::start(store, &io, 2).unwrap()), [2]);
}

#[test]
fn a_checkpoint_keeps_its_files_from_its_acknowledgement_until_it_is_given_up() {
    let (_, store, io, mut job) = job();
    for _ in 0..3 {
        job.step().unwrap();
    }
    let (id, _) = job.begin_checkpoint().unwrap();
    job.step().unwrap();
    job.files.settle();
    assert_eq!(names_in(&store, &io, "state").len(), 4, "the compacted file is the pending checkpoint's");
    job.coordinator.abort(id, "the source is gone");
    job.files.settle();
    assert_eq!(names_in(&store, &io, "state").len(), 3);
}

#[test]
fn a_delete_that_failed_is_tried_again_after_the_next_checkpoint() {
    let (plan, store, io, mut job) = job();
    for _ in 0..3 {
        job.step().unwrap();
    }
    plan.arm(1, 2, When::Before);
    job.step().unwrap();
    while job.files.stats().failed_deletes == 0 {
        std::thread::yield_now();
    }
    assert_eq!(names_in(&store, &io, "state").len(), 4);
    job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    while job.files.stats().waiting > 0 {
        std::thread::yield_now();
    }
    assert_eq!(names_in(&store, &io, "state").len(), 3);
}

#[test]
fn a_checkpoint_that_is_not_there_is_invalid_and_says_which_are() {
    let (_, store, io, mut job) = job();
    for _ in 0..3 {
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.end();
    let opened = CheckpointStore::open(store, io, &Entropy::from_seed(2)).unwrap();
    assert_eq!(opened.checkpoint(CheckpointId(2)).unwrap().id, CheckpointId(2));
    let error = opened.checkpoint(CheckpointId(1)).unwrap_err();
    assert_eq!(error.to_string(), "checkpoint 1 is not retained: there are 2, 3");
    let mut other = shape();
    other.job = "other".into();
    let error = opened.latest().unwrap().check(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(r#""toy", not to "other""#), "{error}");
}

#[test]
fn a_local_folder_serves_many_attempts_and_ends_with_what_is_retained() {
    let (folder, io, mut oracle) = (tempfile::tempdir().unwrap(), IoRuntime::new(1).unwrap(), Oracle::new());
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    for attempt in 1..=5 {
        let mut job = Job::start(Arc::clone(&store), &io, attempt).unwrap();
        assert_eq!(job.incarnation, attempt);
        for _ in 0..3 {
            job.step().unwrap();
            job.checkpoint(&mut oracle).unwrap().unwrap();
        }
        // Not part of any checkpoint when the attempt crashes.
        job.step().unwrap();
    }
    let last = Job::start(Arc::clone(&store), &io, 6).unwrap();
    assert_eq!(ids(&last), [14, 15]);
    last.files.settle();
    assert_eq!(names_in(&store, &io, "state"), named(&store, &io, &last.retained));
}

/// Files that are given up one after the other where nothing can be deleted.
#[test]
fn where_deletes_are_refused_each_is_tried_once_and_all_after_a_checkpoint_in_few_requests() {
    let (plan, _, _, mut job) = job();
    let names: Vec<String> = (0..3_000).map(|number| format!("state/00000001/9/{number}")).collect();
    plan.refuse_deletes(true);
    for names in names.chunks(30) {
        let before = job.files.stats().failed_deletes;
        for name in names {
            job.files.hold(name);
        }
        for name in names {
            job.files.release(name);
        }
        while job.files.stats().failed_deletes < before + 30 {
            std::thread::yield_now();
        }
    }
    // With the first of each bulk a second time.
    assert!(plan.deletes() <= 6_000, "{} deletes", plan.deletes());
    // A checkpoint tries each once more, and the first of each bulk twice.
    let before = (plan.deletes(), job.files.stats().failed_deletes);
    job.step().unwrap();
    job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    while job.files.stats().failed_deletes < before.1 + 3_000 {
        std::thread::yield_now();
    }
    let tried = plan.deletes() - before.0;
    assert!((3_003..=3_010).contains(&tried), "{tried} deletes");
    assert_eq!(job.files.stats().waiting, 3_000);
    let why = job.files.last_refusal().unwrap();
    assert!(
        why.starts_with("cannot delete state/00000001/9/") && why.contains("no right to delete"),
        "{why}"
    );
    plan.refuse_deletes(false);
    let stats = job.files.settle();
    assert_eq!((stats.waiting, stats.deleted), (0, 3_000));
}

/// A folder with a lock, in front of one without.
#[test]
fn what_is_refused_does_not_keep_what_is_permitted() {
    let (plan, _, _, job) = job();
    let names = |folder: u32| (0..1_200).map(move |number| format!("state/00000001/{folder}/{number}"));
    plan.refuse_deletes(true);
    for name in names(8).chain(names(9)) {
        job.files.hold(&name);
        job.files.release(&name);
    }
    assert_eq!(job.files.settle().waiting, 2_400);
    plan.refuse_deletes_below("state/00000001/8/");
    plan.refuse_deletes(false);
    let stats = job.files.settle();
    assert_eq!((stats.waiting, stats.deleted), (1_200, 1_200));
    assert!(job.files.last_refusal().unwrap().starts_with("cannot delete state/00000001/8/"));
}

#[test]
fn the_end_of_a_job_waits_for_its_sweep_and_not_for_ever() {
    let (plan, store, io, first) = job();
    drop(first);
    let opened = CheckpointStore::open(Arc::clone(&store), io.clone(), &Entropy::from_seed(2)).unwrap();
    assert!(opened.files.settle_within(Duration::from_hours(1)).swept);
    drop(opened);
    plan.hang_in_sweeps();
    let opened = CheckpointStore::open(store, io, &Entropy::from_seed(3)).unwrap();
    assert!(!opened.files.settle_within(Duration::from_millis(20)).swept, "that would take for ever");
    plan.hang_in_deletes();
    opened.files.hold("state/00000003/0/1");
    opened.files.release("state/00000003/0/1");
    assert_eq!(opened.files.settle_within(Duration::from_millis(20)).waiting, 1);
}
