//! The suite every backend passes, written once against the traits.
//!
//! A backend's test opens its factory, says how to run a [`SnapshotTask`] and calls [`Suite::run`]. Each property
//! names itself in the panic it ends with.
#![expect(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a conformance suite fails by panicking, as tests do"
)]
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use alluvium_env::{Entropy, Result};

use crate::merge::Reducing;
use crate::{
    BackendFactory, CheckpointId, FileOwnership, KeyGroup, KeyGroupRange, KeyedStateBackend, Lookup,
    MaxParallelism, Notify, OpenRequest, ReadBatch, ReadId, RestoredPart, SnapshotTask, StateDescriptor,
    StateId, StateKind, SubtaskSnapshot, Sum, key_hash, state_key,
};

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

struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    fn wait(&self) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.wake.wait_timeout_while(rung, Duration::from_secs(30), |rung| !*rung);
        let (mut rung, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "a backend rang no bell for 30 s although it had work under way");
        *rung = false;
    }

    fn notify(self: &Arc<Self>) -> Notify {
        let bell = Arc::clone(self);
        Arc::new(move || {
            *bell.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
            bell.wake.notify_all();
        })
    }
}

struct Opened {
    backend: Box<dyn KeyedStateBackend>,
    bell: Arc<Bell>,
    value: StateId,
    sum: StateId,
}

fn next_incarnation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn check<T>(what: &str, result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error}"))
}

impl Opened {
    /// Reads as the controller does: memory first, then a batch.
    fn get_all(&mut self, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut values = vec![None; keys.len()];
        let mut batch = ReadBatch::default();
        for (index, key) in keys.iter().enumerate() {
            match check("try_get", self.backend.try_get(key)) {
                Lookup::Hit(value) => values[index] = Some(value.into_owned()),
                Lookup::Absent => {}
                Lookup::Miss => batch.push(ReadId(index as u32), key),
            }
        }
        let mut open = batch.len();
        let mut seen = vec![false; keys.len()];
        self.backend.submit(batch);
        while open > 0 {
            let polled = self.backend.poll(&mut |id, answer| {
                let index = id.0 as usize;
                assert!(!std::mem::replace(&mut seen[index], true), "read {index} was answered twice");
                values[index] = check("read", answer).map(<[u8]>::to_vec);
                open -= 1;
            });
            check("poll", polled);
            if open > 0 {
                self.bell.wait();
            }
        }
        values
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.get_all(&[key.to_vec()]).remove(0)
    }

    fn settle(&mut self) {
        while !self.backend.admits() {
            check("poll", self.backend.poll(&mut |_, _| panic!("an answer to no read")));
            if !self.backend.admits() {
                self.bell.wait();
            }
        }
    }

