//! The state machine: what is pending, when, and which failures end the job.
use alluvium_env::{Entropy, IoRuntime, ManualClock};
use alluvium_state_api::{FileOwnership, FileRef, KeyGroupRange, MaxParallelism};
use object_store::memory::InMemory;

use super::*;

struct World {
    coordinator: Coordinator,
    clock: Arc<ManualClock>,
}

fn world(tolerated_failures: u32) -> World {
    with_settings(CheckpointSettings { tolerated_failures, ..CheckpointSettings::default() })
}

fn with_settings(settings: CheckpointSettings) -> World {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1000)));
    let store = Arc::new(InMemory::new());
    let opened = CheckpointStore::open(store, IoRuntime::new(1).unwrap(), &Entropy::from_seed(1)).unwrap();
    let shape =
        JobShape { job: "j".into(), max_parallelism: MaxParallelism::DEFAULT, subtasks: 2, sources: 1 };
    let coordinator = Coordinator::new(opened.checkpoints, settings, shape, clock.clone()).unwrap();
    World { coordinator, clock }
}

fn ack(start: u16, end: u16) -> SubtaskAck {
    let snapshot = SubtaskSnapshot {
        key_groups: KeyGroupRange { start, end },
        backend: "heap",
        payload: Bytes::new(),
        files: Vec::new(),
        pages: Vec::new(),
        uploaded_bytes: 100,
        pins: Box::new(()),
    };
    SubtaskAck {
        snapshot,
        inputs: Bytes::new(),
        inputs_count: 2,
        operator_states: Vec::new(),
        sync_micros: u64::from(end),
    }
}

impl World {
    fn try_complete(&mut self) -> Result<Option<CompletedCheckpoint>> {
        self.coordinator.try_complete(&|sources| sources.concat().into(), false)
    }

    fn acknowledge_all(&mut self, id: CheckpointId) {
        self.coordinator.acknowledge_source(id, 0, Bytes::from("s"));
        self.coordinator.acknowledge_subtask(id, 0, Ok(ack(0, 64)));
        self.coordinator.acknowledge_subtask(id, 1, Ok(ack(64, 128)));
    }
}

#[test]
fn a_checkpoint_completes_with_its_last_acknowledgement_and_only_once() {
    let mut world = world(0);
    let id = world.coordinator.trigger().unwrap();
    assert_eq!(world.coordinator.trigger(), None, "one is pending");
    world.coordinator.acknowledge_subtask(id, 1, Ok(ack(64, 128)));
    world.coordinator.acknowledge_source(id, 0, Bytes::from("s"));
    world.coordinator.acknowledge_subtask(id, 1, Ok(ack(64, 128)));
    assert_eq!(world.try_complete().unwrap(), None, "subtask 0 is missing");
    world.clock.advance(Duration::from_millis(30));
    world.coordinator.acknowledge_subtask(id, 0, Ok(ack(0, 64)));
    let done = world.try_complete().unwrap().unwrap();
    assert_eq!((done.id, done.sync_micros, done.async_millis, done.inputs_kept), (id, 128, 30, 4));
    assert!(done.uploaded_bytes > 200, "the entry counts as well");
    assert_eq!(world.try_complete().unwrap(), None);
    assert_eq!(
        world.coordinator.counters(),
        CheckpointCounters { completed: 1, ..CheckpointCounters::default() }
    );
    assert_eq!(world.coordinator.trigger(), Some(CheckpointId(id.0 + 1)));
}

#[test]
fn triggers_keep_the_interval_and_wait_for_a_slow_checkpoint() {
    let mut world = world(0);
    let interval = CheckpointSettings::INTERVAL;
    assert_eq!(world.coordinator.next_due(), Some(interval));
    assert_eq!(world.coordinator.trigger_if_due(), None);
    world.clock.advance(interval);
    let id = world.coordinator.trigger_if_due().unwrap();
    assert_eq!(world.coordinator.next_due(), Some(CheckpointSettings::TIMEOUT));
    world.clock.advance(interval * 2);
    assert_eq!(world.coordinator.trigger_if_due(), None);
    world.acknowledge_all(id);
    world.try_complete().unwrap().unwrap();
    assert_eq!(world.coordinator.next_due(), Some(Duration::ZERO));
    assert!(world.coordinator.trigger_if_due().is_some());
}

