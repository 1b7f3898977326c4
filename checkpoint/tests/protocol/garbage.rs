//! Garbage collection from outside: it finds what no checkpoint names, deletes nothing else, and may die anywhere.
use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_checkpoint::{Garbage, GarbageReport};
use alluvium_env::{Entropy, ErrorKind, IoRuntime, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, contents, named, names_in};

/// Two attempts that were killed with files that no checkpoint names, and the checkpoints they completed.
fn killed_attempts(store: &Arc<dyn ObjectStore>, io: &IoRuntime, paged: bool) -> BTreeSet<String> {
    let mut oracle = Oracle::new();
    for seed in 1..=2 {
        let mut job = Job::start(Arc::clone(store), io, seed).unwrap().paged(paged);
        for _ in 0..3 {
            job.step().unwrap();
            job.checkpoint(&mut oracle).unwrap().unwrap();
        }
        job.step().unwrap();
        job.files.settle();
    }
    let retained = alluvium_checkpoint::RetainedCheckpoints::read(Arc::clone(store), io).unwrap();
    named(store, io, retained.all())
}

fn collect(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Result<(GarbageReport, BTreeSet<String>)> {
    io.block_on(async {
        let garbage = Garbage::take_over(Arc::clone(store), &Entropy::from_seed(9)).await?;
        told(garbage).await
    })
}

async fn told(garbage: Garbage) -> Result<(GarbageReport, BTreeSet<String>)> {
    let mut told = BTreeSet::new();
    let report = garbage
        .collect(&mut |orphan| {
            assert!(told.insert(orphan.name.clone()), "told twice");
            Ok(())
        })
        .await?;
    Ok((report, told))
}

#[test]
fn a_look_deletes_and_claims_nothing_and_tells_what_a_collection_then_deletes() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let live = killed_attempts(&store, &io, false);
    let before = contents(&store, &io);
    let orphans: BTreeSet<String> = names_in(&store, &io, "state").difference(&live).cloned().collect();
    assert!(!orphans.is_empty());
    let looked = io.block_on(async { told(Garbage::look(Arc::clone(&store)).await?).await }).unwrap();
    assert_eq!(looked.1, orphans);
    assert_eq!((looked.0.orphans, looked.0.deleted), (orphans.len() as u64, 0));
    assert!(looked.0.orphan_bytes > 0 && looked.0.named == live.len() as u64);
    assert_eq!(contents(&store, &io), before);

    let (report, told) = collect(&store, &io).unwrap();
    assert_eq!(told, orphans);
    assert_eq!(report, GarbageReport { deleted: report.orphans, ..looked.0 });
    assert_eq!(names_in(&store, &io, "state"), live);
    assert_eq!(collect(&store, &io).unwrap().0.orphans, 0);
    let next = Job::start(Arc::clone(&store), &io, 3).unwrap();
    assert_eq!((named(&store, &io, &next.retained), next.incarnation), (live, 5));
}

#[test]
fn a_job_that_runs_is_fenced_before_anything_of_it_is_deleted() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let mut oracle = Oracle::new();
    let mut job = Job::start(Arc::clone(&store), &io, 1).unwrap();
    job.step().unwrap();
    job.checkpoint(&mut oracle).unwrap().unwrap();
    job.step().unwrap();
    let (report, _) = collect(&store, &io).unwrap();
    assert_eq!(report.deleted, 1, "what it had written since");
    assert_eq!(job.checkpoint(&mut oracle).unwrap_err().kind(), ErrorKind::Fenced);
    let next = Job::start(Arc::clone(&store), &io, 2).unwrap();
    assert_eq!(names_in(&store, &io, "state"), named(&store, &io, &next.retained));
}

#[test]
fn where_there_is_no_state_nothing_is_made() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let error = collect(&store, &io).unwrap_err();
    assert!(error.to_string().contains("there is no state in InMemory"), "{error}");
    assert_eq!(io.block_on(Garbage::look(Arc::clone(&store))).err().unwrap().kind(), ErrorKind::Invalid);
    assert!(contents(&store, &io).is_empty());
}

/// From whichever call on the store is away, or just that call fails: what checkpoints name stays, the rest is orphans.
#[test]
fn a_collection_may_die_at_any_call_and_the_next_one_finishes_it() {
    let io = IoRuntime::new(1).unwrap();
    let root = tempfile::tempdir().unwrap();
    let bursts = [(1, When::Before), (1, When::After), (1_000, When::Before), (1_000, When::After)];
    for ((burst, when), paged) in bursts.into_iter().flat_map(|burst| [(burst, false), (burst, true)]) {
        let mut call = 0;
        loop {
            let folder = root.path().join(format!("{burst}-{when:?}-{paged}-{call}"));
            std::fs::create_dir(&folder).unwrap();
            let inner: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap());
            let live = killed_attempts(&inner, &io, paged);
            let plan = Arc::new(Plan::default());
            let faulty: Arc<dyn ObjectStore> =
                Arc::new(FaultyStore::new(Arc::clone(&inner), Arc::clone(&plan)));
            plan.arm(call, burst, when);
            if let Err(error) = collect(&faulty, &io) {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "call {call}: {error}");
            }
            let left = names_in(&inner, &io, "state");
            assert!(left.is_superset(&live), "call {call}: lost {:?}", live.difference(&left));
            let reached = plan.was_reached();
            collect(&inner, &io).unwrap();
            assert_eq!(names_in(&inner, &io, "state"), live);
            if !reached {
                break;
            }
            call += 1;
        }
        assert!(call > 10, "{call} calls");
    }
}
