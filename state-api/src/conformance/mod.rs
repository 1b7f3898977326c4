//! The suite every backend passes, written once against the traits.
//!
//! A backend's test opens its factory, says how to run a [`SnapshotTask`] and calls [`Suite::run`]. Each property
//! names itself in the panic it ends with.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a conformance suite fails by panicking, as tests do"
)]
mod evolution;
mod model;
mod opened;
mod timers;
mod ttl;
mod ttl_model;
mod typed;

use std::sync::Arc;

use alluvium_env::{Clock, ManualClock, Result};

use crate::merge::Reducing;
use crate::{
    BackendFactory, CheckpointId, KeyCodec as _, KeyGroup, KeyGroupRange, KeyedStateBackend, MaxParallelism,
    OpenRequest, RestoredPart, SnapshotTask, StateDescriptor, StateId, StateKind, SubtaskSnapshot, Sum,
    key_hash, list_elements, push_list_element, state_key,
};
use opened::{Bell, Nobody, Opened, next_incarnation};

/// A backend under test.
pub struct Suite<'a> {
    /// Opens it.
    pub factory: &'a dyn BackendFactory,
    /// Runs the asynchronous part of a snapshot.
    pub run_snapshot: &'a dyn Fn(SnapshotTask) -> Result<SubtaskSnapshot>,
    /// Random operations in the model test; every seed runs this many.
    pub operations: usize,
    /// Seeds of the model test.
    pub seeds: u64,
}

/// A state key of some record key.
fn key_of(state: StateId, record: u64) -> Vec<u8> {
    let mut encoded = format!("key-{record}").into_bytes();
    encoded.extend_from_slice(&[0, 0]);
    let mut key = Vec::new();
    state_key::build(&mut key, MaxParallelism::DEFAULT.key_group(key_hash(&encoded)), state, &encoded);
    key
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or_else(|_| panic!("a sum of {} bytes", bytes.len()), u64::from_le_bytes)
}

