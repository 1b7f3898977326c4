//! Random operations on all kinds of state, snapshots and rescales, against a map.
use std::collections::BTreeMap;

use alluvium_env::Entropy;

use super::opened::Opened;
use super::{Suite, check, key_of, number, owner_of, part};
use crate::{
    KeyCodec as _, KeyGroupRange, MaxParallelism, RestoredPart, StateId, SubtaskSnapshot, push_list_element,
};

/// What every backend must hold: state keys and values.
type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// One run: the backends of all subtasks, and the map.
struct Run<'s> {
    suite: &'s Suite<'s>,
    random: Entropy,
    subtasks: Vec<Opened>,
    model: Entries,
    seed: u64,
}

impl Suite<'_> {
    pub(super) fn random_operations_match_a_map(&self, seed: u64) {
        let subtasks = vec![self.open(0, KeyGroupRange::ALL, Vec::new())];
        let random = Entropy::from_seed(seed);
        let mut run = Run { suite: self, random, subtasks, model: Entries::new(), seed };
        for step in 1..=self.operations as u64 {
            if step.is_multiple_of(257) {
                run.rescale(step);
            } else {
                run.operate();
            }
        }
        run.compare();
    }
}

impl Run<'_> {
    fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    fn states(&self) -> [StateId; 4] {
        let Opened { value, sum, list, map, .. } = self.subtasks[0];
        [value, sum, list, map]
    }

    fn operate(&mut self) {
        let states = self.states();
        let [value, sum, list, map] = states;
        let state = states[self.below(4) as usize];
        // Few records for maps, so that each has many entries.
        let record = self.below(if state == map { 40 } else { 400 });
        let mut key = key_of(state, record);
        let prefix = key.clone();
        if state == map {
            (self.below(25) as u32).encode_key(&mut key);
        }
        let owner = owner_of(&key, self.subtasks.len());
        self.subtasks[owner].settle();
        match self.below(16) {
            0..=7 if state == value || state == map => self.put(owner, key),
            0..=7 if state == sum => self.add(owner, key),
            0..=7 if state == list => self.append(owner, key),
            8 | 9 => {
                check("delete", self.subtasks[owner].backend.delete(&key));
                self.model.remove(&key);
            }
            10 => {
                check("delete_prefix", self.subtasks[owner].backend.delete_prefix(&prefix));
                self.model.retain(|key, _| !key.starts_with(&prefix));
            }
            11 | 12 => {
                let limit = self.below(9) as u32 + 1;
                let found = self.subtasks[owner].entries(&prefix, limit);
                assert_eq!(found, self.expected(&prefix), "seed {}, entries of {prefix:?}", self.seed);
            }
            _ => {
                let found = self.subtasks[owner].get(&key);
                assert_eq!(found, self.model.get(&key).cloned(), "seed {}, key {key:?}", self.seed);
            }
        }
    }

    fn expected(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let from = self.model.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        from.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn put(&mut self, owner: usize, key: Vec<u8>) {
        let bytes = vec![self.random.next_u64() as u8; self.below(90) as usize];
        check("put", self.subtasks[owner].backend.put(&key, &bytes));
        self.model.insert(key, bytes);
    }

    fn add(&mut self, owner: usize, key: Vec<u8>) {
        let n = self.below(1000);
        check("merge", self.subtasks[owner].backend.merge(&key, &n.to_le_bytes()));
        let old = self.model.get(&key).map_or(0, |value| number(value));
        self.model.insert(key, (old + n).to_le_bytes().to_vec());
    }

    fn append(&mut self, owner: usize, key: Vec<u8>) {
        let mut element = Vec::new();
        push_list_element(&mut element, &vec![self.random.next_u64() as u8; self.below(9).pow(2) as usize]);
        check("merge", self.subtasks[owner].backend.merge(&key, &element));
        self.model.entry(key).or_default().extend(element);
    }

    /// A checkpoint of all subtasks, and a restore at another parallelism.
    fn rescale(&mut self, step: u64) {
        let suite = self.suite;
        let snapshots: Vec<_> = self.subtasks.iter_mut().map(|s| suite.snapshot(s, step)).collect();
        let parallelism = self.below(4) as u16 + 1;
        let open = |index| {
            let range = check("range", MaxParallelism::DEFAULT.range_of(index, parallelism));
            let overlapping = |s: &SubtaskSnapshot| {
                let clip = s.key_groups.intersect(range)?;
                Some(RestoredPart { key_groups: clip, ..part(s) })
            };
            suite.open(index, range, snapshots.iter().filter_map(overlapping).collect())
        };
        self.subtasks = (0..parallelism).map(open).collect();
    }

    fn compare(&mut self) {
        let (seed, parallelism, states) = (self.seed, self.subtasks.len(), self.states());
        let mut scanned = Entries::new();
        for (index, subtask) in self.subtasks.iter_mut().enumerate() {
            let keys: Vec<_> =
                self.model.keys().filter(|k| owner_of(k, parallelism) == index).cloned().collect();
            let values = subtask.get_all(&keys);
            for (key, found) in keys.iter().zip(values) {
                assert_eq!(found.as_ref(), self.model.get(key), "seed {seed}, batched read of {key:?}");
            }
            for state in states {
                let entries = subtask.scan(state);
                assert!(entries.is_sorted(), "seed {seed}: a scan is in key order");
                scanned.extend(entries);
            }
            let paged = subtask.entries(&[], 128);
            assert!(paged.iter().map(|(key, _)| key).eq(&keys), "seed {seed}: pages over everything");
        }
        assert_eq!(scanned, self.model, "seed {seed}: the scans of all subtasks");
    }
}
