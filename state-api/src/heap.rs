//! The heap backend: state in an ordered map, no misses, no I/O. The oracle of every other backend.
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use alluvium_env::{Error, HashMap, Result};
use bytes::Bytes;

use crate::heap_entries::NAME;
use crate::import::{push_part, unfoldable};
use crate::{
    Age, Answered, BackendFactory, BackendStats, CANONICAL, CheckpointId, HeapEntries, KeyGroupRange,
    KeyedStateBackend, Lifetimes, Lookup, MergeOperator, Notify, OpenRequest, PageBuilder, PageRequest,
    ReadBatch, ReadId, RestoredPart, SnapshotTask, StampedBackend, StateDescriptor, StateEntries, StateId,
    StateScan, StateTable, StoredState, StoredStates, SubtaskSnapshot, TtlBackend, TtlTime, state_key,
};

/// State in memory.
pub type HeapBackend = TtlBackend<HeapStore>;

/// What a [`HeapBackend`] holds: the bytes of states with a TTL are stamped. What has expired is cleaned up by the next
/// snapshot.
#[derive(Default)]
pub struct HeapStore {
    key_groups: Option<KeyGroupRange>,
    states: StateTable,
    lifetimes: Arc<Lifetimes>,
    operators: HashMap<StateId, Arc<dyn MergeOperator>>,
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
    answers: Vec<(ReadId, Option<Vec<u8>>)>,
    notify: Option<Notify>,
}

impl HeapStore {
    fn operator(&self, key: &[u8]) -> Result<&Arc<dyn MergeOperator>> {
        let (_, state, _) = state_key::split(key)?;
        let missing = || Error::invalid(format!("state {} has no merge operator", state.0));
        self.operators.get(&state).ok_or_else(missing)
    }

    /// The entries of a prefix behind a key.
    fn below<'a>(
        &'a self,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let entries = self.entries.range::<[u8], _>((start, Bound::Unbounded));
        entries.take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn page(&self, request: PageRequest<'_>) -> Vec<u8> {
        let mut page = PageBuilder::new(request.limit);
        for (key, value) in self.below(request.prefix, request.after) {
            if page.is_full() {
                return page.finish(true);
            }
            page.push(key, value);
        }
        page.finish(false)
    }

    /// Drops what has expired.
    fn clean(&mut self) -> Result<()> {
        if self.lifetimes.is_empty() {
            return Ok(());
        }
        let now = self.lifetimes.time().now_millis();
        let mut failed = None;
        let lifetimes = &self.lifetimes;
        self.entries.retain(|key, value| {
            // Nothing is older or newer than what the map holds of a key.
            let age = lifetimes.clean(key, value, now, u64::MAX);
            age.map_err(|error| failed = Some(error)).is_ok_and(|age| !matches!(age, Age::Expired { .. }))
        });
        failed.map_or(Ok(()), Err)
    }

    /// The states, as they are stored.
    fn stored_states(&self) -> StoredStates {
        let state = |(id, (name, kind)): (usize, (&str, &str))| StoredState {
            name: name.to_owned(),
            kind: kind.to_owned(),
            expired_before_millis: self.lifetimes.expired_before(StateId(id as u16)),
            schema: self.states.schema(StateId(id as u16)),
        };
        StoredStates {
            time_millis: self.lifetimes.time().latest_millis(),
            states: self.states.iter().enumerate().map(state).collect(),
        }
    }

    /// States, then entries, each part with its length before it.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.stored_states().encode(&mut out);
        for (key, value) in &self.entries {
            push_part(&mut out, key);
            push_part(&mut out, value);
        }
        out
    }

    /// Takes over a part of a checkpoint; of a canonical one its states, whose entries come when they are registered.
    fn restore(&mut self, part: &RestoredPart) -> Result<()> {
        if part.backend == CANONICAL {
            let (states, _) = StoredStates::decode_canonical(&part.payload)?;
            return states.restore(&mut self.states, Arc::make_mut(&mut self.lifetimes));
        }
        let mut entries = HeapEntries::open(part)?;
        entries.states().restore(&mut self.states, Arc::make_mut(&mut self.lifetimes))?;
        while let Some(entry) = entries.next_entry()? {
            let (value, _) = entry.split()?;
            self.entries.insert(entry.key.to_vec(), value.to_vec());
        }
        Ok(())
    }
}

impl StampedBackend for HeapStore {
    #[inline]
    fn lifetimes(&self) -> &Arc<Lifetimes> {
        &self.lifetimes
    }
}

