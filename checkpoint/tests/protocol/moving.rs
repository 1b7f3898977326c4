//! Whoever looks from outside while a job goes on: a page may go with its checkpoint between the ledger and the page.
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use alluvium_checkpoint::{Garbage, RetainedCheckpoints, retire_checkpoints};
use alluvium_env::{Entropy, ErrorKind, IoRuntime, spawn_thread};
use alluvium_state_api::CheckpointId;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan};
use crate::job::{Job, Oracle, RETAINED, named, names_in};

/// A job with pages that has completed some checkpoints.
struct Running {
    store: Arc<dyn ObjectStore>,
    job: Arc<Mutex<Job>>,
    last: u64,
}

fn running() -> Running {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let mut job = Job::start(Arc::clone(&store), &io, 1).unwrap().paged(true);
    go_on(&mut job, 4);
    let last = RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap().latest().unwrap().id.0;
    Running { store, job: Arc::new(Mutex::new(job)), last }
}

/// So many checkpoints more, each of which turns the page.
fn go_on(job: &mut Job, checkpoints: usize) {
    for _ in 0..checkpoints {
        (0..3).for_each(|_| job.step().unwrap());
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.files.settle();
}

impl Running {
    /// What somebody sees of the store to whom the job is so many checkpoints ahead each time that a page is read, `often` times.
    fn seen_late(&self, checkpoints: usize, often: usize) -> Arc<dyn ObjectStore> {
        let (plan, job, left) = (Arc::new(Plan::default()), Arc::clone(&self.job), AtomicUsize::new(often));
        plan.before_pages(move || {
            if left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                let job = Arc::clone(&job);
                // It waits for its own runtime, which this thread, being one of another, may not.
                let going = spawn_thread("job", move || go_on(&mut job.lock().unwrap(), checkpoints));
                going.unwrap().join().unwrap();
            }
        });
        Arc::new(FaultyStore::new(Arc::clone(&self.store), plan))
    }
}

#[test]
fn a_checkpoint_is_retired_beside_a_job_that_drops_another_before_its_page_is_read() {
    let (running, io) = (running(), IoRuntime::new(1).unwrap());
    let last = running.last;
    let late = running.seen_late(1, 1);
    let retired = retire_checkpoints(late, &io, &Entropy::from_seed(3), &[CheckpointId(last)]).unwrap();
    assert_eq!(retired.retained, [CheckpointId(last + 1)], "one was dropped by the job, the other one here");
    let retained = RetainedCheckpoints::read(Arc::clone(&running.store), &io).unwrap();
    assert_eq!(names_in(&running.store, &io, "state"), named(&running.store, &io, retained.all()));
    let error = running.job.lock().unwrap().checkpoint(&mut Oracle::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
}

#[test]
fn a_job_that_is_always_ahead_is_to_be_stopped_and_nobody_is_fenced() {
    let (running, io) = (running(), IoRuntime::new(1).unwrap());
    let late = running.seen_late(RETAINED, usize::MAX);
    let (entropy, ids) = (Entropy::from_seed(3), [CheckpointId(running.last)]);
    let refused = [
        retire_checkpoints(Arc::clone(&late), &io, &entropy, &ids).unwrap_err(),
        io.block_on(Garbage::take_over(Arc::clone(&late), &entropy)).err().unwrap(),
        io.block_on(Garbage::look(late)).err().unwrap(),
    ];
    for error in refused {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("stop it, or ask again"), "{error}");
    }
    // It panics if it was fenced.
    go_on(&mut running.job.lock().unwrap(), 1);
}