    fn scan(&mut self, state: StateId) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut scan = check("scan", self.backend.scan(state));
        let mut entries = Vec::new();
        while let Some((key, value)) = check("scan", scan.next_entry()) {
            entries.push((key.to_vec(), value.to_vec()));
        }
        entries
    }
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
        let bell = Arc::new(Bell::default());
        let opened = self.factory.open(OpenRequest {
            subtask: index,
            key_groups,
            // No two attempts share an incarnation, or one would write over the other's files.
            incarnation: next_incarnation(),
            restored,
            files: Arc::new(Nobody),
            notify: bell.notify(),
        });
        let mut backend = check("open", opened);
        let value = check("register", backend.register(&descriptor("value", StateKind::Value)));
        let sum = check("register", backend.register(&descriptor("sum", reducing())));
        Opened { backend, bell, value, sum }
    }

    /// Runs every property.
    pub fn run(&self) {
        self.writes_are_seen_by_the_next_read();
        self.adds_fold_into_whatever_is_there();
        self.registration_conflicts_are_invalid();
        self.a_snapshot_is_of_its_own_moment();
        for seed in 0..self.seeds {
            self.random_operations_match_a_map(seed);
        }
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

    fn registration_conflicts_are_invalid(&self) {
        let mut opened = self.open(0, KeyGroupRange::ALL, Vec::new());
        assert!(opened.backend.register(&descriptor("value", StateKind::Value)).is_err(), "registered twice");
        let snapshot = self.snapshot(&mut opened, 1);
        let bell = Arc::new(Bell::default());
        let reopened = self.factory.open(OpenRequest {
            subtask: 0,
            key_groups: KeyGroupRange::ALL,
            incarnation: next_incarnation(),
            restored: vec![part(&snapshot)],
            files: Arc::new(Nobody),
            notify: bell.notify(),
        });
        let conflict = check("open", reopened).register(&descriptor("value", reducing()));
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

    /// Random writes, reads, snapshots and rescales against a map.
    fn random_operations_match_a_map(&self, seed: u64) {
        let random = Entropy::from_seed(seed);
        let mut subtasks = vec![self.open(0, KeyGroupRange::ALL, Vec::new())];
        let (value, sum) = (subtasks[0].value, subtasks[0].sum);
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for step in 0..self.operations {
            let record = random.next_u64() % 400;
            let state = if random.next_u64().is_multiple_of(2) { value } else { sum };
            let key = key_of(state, record);
            let owner = owner_of(&key, subtasks.len());
            let opened = &mut subtasks[owner];
            opened.settle();
            match random.next_u64() % 16 {
                0..=7 if state == sum => {
                    let n = random.next_u64() % 1000;
                    check("merge", opened.backend.merge(&key, &n.to_le_bytes()));
                    let old = model.get(&key).map_or(0, |v| number(v));
                    model.insert(key, (old + n).to_le_bytes().to_vec());
                }
                0..=7 => {
                    let bytes = vec![random.next_u64() as u8; (random.next_u64() % 90) as usize];
                    check("put", opened.backend.put(&key, &bytes));
                    model.insert(key, bytes);
                }
                8 | 9 => {
                    check("delete", opened.backend.delete(&key));
                    model.remove(&key);
                }
                _ if step % 257 == 256 => {
                    let snapshots: Vec<_> =
                        subtasks.iter_mut().map(|s| self.snapshot(s, step as u64 + 1)).collect();
                    let parallelism = (random.next_u64() % 4 + 1) as u16;
                    subtasks = self.rescale(&snapshots, parallelism);
                }
                _ => {
                    let expected = model.get(&key).cloned();
                    assert_eq!(opened.get(&key), expected, "seed {seed}, step {step}, key {key:?}");
                }
            }
        }
        compare(&mut subtasks, &model, seed);
    }

    fn rescale(&self, snapshots: &[SubtaskSnapshot], parallelism: u16) -> Vec<Opened> {
        let open = |index| {
            let range = check("range", MaxParallelism::DEFAULT.range_of(index, parallelism));
            let overlapping = |s: &SubtaskSnapshot| {
                let clip = s.key_groups.intersect(range)?;
                Some(RestoredPart { key_groups: clip, ..part(s) })
            };
            self.open(index, range, snapshots.iter().filter_map(overlapping).collect())
        };
        (0..parallelism).map(open).collect()
    }
}

fn compare(subtasks: &mut [Opened], model: &BTreeMap<Vec<u8>, Vec<u8>>, seed: u64) {
    let states = [subtasks[0].value, subtasks[0].sum];
    let parallelism = subtasks.len();
    let mut scanned = BTreeMap::new();
    for (index, subtask) in subtasks.iter_mut().enumerate() {
        let keys: Vec<_> = model.keys().filter(|k| owner_of(k, parallelism) == index).cloned().collect();
        let values = subtask.get_all(&keys);
        for (key, found) in keys.iter().zip(values) {
            assert_eq!(found.as_ref(), model.get(key), "seed {seed}, batched read of {key:?}");
        }
        for state in states {
            let entries = subtask.scan(state);
            assert!(entries.is_sorted(), "seed {seed}: a scan is in key order");
            scanned.extend(entries);
        }
    }
    assert_eq!(&scanned, model, "seed {seed}: the scans of all subtasks");
}

fn owner_of(key: &[u8], parallelism: usize) -> usize {
    let group = state_key::split(key).map_or(KeyGroup(0), |(group, _, _)| group);
    usize::from(MaxParallelism::DEFAULT.subtask_of(group, parallelism as u16))
}

fn descriptor(name: &str, kind: StateKind) -> StateDescriptor {
    StateDescriptor { name: name.to_owned(), kind }
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