impl KeyedStateBackend for HeapStore {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        let id = self.states.register(descriptor)?;
        if let Some(operator) = descriptor.merge_operator() {
            self.operators.insert(id, operator);
        }
        Arc::make_mut(&mut self.lifetimes).register(id, descriptor);
        Ok(id)
    }

    fn states(&mut self) -> Option<&mut StateTable> {
        Some(&mut self.states)
    }

    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        Ok(self.entries.get(key).map_or(Lookup::Absent, |value| Lookup::Hit(Cow::Borrowed(value))))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.entries.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        let operator = Arc::clone(self.operator(key)?);
        match self.entries.get_mut(key) {
            Some(acc) => operator.merge(acc, operand),
            None => self.put(key, operand),
        }
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.entries.remove(key);
        Ok(())
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        let keys: Vec<_> = self.below(prefix, None).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.entries.remove(&key);
        }
        Ok(())
    }

    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        Ok(Lookup::Hit(Cow::Owned(self.page(request))))
    }

    fn submit(&mut self, batch: ReadBatch) {
        for (id, key) in batch.iter() {
            self.answers.push((id, self.entries.get(key).cloned()));
        }
        for (id, request) in batch.pages() {
            let page = self.page(request);
            self.answers.push((id, Some(page)));
        }
        if let Some(notify) = &self.notify {
            notify();
        }
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        for (id, value) in self.answers.drain(..) {
            answered(id, Ok(value.as_deref()));
        }
        Ok(())
    }

    fn admits(&self) -> bool {
        true
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<SnapshotTask> {
        self.clean()?;
        let payload = Bytes::from(self.encode());
        let key_groups = self.key_groups.unwrap_or(KeyGroupRange::ALL);
        Ok(Box::pin(async move {
            Ok(SubtaskSnapshot {
                key_groups,
                backend: NAME,
                uploaded_bytes: payload.len() as u64,
                payload,
                files: Vec::new(),
                pages: Vec::new(),
                pins: Box::new(()),
            })
        }))
    }

    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        let mut entries = Vec::new();
        for (key, value) in &self.entries {
            if state_key::split(key)?.1 == state {
                entries.push((key.clone(), value.clone()));
            }
        }
        Ok(Box::new(HeapScan { entries, next: 0 }))
    }

    fn import(&mut self, entries: &mut dyn StateEntries) -> Result<()> {
        let ids = entries.states().ids(&self.states)?;
        let mut key = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            if !entry.key_as(&ids, &mut key)? {
                continue;
            }
            let (value, operands) = entry.split()?;
            self.put(&key, value)?;
            for operand in operands {
                if self.operator(&key).is_err() {
                    let (_, id, _) = state_key::split(&key)?;
                    let name = self.states.iter().nth(usize::from(id.0)).map_or("", |(name, _)| name);
                    return Err(unfoldable(name));
                }
                self.merge(&key, operand?)?;
            }
        }
        Ok(())
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}

struct HeapScan {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    next: usize,
}

impl StateScan for HeapScan {
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let entry = self.entries.get(self.next);
        self.next += 1;
        Ok(entry.map(|(key, value)| (key.as_slice(), value.as_slice())))
    }
}

impl HeapBackend {
    /// One that has the states of a checkpoint and none of their entries: for whoever wants to know whether an operator fits them.
    pub fn of_states(states: StateTable) -> Self {
        TtlBackend::new(HeapStore { states, ..HeapStore::default() })
    }
}

/// Opens [`HeapBackend`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapBackendFactory;

impl BackendFactory for HeapBackendFactory {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        let mut backend = HeapStore {
            key_groups: Some(request.key_groups),
            lifetimes: Arc::new(Lifetimes::new(Arc::new(TtlTime::new(request.clock)))),
            notify: Some(request.notify),
            ..HeapStore::default()
        };
        for part in request.restored {
            if let Some(key_groups) = part.key_groups.intersect(request.key_groups) {
                backend.restore(&RestoredPart { key_groups, ..part })?;
            }
        }
        Ok(Box::new(TtlBackend::new(backend)))
    }

    fn stored_states(&self, parts: &[RestoredPart]) -> Result<Option<StateTable>> {
        let (mut states, mut lifetimes) = (StateTable::default(), Lifetimes::default());
        for part in parts {
            if part.backend == CANONICAL {
                StoredStates::decode_canonical(&part.payload)?.0.restore(&mut states, &mut lifetimes)?;
            } else {
                HeapEntries::open(part)?.states().restore(&mut states, &mut lifetimes)?;
            }
        }
        Ok(Some(states))
    }
}