#[test]
fn a_timeout_names_who_is_missing_and_the_next_checkpoint_has_a_new_number() {
    let mut world = world(1);
    let id = world.coordinator.trigger().unwrap();
    world.coordinator.acknowledge_subtask(id, 0, Ok(ack(0, 64)));
    world.clock.advance(CheckpointSettings::TIMEOUT);
    let next = world.coordinator.trigger_if_due().unwrap();
    assert!(next > id);
    let why = world.coordinator.last_failure().unwrap();
    assert!(
        why.starts_with("checkpoint 1: source 0 and subtask 1 did not acknowledge it within 600 s"),
        "{why}"
    );
    // What comes too late for the first is not taken for the second.
    world.acknowledge_all(id);
    assert_eq!(world.try_complete().unwrap(), None);
    world.acknowledge_all(next);
    assert_eq!(world.try_complete().unwrap().unwrap().id, next);
}

#[test]
fn failures_are_borne_up_to_the_limit_in_a_row() {
    let mut world = world(1);
    for round in 0..3 {
        let id = world.coordinator.trigger().unwrap();
        world.coordinator.acknowledge_subtask(id, 0, Err(Error::unavailable("upload failed")));
        assert_eq!(world.coordinator.pending().next(), None);
        assert_eq!(world.try_complete().unwrap(), None, "round {round}");
        let id = world.coordinator.trigger().unwrap();
        world.acknowledge_all(id);
        world.try_complete().unwrap().unwrap();
    }
    for _ in 0..2 {
        let id = world.coordinator.trigger().unwrap();
        world.coordinator.abort(id, "the barrier was lost");
    }
    let error = world.try_complete().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("2 checkpoints failed in a row"), "{error}");
    assert_eq!(world.coordinator.trigger(), None);
    assert_eq!(world.try_complete().unwrap_err().to_string(), error.to_string());
}

#[test]
fn what_no_retry_can_help_ends_the_job_at_once() {
    for fatal in [Error::fenced("x"), Error::corruption("x"), Error::internal("x"), Error::closed("x")] {
        let (mut world, kind) = (world(10), fatal.kind());
        let id = world.coordinator.trigger().unwrap();
        world.coordinator.acknowledge_subtask(id, 0, Err(fatal));
        assert_eq!(world.try_complete().unwrap_err().kind(), kind);
    }
}

