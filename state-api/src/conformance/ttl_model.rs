//! Random operations on states with a TTL while time goes on, with snapshots and rescales, against a map that expires.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Entropy, ManualClock};

use super::ttl::{Aging, Kinds, TTL, element};
use super::{Suite, check, key_of, number, owner_of, part};
use crate::{KeyCodec as _, KeyGroupRange, MaxParallelism, RestoredPart, StateId, SubtaskSnapshot};

/// Parts of a value, each with its last update: a list's elements, or the one of any other kind.
type Stamped = Vec<(Vec<u8>, u64)>;

/// One run: the backends of all subtasks, and the map.
struct Run<'s> {
    suite: &'s Suite<'s>,
    random: Entropy,
    clock: Arc<ManualClock>,
    now: u64,
    subtasks: Vec<Aging>,
    model: BTreeMap<Vec<u8>, Stamped>,
    seed: u64,
}

const TTL_MILLIS: u64 = TTL.as_millis() as u64;

impl Suite<'_> {
    pub(super) fn random_operations_match_a_map_that_expires(&self, seed: u64) {
        let now = 5_000_000;
        let clock = Arc::new(ManualClock::at(Duration::from_millis(now)));
        let subtasks = vec![self.open_aging(&clock, (0, KeyGroupRange::ALL), Vec::new(), TTL)];
        let random = Entropy::from_seed(seed);
        let mut run = Run { suite: self, random, clock, now, subtasks, model: BTreeMap::new(), seed };
        for step in 1..=self.operations as u64 {
            if step.is_multiple_of(509) {
                run.rescale(step);
            } else {
                run.operate();
            }
            run.go_on();
        }
        run.compare();
    }
}

