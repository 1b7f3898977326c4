//! Every store call of a run fails once: the answer is right or a typed error, and nothing is lost or leaked.
use std::sync::Arc;

use alluvium_env::{ErrorKind, IoRuntime, Result};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, named, names_in};

/// More calls than any run makes.
const MANY: usize = 1000;

/// Two attempts, the first of which crashes; tells the last checkpoint that a coordinator called complete.
fn run(
    store: &Arc<dyn ObjectStore>,
    io: &IoRuntime,
    paged: bool,
    (oracle, last): (&mut Oracle, &mut u64),
) -> Result<()> {
    for attempt in 1..=2 {
        let mut job = Job::start(Arc::clone(store), io, attempt)?.paged(paged);
        for _ in 0..4 {
            // A backend bears a failed flush: it tries again with another name.
            let _ = job.step();
            let _ = job.step();
            if let Some(completed) = job.checkpoint(oracle)? {
                *last = completed.id.0;
            }
        }
        if attempt == 2 {
            job.end();
        } else {
            // A crash, except that what is in flight ends before the next attempt: so that call n is call n.
            job.files.settle();
        }
    }
    Ok(())
}

/// What a later attempt finds after the run, on the same store without faults.
fn verify(store: &Arc<dyn ObjectStore>, io: &IoRuntime, oracle: &Oracle, last: u64) {
    let job = Job::start(Arc::clone(store), io, 99).unwrap();
    let existing = names_in(store, io, "state");
    let wanted = named(store, io, &job.retained);
    assert!(existing.is_superset(&wanted), "a retained checkpoint lost {:?}", wanted.difference(&existing));
    if let Some(latest) = job.retained.last() {
        assert!(latest.id.0 >= last, "checkpoint {last} was called complete and {} is the latest", latest.id);
        assert!(
            oracle[&latest.id.0].contains(&latest.subtasks[0].payload),
            "checkpoint {} is another's",
            latest.id
        );
    }
    assert!(last == 0 || !job.retained.is_empty());
    let stats = job.files.settle();
    assert!(stats.swept && stats.waiting == 0, "{stats:?}");
    assert_eq!(names_in(store, io, "state"), wanted, "exactly what is retained is left");
    // What is retained, and one claim for each attempt that came so far.
    let (ledger, claims) = (names_in(store, io, "ledger").len(), usize::try_from(job.incarnation).unwrap());
    assert_eq!(ledger, job.retained.len() + claims, "dropped entries are gone");
}

fn sweep(fresh: &dyn Fn() -> Arc<dyn ObjectStore>) {
    let io = IoRuntime::new(1).unwrap();
    let bursts = [(1, When::Before), (1, When::After), (3, When::Before), (3, When::After)];
    for ((burst, when), paged) in bursts.into_iter().flat_map(|burst| [(burst, false), (burst, true)]) {
        let mut runs = 0;
        let calls = (0..MANY).find(|call| {
            let (inner, plan) = (fresh(), Arc::new(Plan::default()));
            plan.arm(*call, burst, when);
            let faulty: Arc<dyn ObjectStore> =
                Arc::new(FaultyStore::new(Arc::clone(&inner), Arc::clone(&plan)));
            let (mut oracle, mut last) = (Oracle::new(), 0);
            if let Err(error) = run(&faulty, &io, paged, (&mut oracle, &mut last)) {
                let case = format!("call {call}, {burst} {when:?}, paged {paged}");
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error}");
                assert!(error.to_string().contains("injected fault"), "{case}: {error}");
            }
            verify(&inner, &io, &oracle, last);
            runs += 1;
            !plan.was_reached()
        });
        assert!(calls.is_some_and(|calls| calls > 40), "{calls:?} calls were swept in {runs} runs");
    }
}

#[test]
fn any_call_may_fail_in_memory() {
    sweep(&|| Arc::new(InMemory::new()));
}

#[test]
fn any_call_may_fail_on_a_local_disk() {
    let root = tempfile::tempdir().unwrap();
    let runs = std::cell::Cell::new(0);
    sweep(&|| {
        runs.set(runs.get() + 1);
        let folder = root.path().join(runs.get().to_string());
        std::fs::create_dir(&folder).unwrap();
        Arc::new(LocalFileSystem::new_with_prefix(folder).unwrap())
    });
}