#[test]
fn a_checkpoint_that_misses_key_groups_is_never_written() {
    let mut world = world(10);
    let id = world.coordinator.trigger().unwrap();
    world.coordinator.acknowledge_source(id, 0, Bytes::new());
    world.coordinator.acknowledge_subtask(id, 0, Ok(ack(0, 64)));
    world.coordinator.acknowledge_subtask(id, 1, Ok(ack(65, 128)));
    assert_eq!(world.try_complete().unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(world.coordinator.counters().completed, 0);
}

/// Files below the root that the job holds, and an acknowledgement that names and pins one.
fn ack_with(world: &World, start: u16, file: &str) -> SubtaskAck {
    struct Pin(Arc<SharedFileRegistry>, String);
    impl Drop for Pin {
        fn drop(&mut self) {
            self.0.release(&self.1);
        }
    }
    let files = Arc::clone(world.coordinator.files());
    files.hold(file);
    let mut ack = ack(start, start + 64);
    ack.snapshot.files = vec![FileRef { name: file.to_owned(), size_bytes: 1 }];
    ack.snapshot.pins = Box::new(Pin(files, file.to_owned()));
    ack
}

#[test]
fn as_many_checkpoints_as_allowed_are_pending_and_each_takes_its_own_acknowledgements() {
    let mut world = with_settings(CheckpointSettings { concurrent: 2, ..CheckpointSettings::default() });
    let (one, two) = (world.coordinator.trigger().unwrap(), world.coordinator.trigger().unwrap());
    assert_eq!(world.coordinator.trigger(), None);
    assert_eq!(world.coordinator.pending().collect::<Vec<_>>(), [one, two]);
    world.coordinator.acknowledge_subtask(two, 0, Ok(ack(0, 64)));
    world.acknowledge_all(one);
    assert_eq!(world.coordinator.ready(), Some(one));
    assert_eq!(world.try_complete().unwrap().unwrap().id, one);
    assert_eq!(world.try_complete().unwrap(), None, "half of it is missing");
    world.acknowledge_all(two);
    assert_eq!(world.try_complete().unwrap().unwrap().id, two);
    let counters = world.coordinator.counters();
    assert_eq!((counters.completed, counters.subsumed, counters.failed), (2, 0, 0));
}

#[test]
fn a_checkpoint_that_completes_gives_up_the_older_ones_with_their_files() {
    let mut world = with_settings(CheckpointSettings { concurrent: 3, ..CheckpointSettings::default() });
    let [one, two, three] = [(); 3].map(|()| world.coordinator.trigger().unwrap());
    let early = ack_with(&world, 0, "state/00000001/0/early");
    world.coordinator.acknowledge_subtask(one, 0, Ok(early));
    let late = ack_with(&world, 64, "state/00000001/1/late");
    world.acknowledge_all(two);
    assert_eq!(world.coordinator.files().stats().files, 2);
    assert_eq!(world.try_complete().unwrap().unwrap().id, two);
    assert_eq!(world.coordinator.pending().collect::<Vec<_>>(), [three], "the newer one goes on");
    assert_eq!(world.coordinator.files().stats().files, 1, "what only the older one named is let go");
    world.coordinator.acknowledge_subtask(one, 1, Ok(late));
    assert_eq!(world.coordinator.files().stats().files, 0, "and so is what comes too late for it");
    let counters = world.coordinator.counters();
    assert_eq!((counters.completed, counters.subsumed, counters.failed), (1, 1, 0));
    world.acknowledge_all(three);
    assert_eq!(world.try_complete().unwrap().unwrap().id, three);
}

#[test]
fn what_is_acknowledged_after_an_abort_is_let_go() {
    let mut world = world(10);
    let id = world.coordinator.trigger().unwrap();
    let (early, late) =
        (ack_with(&world, 0, "state/00000001/0/a"), ack_with(&world, 64, "state/00000001/1/b"));
    world.coordinator.acknowledge_subtask(id, 0, Ok(early));
    world.clock.advance(CheckpointSettings::TIMEOUT);
    world.coordinator.give_up_overdue();
    assert_eq!(world.coordinator.counters().failed, 1);
    assert_eq!(world.coordinator.files().stats().files, 1, "the late one's upload is still under way");
    world.coordinator.acknowledge_subtask(id, 1, Ok(late));
    assert_eq!(world.coordinator.files().stats().files, 0);
    let stats = world.coordinator.files().settle();
    assert_eq!((stats.deleted, stats.waiting), (2, 0));
}

#[test]
fn after_the_end_of_one_the_pause_passes_before_the_next() {
    let (pause, second) = (Duration::from_secs(3), Duration::from_secs(1));
    let mut world = with_settings(CheckpointSettings { min_pause: pause, ..CheckpointSettings::default() });
    world.clock.advance(second);
    let id = world.coordinator.trigger_if_due().unwrap();
    world.clock.advance(second * 4);
    world.acknowledge_all(id);
    world.try_complete().unwrap().unwrap();
    assert_eq!(world.coordinator.next_due(), Some(pause), "though its interval is over");
    world.clock.advance(second * 2);
    assert_eq!(world.coordinator.trigger_if_due(), None);
    world.clock.advance(second);
    let id = world.coordinator.trigger_if_due().unwrap();
    world.coordinator.abort(id, "the barrier was lost");
    assert_eq!(world.coordinator.next_due(), Some(pause), "one that failed has ended as well");
    assert!(world.coordinator.trigger().is_some(), "one on request waits for nothing");
}

#[test]
fn each_of_several_has_its_own_timeout() {
    let [timeout, step, rest] = [10, 4, 6].map(Duration::from_secs);
    let settings =
        CheckpointSettings { concurrent: 2, timeout, interval: None, ..CheckpointSettings::default() };
    let mut world = with_settings(settings);
    let one = world.coordinator.trigger().unwrap();
    world.clock.advance(step);
    let two = world.coordinator.trigger().unwrap();
    assert_eq!(world.coordinator.next_due(), Some(rest));
    world.clock.advance(rest);
    world.coordinator.give_up_overdue();
    assert!(!world.coordinator.is_pending(one) && world.coordinator.is_pending(two));
    assert_eq!(world.coordinator.next_due(), Some(step));
}