impl Run<'_> {
    fn below(&self, end: u64) -> u64 {
        self.random.next_u64() % end
    }

    /// Mostly a little; now and then so much that nearly everything expires.
    fn go_on(&mut self) {
        let millis = match self.below(2000) {
            0 => TTL_MILLIS,
            1..=500 => self.below(9),
            _ => 0,
        };
        self.clock.advance(Duration::from_millis(millis));
        self.now += millis;
    }

    fn is_live(&self, updated: u64) -> bool {
        self.now < updated + TTL_MILLIS
    }

    /// What a reader sees, and what the read does.
    fn read(&mut self, key: &[u8], kinds: Kinds, renews: bool) -> Option<Vec<u8>> {
        let now = self.now;
        let is_live = |updated: u64| now < updated + TTL_MILLIS;
        let parts = self.model.get_mut(key)?;
        parts.retain(|(_, updated)| is_live(*updated));
        if renews && parts.iter().any(|(_, updated)| now >= updated + TTL_MILLIS / 10) {
            for (_, updated) in parts.iter_mut() {
                *updated = now;
            }
        }
        let is_list = state_of(key) == Some(kinds.list);
        let part = |(part, _): &(Vec<u8>, u64)| if is_list { element(part) } else { part.clone() };
        (!parts.is_empty()).then(|| parts.iter().flat_map(part).collect())
    }

    fn operate(&mut self) {
        let renews = self.below(2) == 0;
        let Aging { written, read, .. } = &self.subtasks[0];
        let kinds = if renews { *read } else { *written };
        let states = [kinds.value, kinds.sum, kinds.list, kinds.map];
        let state = states[self.below(4) as usize];
        let record = self.below(if state == kinds.map { 15 } else { 150 });
        let mut key = key_of(state, record);
        let prefix = key.clone();
        if state == kinds.map {
            (self.below(25) as u32).encode_key(&mut key);
        }
        let owner = owner_of(&key, self.subtasks.len());
        self.subtasks[owner].opened.settle();
        match self.below(16) {
            0..=7 if state == kinds.sum => self.add(owner, key),
            0..=7 if state == kinds.list => self.append(owner, key),
            0..=7 => self.put(owner, key),
            8 => {
                check("delete", self.subtasks[owner].opened.backend.delete(&key));
                self.model.remove(&key);
            }
            9 => {
                check("delete_prefix", self.subtasks[owner].opened.backend.delete_prefix(&prefix));
                self.model.retain(|key, _| !key.starts_with(&prefix));
            }
            10 | 11 => {
                let limit = self.below(9) as u32 + 1;
                let found = self.subtasks[owner].opened.entries(&prefix, limit);
                let expected = self.entries(&prefix, kinds, renews);
                assert_eq!(found, expected, "seed {}, entries of {prefix:?} at {}", self.seed, self.now);
            }
            _ => {
                let found = self.subtasks[owner].opened.get(&key);
                let expected = self.read(&key, kinds, renews);
                assert_eq!(found, expected, "seed {}, key {key:?} at {}", self.seed, self.now);
            }
        }
    }

    fn entries(&mut self, prefix: &[u8], kinds: Kinds, renews: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let from = self.model.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let keys: Vec<_> = from.map(|(key, _)| key.clone()).collect();
        let seen = keys.into_iter().filter_map(|key| {
            let value = self.read(&key, kinds, renews)?;
            Some((key, value))
        });
        seen.collect()
    }

    fn put(&mut self, owner: usize, key: Vec<u8>) {
        let bytes = vec![self.random.next_u64() as u8; self.below(90) as usize];
        check("put", self.subtasks[owner].opened.backend.put(&key, &bytes));
        self.model.insert(key, vec![(bytes, self.now)]);
    }

    fn add(&mut self, owner: usize, key: Vec<u8>) {
        let n = self.below(1000);
        check("merge", self.subtasks[owner].opened.backend.merge(&key, &n.to_le_bytes()));
        let old = self.model.get(&key).and_then(|parts| parts.first());
        let old = old.filter(|(_, updated)| self.is_live(*updated)).map_or(0, |(sum, _)| number(sum));
        self.model.insert(key, vec![((old + n).to_le_bytes().to_vec(), self.now)]);
    }

    fn append(&mut self, owner: usize, key: Vec<u8>) {
        let bytes = vec![self.random.next_u64() as u8; self.below(9).pow(2) as usize];
        check("merge", self.subtasks[owner].opened.backend.merge(&key, &element(&bytes)));
        self.model.entry(key).or_default().push((bytes, self.now));
    }

    /// A checkpoint of all subtasks, and a restore at another parallelism.
    fn rescale(&mut self, step: u64) {
        let suite = self.suite;
        let snapshots: Vec<_> =
            self.subtasks.iter_mut().map(|s| suite.snapshot(&mut s.opened, step)).collect();
        let parallelism = self.below(4) as u16 + 1;
        let open = |index| {
            let range = check("range", MaxParallelism::DEFAULT.range_of(index, parallelism));
            let overlapping = |s: &SubtaskSnapshot| {
                let clip = s.key_groups.intersect(range)?;
                Some(RestoredPart { key_groups: clip, ..part(s) })
            };
            let restored = snapshots.iter().filter_map(overlapping).collect();
            suite.open_aging(&self.clock, (index, range), restored, TTL)
        };
        self.subtasks = (0..parallelism).map(open).collect();
    }

    /// All states of all subtasks, by scans.
    fn compare(&mut self) {
        let Aging { written, read, .. } = &self.subtasks[0];
        let (written, read) = (*written, *read);
        let mut scanned = BTreeMap::new();
        for subtask in &mut self.subtasks {
            for kinds in [written, read] {
                for state in [kinds.value, kinds.sum, kinds.list, kinds.map] {
                    scanned.extend(subtask.opened.scan(state));
                }
            }
        }
        let keys: Vec<_> = self.model.keys().cloned().collect();
        let mut expected = BTreeMap::new();
        for key in keys {
            let is_written = state_of(&key).is_some_and(|s| s.0 < read.value.0);
            let seen = self.read(&key, if is_written { written } else { read }, false);
            expected.extend(seen.map(|value| (key, value)));
        }
        assert_eq!(scanned, expected, "seed {}: the scans of all subtasks", self.seed);
    }
}

fn state_of(key: &[u8]) -> Option<StateId> {
    crate::state_key::split(key).ok().map(|(_, state, _)| state)
}
