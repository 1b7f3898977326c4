//! What can be done to a store, and a map to which the same is done.
use std::collections::BTreeMap;
use std::fmt;

use proptest::prelude::*;

/// How long entries of the expiring class live.
pub(crate) const TTL_MILLIS: u64 = 1000;

/// A key of one of three kinds: `v`alues, `s`ums, and values that expire (`t`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key(pub(crate) char, pub(crate) u8, pub(crate) u16);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes()))
    }
}

impl Key {
    pub(crate) fn bytes(self) -> Vec<u8> {
        [self.prefix(), format!("-{:03}", self.2).into_bytes()].concat()
    }

    /// What it has in common with its neighbours.
    pub(crate) fn prefix(self) -> Vec<u8> {
        format!("{}{}", self.0, self.1).into_bytes()
    }
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Put(Key, usize, u8),
    /// The same to so many neighbours: what fills a memtable.
    Fill(Key, u16, usize),
    Add(Key, u64),
    Delete(Key),
    DeletePrefix(Key),
    DeleteRange(Key, Key),
    Get(Vec<Key>),
    Page(Key, u32),
    /// It flushes, too.
    Scan,
    /// From a snapshot, and what nobody names is deleted.
    Reopen,
    Pass(u64),
}

fn key() -> impl Strategy<Value = Key> {
    (prop_oneof![Just('v'), Just('s'), Just('t')], 0_u8..3, 0_u16..60)
        .prop_map(|(kind, group, n)| Key(kind, group, n))
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 0_usize..60, 3 => 60_usize..1500, 1 => 1500_usize..40_000]
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (key(), length(), any::<u8>()).prop_map(|(key, length, fill)| Operation::Put(key, length, fill)),
        3 => (key(), 1_u16..60, length()).prop_map(|(key, count, length)| Operation::Fill(key, count, length)),
        6 => (key(), any::<u16>()).prop_map(|(key, n)| Operation::Add(Key('s', key.1, key.2), u64::from(n))),
        3 => key().prop_map(Operation::Delete),
        1 => key().prop_map(Operation::DeletePrefix),
        1 => (key(), key()).prop_map(|(start, end)| Operation::DeleteRange(start, end)),
        4 => proptest::collection::vec(key(), 1..40).prop_map(Operation::Get),
        2 => (key(), 1_u32..30).prop_map(|(key, limit)| Operation::Page(key, limit)),
        2 => Just(Operation::Scan),
        1 => Just(Operation::Reopen),
        1 => (1_u64..600).prop_map(Operation::Pass),
    ]
}

/// Half noise, half one byte; the time of the update before it, if it expires.
pub(crate) fn value_of(key: Key, length: usize, fill: u8, now: u64) -> Vec<u8> {
    if key.0 == 's' {
        return (length as u64).to_le_bytes().to_vec();
    }
    let noise = (0..length).map(|at| if at % 2 == 0 { fill } else { (at * 31 + at / 7) as u8 ^ fill });
    let stamp = if key.0 == 't' { now.to_le_bytes().to_vec() } else { Vec::new() };
    stamp.into_iter().chain(noise).collect()
}

/// The keys that a [`Operation::Fill`] writes.
pub(crate) fn neighbours(key: Key, count: u16) -> impl Iterator<Item = Key> {
    (0..count).map(move |n| Key(key.0, key.1, (key.2 + n) % 60))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

/// What a store should hold.
#[derive(Default)]
pub(crate) struct Model {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    now: u64,
}

impl Model {
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.now += millis;
    }

    pub(crate) fn write(&mut self, operation: &Operation) {
        let now = self.now;
        match operation {
            Operation::Put(key, length, fill) => {
                self.entries.insert(key.bytes(), value_of(*key, *length, *fill, now));
            }
            Operation::Fill(key, count, length) => {
                let filled = neighbours(*key, *count)
                    .map(|key| (key.bytes(), value_of(key, *length, key.2 as u8, now)));
                self.entries.extend(filled);
            }
            Operation::Add(key, n) => {
                let sum = self.entries.entry(key.bytes()).or_insert_with(|| vec![0; 8]);
                *sum = number(sum).wrapping_add(*n).to_le_bytes().to_vec();
            }
            Operation::Delete(key) => drop(self.entries.remove(&key.bytes())),
            Operation::DeletePrefix(key) => self.entries.retain(|held, _| !held.starts_with(&key.prefix())),
            Operation::DeleteRange(start, end) => {
                let (start, end) = (start.bytes(), end.bytes());
                self.entries.retain(|held, _| *held < start || *held >= end);
            }
            other => panic!("{other:?} writes nothing"),
        }
    }

    /// What a reader makes of what a store has: whoever reads hides what has expired.
    pub(crate) fn visible(&self, key: &[u8], found: Option<Vec<u8>>) -> Option<Vec<u8>> {
        found.filter(|value| !key.starts_with(b"t") || number(&value[..8]) + TTL_MILLIS > self.now)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.visible(key, self.entries.get(key).cloned())
    }

    pub(crate) fn below(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let entries = self.entries.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        entries
            .filter_map(|(key, value)| Some((key.clone(), self.visible(key, Some(value.clone()))?)))
            .collect()
    }
}
