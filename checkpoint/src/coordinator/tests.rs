//! The state machine: what is pending, when, and which failures end the job.
use alluvium_env::{Entropy, IoRuntime, ManualClock};
use alluvium_state_api::{KeyGroupRange, MaxParallelism};
use object_store::memory::InMemory;

use super::*;

struct World {
    coordinator: Coordinator,
    clock: Arc<ManualClock>,
}

fn world(tolerated_failures: u32) -> World {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1000)));
    let store = Arc::new(InMemory::new());
    let opened = CheckpointStore::open(store, IoRuntime::new(1).unwrap(), &Entropy::from_seed(1)).unwrap();
    let settings = CheckpointSettings { tolerated_failures, ..CheckpointSettings::default() };
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
        CheckpointCounters { completed: 1, failed: 0, failed_in_a_row: 0 }
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
        assert_eq!(world.coordinator.pending(), None);
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
