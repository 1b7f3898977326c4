//! One owner at a time: zombies are fenced and harm nothing, and a store that cannot fence is refused.
use std::sync::{Arc, Barrier};

use alluvium_checkpoint::CheckpointStore;
use alluvium_env::{Entropy, ErrorKind, IoRuntime, spawn_thread};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, contents, named, names_in};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

#[test]
fn a_zombie_is_fenced_and_touches_nothing_of_the_new_job() {
    let (store, io, mut oracle) = (memory(), IoRuntime::new(1).unwrap(), Oracle::new());
    let mut zombie = Job::start(Arc::clone(&store), &io, 1).unwrap();
    for _ in 0..3 {
        zombie.step().unwrap();
        zombie.checkpoint(&mut oracle).unwrap().unwrap();
    }
    let mut owner = Job::start(Arc::clone(&store), &io, 2).unwrap();
    owner.step().unwrap();
    owner.files.settle();
    zombie.files.settle();
    let before = contents(&store, &io);

    // The zombie does not know, compacts away what the owner restored, and tries to complete.
    for _ in 0..4 {
        zombie.step().unwrap();
    }
    let error = zombie.checkpoint(&mut oracle).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("another job (incarnation 2) took over"), "{error}");
    assert!(error.to_string().contains("this one (incarnation 1) stops"), "{error}");
    zombie.end();
    let after = contents(&store, &io);
    for (name, bytes) in &before {
        assert_eq!(after.get(name), Some(bytes), "{name} was touched");
    }

    owner.checkpoint(&mut oracle).unwrap().unwrap();
    owner.end();
    let next = Job::start(Arc::clone(&store), &io, 3).unwrap();
    let latest = next.retained.last().unwrap();
    assert_eq!((latest.incarnation, next.incarnation), (2, 3));
    assert!(oracle[&latest.id.0].contains(&latest.subtasks[0].payload));
    next.files.settle();
    assert_eq!(
        names_in(&store, &io, "state"),
        named(&store, &io, &next.retained),
        "the zombie's waste was swept"
    );
}

#[test]
fn a_zombie_that_sleeps_through_many_checkpoints_is_fenced() {
    let (store, io, mut oracle) = (memory(), IoRuntime::new(1).unwrap(), Oracle::new());
    let mut zombie = Job::start(Arc::clone(&store), &io, 1).unwrap();
    zombie.step().unwrap();
    zombie.checkpoint(&mut oracle).unwrap().unwrap();
    let mut owner = Job::start(Arc::clone(&store), &io, 2).unwrap();
    for _ in 0..8 {
        owner.step().unwrap();
        owner.checkpoint(&mut oracle).unwrap().unwrap();
    }
    owner.files.settle();
    let wanted = contents(&store, &io);
    assert!(wanted.contains_key("ledger/00000000000000000003"), "the owner's claim stays for ever");

    let error = zombie.checkpoint(&mut oracle).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    zombie.end();
    let after = contents(&store, &io);
    for (name, bytes) in &wanted {
        assert_eq!(after.get(name), Some(bytes), "{name} was touched");
    }
    owner.checkpoint(&mut oracle).unwrap().unwrap();
    let next = Job::start(Arc::clone(&store), &io, 3).unwrap();
    assert!(next.retained.iter().all(|checkpoint| checkpoint.incarnation == 2));
}

#[test]
fn a_zombie_whose_unknown_checkpoint_was_taken_over_and_dropped_is_fenced_at_its_old_number() {
    let (plan, io, mut oracle) = (Arc::new(Plan::default()), IoRuntime::new(1).unwrap(), Oracle::new());
    let store = memory();
    let faulty: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::clone(&store), Arc::clone(&plan)));
    let mut zombie = Job::start(faulty, &io, 1).unwrap();
    zombie.files.settle();
    zombie.step().unwrap();
    zombie.checkpoint(&mut oracle).unwrap().unwrap();
    // The next one is created, but neither the answer nor what is read back arrives.
    zombie.step().unwrap();
    plan.arm(0, 2, When::After);
    assert_eq!(zombie.checkpoint(&mut oracle).unwrap(), None);

    // A successor restores it and goes on from it, until its entry is dropped and gone.
    let mut owner = Job::start(Arc::clone(&store), &io, 2).unwrap();
    assert_eq!(owner.retained.last().unwrap().id.0, 2);
    for _ in 0..2 {
        owner.checkpoint(&mut oracle).unwrap().unwrap();
    }
    owner.files.settle();
    assert!(!names_in(&store, &io, "ledger").contains("ledger/00000000000000000003"), "its number is free");
    let live = contents(&store, &io);

    let error = zombie.checkpoint(&mut oracle).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    zombie.end();
    let after = contents(&store, &io);
    for (name, bytes) in &live {
        assert_eq!(after.get(name), Some(bytes), "{name} was touched");
    }
    owner.checkpoint(&mut oracle).unwrap().unwrap();
}

#[test]
fn attempts_that_start_at_once_get_different_incarnations_and_one_goes_on() {
    for round in 0..20 {
        let (store, io) = (memory(), IoRuntime::new(2).unwrap());
        let start = Arc::new(Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                let (store, io, start) = (Arc::clone(&store), io.clone(), Arc::clone(&start));
                spawn_thread(format!("attempt-{seed}"), move || {
                    start.wait();
                    Job::start(store, &io, seed)
                })
                .unwrap()
            })
            .collect();
        let (mut incarnations, mut going_on) = (Vec::new(), 0);
        let attempts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for attempt in attempts {
            match attempt {
                Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
                Ok(mut job) => {
                    incarnations.push(job.incarnation);
                    match job.checkpoint(&mut Oracle::new()) {
                        Ok(completed) => going_on += usize::from(completed.is_some()),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Fenced, "{error}"),
                    }
                }
            }
        }
        let claims = incarnations.len();
        incarnations.sort_unstable();
        incarnations.dedup();
        assert_eq!((incarnations.len(), going_on), (claims, 1), "round {round}");
    }
}

#[test]
fn a_store_that_overwrites_what_it_should_create_is_refused() {
    let (plan, io) = (Arc::new(Plan::default()), IoRuntime::new(1).unwrap());
    plan.ignore_conditions();
    let store = Arc::new(FaultyStore::new(memory(), plan));
    let error = CheckpointStore::open(store, io, &Entropy::from_seed(1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("FaultyStore(InMemory) overwrote ledger/"), "{error}");
}
