//! Savepoints exist whole or not at all, stand by themselves, and retired checkpoints go with what only they need.
use std::sync::Arc;

use alluvium_checkpoint::{
    CanonicalEntries, RetainedCheckpoints, Savepoint, SavepointRequest, Transfer, create_canonical_savepoint,
    create_savepoint, retire_checkpoints,
};
use alluvium_env::{Entropy, ErrorKind, IoRuntime, Result};
use alluvium_state_api::{
    CheckpointId, KeyGroup, KeyGroupRange, RestoredPart, StateEntries, StateId, StoredEntry, StoredState,
    StoredStates, push_list_element, state_key,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::faulty_store::{FaultyStore, Plan, When};
use crate::job::{Job, Oracle, contents, named, names_in};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

/// A root whose job goes on.
fn running(io: &IoRuntime, paged: bool) -> (Arc<dyn ObjectStore>, Job) {
    let store = memory();
    let mut job = Job::start(Arc::clone(&store), io, 1).unwrap().paged(paged);
    for _ in 0..4 {
        job.step().unwrap();
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.files.settle();
    (store, job)
}

fn save(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    io: &IoRuntime,
    (checkpoint, seed): (Option<u64>, u64),
) -> Result<Savepoint> {
    let transfer = Transfer { from: Arc::clone(from), to: Arc::clone(to), shared: None };
    let url = "mem:///state".to_owned();
    let checkpoint = checkpoint.map(CheckpointId);
    let request = SavepointRequest { transfer, url, checkpoint, copied: &|_| () };
    create_savepoint(&request, io, &Entropy::from_seed(seed))
}

#[test]
fn a_savepoint_stands_by_itself_and_its_job_goes_on_undisturbed() {
    [false, true].into_iter().for_each(stands_by_itself);
}

fn stands_by_itself(paged: bool) {
    let io = IoRuntime::new(1).unwrap();
    let (from, mut job) = running(&io, paged);
    let before = contents(&from, &io);
    let to = memory();
    let made = save(&from, &to, &io, (Some(3), 2)).unwrap();
    let objects = named(&from, &io, std::slice::from_ref(&made.checkpoint)).len() as u64;
    assert_eq!((made.checkpoint.id, made.objects), (CheckpointId(3), objects));
    assert_eq!(made.checkpoint.pages().count(), usize::from(paged));
    assert_eq!(contents(&from, &io), before);
    job.step().unwrap();
    job.checkpoint(&mut Oracle::new()).unwrap().expect("it was not fenced");
    // Everything that reads roots reads it, and a job goes on in it.
    let read = RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap();
    assert_eq!(read.all().len(), 1);
    assert_eq!(names_in(&to, &io, "state"), named(&to, &io, read.all()));
    let mut next = Job::start(Arc::clone(&to), &io, 3).unwrap();
    assert_eq!(next.retained[0].subtasks, made.checkpoint.subtasks);
    next.step().unwrap();
    next.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    next.end();
    let names = names_in(&to, &io, "state");
    assert_eq!(names, named(&to, &io, RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap().all()));
}

#[test]
fn a_savepoint_is_put_where_nothing_is_and_taken_of_what_is_there() {
    let io = IoRuntime::new(1).unwrap();
    let (from, _job) = running(&io, false);
    let to = memory();
    let error = save(&from, &to, &io, (Some(9), 2)).unwrap_err();
    assert!(error.to_string().contains("checkpoint 9 is not retained: there are 3, 4"), "{error}");
    assert!(contents(&to, &io).is_empty());
    save(&from, &to, &io, (None, 2)).unwrap();
    let error = save(&from, &to, &io, (None, 3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("choose an empty folder or prefix"), "{error}");
    let error = save(&memory(), &memory(), &io, (None, 4)).unwrap_err();
    assert_eq!(error.to_string(), "there is no checkpoint in mem:///state");
}

#[test]
fn any_call_may_fail_and_the_same_command_makes_the_savepoint_whole() {
    [false, true].into_iter().for_each(any_call_may_fail);
}

fn any_call_may_fail(paged: bool) {
    let io = IoRuntime::new(1).unwrap();
    let (from, _job) = running(&io, paged);
    for (burst, when) in [(1, When::Before), (1, When::After), (3, When::Before), (3, When::After)] {
        let calls = (0..100).find(|call| {
            let (to, plan) = (memory(), Arc::new(Plan::default()));
            plan.arm(*call, burst, when);
            let faulty = [&from, &to].map(|store| -> Arc<dyn ObjectStore> {
                Arc::new(FaultyStore::new(Arc::clone(store), Arc::clone(&plan)))
            });
            let case = format!("call {call}, {burst} {when:?}");
            let made = save(&faulty[0], &faulty[1], &io, (None, 2));
            if let Err(error) = &made {
                assert!(error.to_string().contains("injected fault"), "{case}: {error}");
            }
            let exists = || RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap().latest().is_some();
            assert!(made.is_err() || exists(), "{case}");
            if !exists() {
                save(&from, &to, &io, (None, 3)).unwrap();
            }
            let read = RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap();
            assert_eq!(names_in(&to, &io, "state"), named(&to, &io, read.all()), "{case}");
            !plan.was_reached()
        });
        assert!(calls.is_some_and(|calls| calls > 8), "{calls:?} calls were swept");
    }
}

/// Entries in memory: as many bytes as an upload in two parts takes.
struct InHand {
    states: StoredStates,
    value: Vec<u8>,
    key: Vec<u8>,
    next: u16,
}

const ENTRIES: u16 = 40;

impl InHand {
    fn new() -> Self {
        let entropy = Entropy::from_seed(9);
        let noise: Vec<u8> = (0..32_000).flat_map(|_| entropy.next_u64().to_le_bytes()).collect();
        let mut value = Vec::new();
        push_list_element(&mut value, &noise);
        let state =
            StoredState { name: "noise".to_owned(), kind: "value".to_owned(), ..StoredState::default() };
        let states = StoredStates { time_millis: 0, states: vec![state] };
        Self { states, value, key: Vec::new(), next: 0 }
    }
}

impl StateEntries for InHand {
    fn states(&self) -> &StoredStates {
        &self.states
    }

    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
        if self.next == ENTRIES {
            return Ok(None);
        }
        state_key::build(&mut self.key, KeyGroup(self.next), StateId(0), b"key");
        self.next += 1;
        Ok(Some(StoredEntry { key: &self.key, values: &self.value }))
    }
}

fn save_canonical(
    from: &Arc<dyn ObjectStore>,
    to: &Arc<dyn ObjectStore>,
    io: &IoRuntime,
    seed: u64,
) -> Result<Savepoint> {
    let transfer = Transfer { from: Arc::clone(from), to: Arc::clone(to), shared: None };
    let url = "mem:///state".to_owned();
    let request = SavepointRequest { transfer, url, checkpoint: None, copied: &|_| () };
    let open = |_: &RestoredPart| Ok(Box::new(InHand::new()) as Box<dyn StateEntries>);
    create_canonical_savepoint(&request, &open, io, &Entropy::from_seed(seed))
}

#[test]
fn any_call_may_fail_and_a_canonical_savepoint_exists_whole_or_not_at_all() {
    let io = IoRuntime::new(1).unwrap();
    let (from, _job) = running(&io, true);
    for (burst, when) in [(1, When::Before), (1, When::After), (3, When::Before)] {
        let calls = (0..100).find(|call| {
            let (to, plan) = (memory(), Arc::new(Plan::default()));
            plan.arm(*call, burst, when);
            let faulty = [&from, &to].map(|store| -> Arc<dyn ObjectStore> {
                Arc::new(FaultyStore::new(Arc::clone(store), Arc::clone(&plan)))
            });
            let case = format!("call {call}, {burst} {when:?}");
            let made = save_canonical(&faulty[0], &faulty[1], &io, 2);
            if let Err(error) = &made {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{case}: {error}");
                assert!(error.to_string().contains("injected fault"), "{case}: {error}");
            }
            assert_eq!(plan.open_uploads(), 0, "{case}: parts that nobody sees are left");
            let exists = || RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap().latest().is_some();
            // Where only the answer to the last call is lost it may exist nevertheless, and is whole then.
            assert!(made.is_err() || exists(), "{case}");
            if !exists() {
                save_canonical(&from, &to, &io, 3).unwrap();
            }
            let read = RetainedCheckpoints::read(Arc::clone(&to), &io).unwrap();
            assert_eq!(names_in(&to, &io, "state"), named(&to, &io, read.all()), "{case}");
            let mut entries = 0;
            for part in read.latest().unwrap().restore_for(KeyGroupRange::ALL).parts {
                let mut all = CanonicalEntries::open(&part, Arc::clone(&to), io.clone()).unwrap();
                while all.next_entry().unwrap().is_some() {
                    entries += 1;
                }
            }
            assert_eq!(entries, ENTRIES, "{case}");
            !plan.was_reached()
        });
        assert!(calls.is_some_and(|calls| calls > 8), "{calls:?} calls were swept");
    }
}

#[test]
fn any_call_of_a_large_copy_may_fail_and_no_part_of_it_is_left() {
    let io = IoRuntime::new(1).unwrap();
    let (state, _job) = running(&io, false);
    let from = memory();
    save_canonical(&state, &from, &io, 2).unwrap();
    for (burst, when) in [(1, When::Before), (1, When::After), (3, When::Before)] {
        let calls = (0..100).find(|call| {
            let (to, plan) = (memory(), Arc::new(Plan::default()));
            plan.arm(*call, burst, when);
            let faulty = [&from, &to].map(|store| -> Arc<dyn ObjectStore> {
                Arc::new(FaultyStore::new(Arc::clone(store), Arc::clone(&plan)))
            });
            let made = save(&faulty[0], &faulty[1], &io, (None, 3));
            assert!(made.is_ok() || plan.was_reached(), "call {call}");
            assert_eq!(
                plan.open_uploads(),
                0,
                "call {call}, {burst} {when:?}: parts that nobody sees are left"
            );
            !plan.was_reached()
        });
        assert!(calls.is_some_and(|calls| calls > 8), "{calls:?} calls were swept");
    }
}

#[test]
fn of_two_makers_one_makes_it_and_the_other_is_fenced() {
    let io = IoRuntime::new(1).unwrap();
    let (from, _job) = running(&io, false);
    let (to, plan) = (memory(), Arc::new(Plan::default()));
    let slow: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(Arc::clone(&to), Arc::clone(&plan)));
    // The first is interrupted behind its claim; the second makes it, and the first finds its place taken.
    plan.arm(3, 1000, When::Before);
    save(&from, &slow, &io, (None, 2)).unwrap_err();
    save(&from, &to, &io, (None, 3)).unwrap();
    assert_eq!(save(&from, &to, &io, (None, 2)).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(RetainedCheckpoints::read(to, &io).unwrap().all().len(), 1);
}

#[test]
fn a_retired_checkpoint_goes_with_what_no_other_names() {
    [false, true].into_iter().for_each(retired);
}

fn retired(paged: bool) {
    let io = IoRuntime::new(1).unwrap();
    let (store, job) = running(&io, paged);
    job.end();
    let unknown = retire_checkpoints(Arc::clone(&store), &io, &Entropy::from_seed(2), &[CheckpointId(1)]);
    assert!(unknown.unwrap_err().to_string().contains("there are 3, 4"));
    let ids = |store: &Arc<dyn ObjectStore>| {
        let read = RetainedCheckpoints::read(Arc::clone(store), &io).unwrap();
        assert_eq!(names_in(store, &io, "state"), named(store, &io, read.all()));
        read.all().iter().map(|one| one.id.0).collect::<Vec<_>>()
    };
    let retired = retire_checkpoints(Arc::clone(&store), &io, &Entropy::from_seed(3), &[CheckpointId(4)]);
    let retired = retired.unwrap();
    assert_eq!((retired.retained, retired.left), (vec![CheckpointId(3)], 0));
    assert_eq!(ids(&store), [3]);
    let mut next = Job::start(Arc::clone(&store), &io, 4).unwrap();
    next = next.paged(paged);
    next.step().unwrap();
    next.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    next.end();
    assert_eq!(ids(&store), [3, 4]);
    retire_checkpoints(Arc::clone(&store), &io, &Entropy::from_seed(5), &[CheckpointId(3), CheckpointId(4)])
        .unwrap();
    assert_eq!(ids(&store), [0_u64; 0]);
}