impl Suite<'_> {
    fn open(&self, index: u16, key_groups: KeyGroupRange, restored: Vec<RestoredPart>) -> Opened {
        let (backend, bell) =
            self.open_backend(index, key_groups, restored, Arc::new(ManualClock::default()));
        Opened::new(backend, bell)
    }

    /// A backend without states.
    fn open_backend(
        &self,
        index: u16,
        key_groups: KeyGroupRange,
        restored: Vec<RestoredPart>,
        clock: Arc<dyn Clock>,
    ) -> (Box<dyn KeyedStateBackend>, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        let opened = self.factory.open(OpenRequest {
            subtask: index,
            key_groups,
            // No two attempts share an incarnation, or one would write over the other's files.
            incarnation: next_incarnation(),
            restored,
            files: Arc::new(Nobody),
            notify: bell.notify(),
            clock,
        });
        (check("open", opened), bell)
    }

    /// Runs every property.
    pub fn run(&self) {
        self.writes_are_seen_by_the_next_read();
        self.adds_fold_into_whatever_is_there();
        self.appends_keep_their_order();
        self.a_cleared_map_is_empty_and_its_neighbours_are_not();
        self.registration_conflicts_are_invalid();
        self.a_snapshot_is_of_its_own_moment();
        self.codecs_evolve_and_others_are_refused();
        for seed in 0..self.seeds {
            self.random_operations_match_a_map(seed);
        }
        self.run_ttl();
        self.run_typed();
        for seed in 0..self.seeds {
            self.random_timers_match_a_set(seed);
        }
        self.timers_are_dropped_only_if_that_is_said();
    }

    fn writes_are_seen_by_the_next_read(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        let key = key_of(opened.value, 1);
        assert_eq!(opened.get(&key), None, "a key that was never written");
        check("put", opened.backend.put(&key, b"one"));
        assert_eq!(opened.get(&key).as_deref(), Some(b"one".as_slice()), "a put");
        check("put", opened.backend.put(&key, b"another one"));
        assert_eq!(opened.get(&key).as_deref(), Some(b"another one".as_slice()), "a longer put");
        check("put", opened.backend.put(&key, b""));
        assert_eq!(opened.get(&key).as_deref(), Some(b"".as_slice()), "an empty value is a value");
        check("delete", opened.backend.delete(&key));
        assert_eq!(opened.get(&key), None, "a delete");
    }

    fn adds_fold_into_whatever_is_there(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        let key = key_of(opened.sum, 1);
        for expected in [3, 6] {
            check("merge", opened.backend.merge(&key, &3_u64.to_le_bytes()));
            assert_eq!(opened.get(&key).as_deref().map(number), Some(expected), "adds to nothing");
        }
        check("delete", opened.backend.delete(&key));
        check("merge", opened.backend.merge(&key, &5_u64.to_le_bytes()));
        assert_eq!(opened.get(&key).as_deref().map(number), Some(5), "an add after a delete");
        let value = key_of(opened.value, 1);
        assert!(opened.backend.merge(&value, b"x").is_err(), "a value state takes no merge");
    }

    fn appends_keep_their_order(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        let key = key_of(opened.list, 1);
        for element in [b"b".as_slice(), b"", b"a"] {
            let mut operand = Vec::new();
            push_list_element(&mut operand, element);
            check("merge", opened.backend.merge(&key, &operand));
        }
        let list = opened.get(&key).unwrap_or_default();
        let elements: Vec<_> = list_elements(&list).map(|e| check("element", e)).collect();
        assert_eq!(elements, [b"b".as_slice(), b"", b"a"], "elements in the order of their appends");
    }

    fn a_cleared_map_is_empty_and_its_neighbours_are_not(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        let maps = [1, 2, 3].map(|record| key_of(opened.map, record));
        let entry = |map: &[u8], user_key: u32| {
            let mut key = map.to_vec();
            user_key.encode_key(&mut key);
            key
        };
        for map in &maps {
            for user_key in 0..5 {
                check("put", opened.backend.put(&entry(map, user_key), b"old"));
            }
        }
        check("delete_prefix", opened.backend.delete_prefix(&maps[1]));
        check("put", opened.backend.put(&entry(&maps[1], 3), b"new"));
        assert_eq!(opened.entries(&maps[0], 2).len(), 5, "the map before");
        assert_eq!(opened.entries(&maps[2], 2).len(), 5, "the map behind");
        assert_eq!(
            opened.entries(&maps[1], 2),
            [(entry(&maps[1], 3), b"new".to_vec())],
            "what was put later"
        );
        assert_eq!(opened.get(&entry(&maps[1], 2)), None, "an entry of the cleared map");
        check("put", opened.backend.put(&entry(&maps[1], 3), b"two"));
        assert_eq!(opened.get(&entry(&maps[1], 3)).as_deref(), Some(b"two".as_slice()));
    }

    fn registration_conflicts_are_invalid(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        assert!(opened.backend.register(&descriptor("value", StateKind::Value)).is_err(), "registered twice");
        let snapshot = self.snapshot(&mut opened, 1);
        let clock = Arc::new(ManualClock::default());
        let (mut reopened, _) = self.open_backend(0, KeyGroupRange::ALL, vec![part(&snapshot)], clock);
        let conflict = reopened.register(&descriptor("value", reducing()));
        assert!(conflict.is_err(), "a state stored as another kind");
    }

    fn snapshot(&self, opened: &mut Opened, id: u64) -> SubtaskSnapshot {
        let task = check("snapshot", opened.backend.snapshot(CheckpointId(id)));
        check("snapshot", (self.run_snapshot)(task))
    }

    fn a_snapshot_is_of_its_own_moment(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        let (kept, sum) = (key_of(opened.value, 1), key_of(opened.sum, 1));
        check("put", opened.backend.put(&kept, b"before"));
        check("merge", opened.backend.merge(&sum, &1_u64.to_le_bytes()));
        let task = check("snapshot", opened.backend.snapshot(CheckpointId(1)));
        check("put", opened.backend.put(&kept, b"after!"));
        check("merge", opened.backend.merge(&sum, &1_u64.to_le_bytes()));
        let snapshot = check("snapshot", (self.run_snapshot)(task));
        let later = self.snapshot(&mut opened, 2);
        for (snapshot, value, total) in [(snapshot, b"before", 1), (later, b"after!", 2)] {
            let mut restored = self.open(0, KeyGroupRange::ALL, vec![part(&snapshot)]);
            assert_eq!(
                restored.get(&kept).as_deref(),
                Some(value.as_slice()),
                "a value of the snapshot's moment"
            );
            assert_eq!(
                restored.get(&sum).as_deref().map(number),
                Some(total),
                "a sum of the snapshot's moment"
            );
        }
    }
}

fn check<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn owner_of(key: &[u8], parallelism: usize) -> usize {
    let group = state_key::split(key).map_or(KeyGroup(0), |(group, _, _)| group);
    usize::from(MaxParallelism::DEFAULT.subtask_of(group, parallelism as u16))
}

fn descriptor(name: &str, kind: StateKind) -> StateDescriptor {
    StateDescriptor::new(name, kind)
}

fn reducing() -> StateKind {
    StateKind::Reducing(Arc::new(Reducing::<Sum<u64>>::default()))
}

fn part(snapshot: &SubtaskSnapshot) -> RestoredPart {
    RestoredPart {
        key_groups: snapshot.key_groups,
        backend: snapshot.backend.to_owned(),
        payload: snapshot.payload.clone(),
    }
}
