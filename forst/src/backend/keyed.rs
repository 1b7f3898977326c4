//! One subtask's state on a [`Store`]: typed states become key prefixes, merge operators are found by state id.
use std::borrow::Cow;
use std::sync::Arc;

use alluvium_state_api::{
    Access, Age, Answered, BackendStats, CheckpointId, FileRef, KeyGroupRange, KeyedStateBackend, Lifetimes,
    Lookup, ManifestPage, PageBuilder, PageRequest, ReadBatch, ReadId, Result, SnapshotTask, StampedBackend,
    StateDescriptor, StateEntries, StateId, StateScan, StateTable, StoredSchema, StoredState,
    SubtaskSnapshot, state_key, unfoldable,
};
use bytes::Bytes;

use super::factory::NAME;
use super::operators::{StateDescription, StatesDescription};
use crate::expiry::{Expiry, Fate, Moment, Stamp};
use crate::merge::{MergeOperator, MergeOperators};
use crate::store::{Answer, Page, PageQuery, Resident, SnapshotFile, SnapshotPage, Store, StoreScan};

/// What is stored of a subtask besides the store's own manifest.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(message, repeated, tag = "1")]
    pub(super) states: Vec<StateRecord>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) manifest: Bytes,
    /// The latest time by which states with a TTL were stamped or judged.
    #[prost(uint64, tag = "3")]
    pub(super) time_millis: u64,
}

/// A registered state; its index is its id.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct StateRecord {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) kind: String,
    /// Of a state with a TTL: what was updated before had expired.
    #[prost(uint64, tag = "3")]
    pub(super) expired_before_millis: u64,
    /// The codec of its values, if that has an id, and the versions that may have written them.
    #[prost(string, tag = "4")]
    pub(super) codec: String,
    #[prost(uint32, repeated, tag = "5")]
    pub(super) codec_versions: Vec<u32>,
}

impl StateRecord {
    /// Adds it to the states of a restored subtask.
    pub(super) fn restore(&self, states: &mut StateTable) -> Result<StateId> {
        let id = states.insert(&self.name, &self.kind)?;
        states.restore_schema(id, &self.schema())?;
        Ok(id)
    }

    fn schema(&self) -> StoredSchema {
        StoredSchema { codec: self.codec.clone(), versions: self.codec_versions.clone() }
    }

    /// As every backend knows it.
    pub(super) fn stored(&self) -> StoredState {
        StoredState {
            name: self.name.clone(),
            kind: self.kind.clone(),
            expired_before_millis: self.expired_before_millis,
            schema: self.schema(),
        }
    }
}

/// A state's operator, as the engine calls it.
pub(super) struct Adapted(pub(super) Arc<dyn alluvium_state_api::MergeOperator>);

impl MergeOperator for Adapted {
    #[inline]
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        self.0.merge(acc, operand)
    }

    #[inline]
    fn merge_in_place(&self, acc: &mut [u8], operand: &[u8]) -> bool {
        self.0.merge_in_place(acc, operand)
    }

    #[inline]
    fn concatenates(&self) -> bool {
        self.0.concatenates()
    }
}

/// What folds the entries of a state.
#[derive(Clone)]
enum Folding {
    /// Nobody has opened it yet.
    Unopened,
    /// It was dropped: what there is of it lies under a tombstone, above compactions that have not seen that yet.
    Buried,
    /// It takes no merges.
    Nothing,
    By(Arc<Adapted>),
}

/// Folds what nobody will ever read.
struct Buried;

impl MergeOperator for Buried {
    fn merge(&self, _: &mut Vec<u8>, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// The operators and lifetimes of all states, by state id.
#[derive(Clone)]
pub(super) struct ByState {
    operators: Vec<Folding>,
    /// Of all other states.
    others: Folding,
    lifetimes: Arc<Lifetimes>,
    /// What a compactor has to know; `None` once there is a state that cannot be told.
    described: Option<Vec<StateDescription>>,
}

impl ByState {
    /// The states of a job that are to be registered.
    fn new(lifetimes: Lifetimes, states: &StateTable) -> Self {
        let folding =
            |(_, kind)| if StateTable::is_dropped(kind) { Folding::Buried } else { Folding::Unopened };
        let (operators, lifetimes) = (states.iter().map(folding).collect(), Arc::new(lifetimes));
        Self { operators, others: Folding::Unopened, lifetimes, described: Some(Vec::new()) }
    }

    /// States of another process, which has dropped those that it does not describe.
    pub(super) fn described(lifetimes: Lifetimes) -> Self {
        let (others, lifetimes) = (Folding::Buried, Arc::new(lifetimes));
        Self { operators: Vec::new(), others, lifetimes, described: None }
    }

    fn folding_of(&mut self, id: StateId) -> &mut Folding {
        let index = usize::from(id.0);
        self.operators.resize(self.operators.len().max(index + 1), self.others.clone());
        self.operators.get_mut(index).unwrap_or(&mut self.others)
    }

    /// Takes over a registered state, of which had expired what was updated before a time.
    pub(super) fn register(&mut self, id: StateId, state: &StateDescriptor, expired_before_millis: u64) {
        let operator = state.merge_operator().map(|operator| Arc::new(Adapted(operator)));
        *self.folding_of(id) = operator.map_or(Folding::Nothing, Folding::By);
        let lifetimes = Arc::make_mut(&mut self.lifetimes);
        lifetimes.restore(id, expired_before_millis);
        lifetimes.register(id, state);
        let (described, state) = (self.described.take(), StateDescription::of(id, state));
        self.described = described.zip(state).map(|(mut described, state)| {
            described.push(state);
            described
        });
    }
}

impl MergeOperators for ByState {
    fn describe(&self) -> Option<Bytes> {
        if self.operators.iter().any(|folding| matches!(folding, Folding::Unopened)) {
            return None;
        }
        let states = self.described.as_ref()?.iter().map(|state| state.expired_before(&self.lifetimes));
        let time_millis = self.lifetimes.time().latest_millis();
        Some(StatesDescription { states: states.collect(), time_millis }.encode())
    }

    #[inline]
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        let (_, state, _) = state_key::split(key).ok()?;
        match self.operators.get(usize::from(state.0)).unwrap_or(&self.others) {
            Folding::By(operator) => Some(operator.as_ref()),
            Folding::Nothing | Folding::Unopened => None,
            Folding::Buried => Some(&Buried),
        }
    }

    #[inline]
    fn expiry(&self) -> Option<&dyn Expiry> {
        if self.lifetimes.is_empty() { None } else { Some(self) }
    }
}

fn fate(age: Age) -> Fate {
    match age {
        Age::Lasting => Fate::Lasts,
        Age::Alive { state, since_millis, updated_millis } => {
            Fate::Lives(Stamp { class: state.0, since_millis, updated_millis })
        }
        Age::Expired { hides_older } => Fate::Expired { hides_older },
    }
}

/// A state is a class of its own.
impl Expiry for ByState {
    fn now_millis(&self) -> u64 {
        self.lifetimes.time().now_millis()
    }

    fn longest_millis(&self) -> u64 {
        self.lifetimes.longest_millis()
    }

    fn judge(&self, key: &[u8], value: &mut Vec<u8>, moment: Moment) -> Result<Fate> {
        self.lifetimes.clean(key, value, moment.now_millis, moment.horizon_millis).map(fate)
    }

    fn judge_class(&self, class: u16, updated_millis: u64, moment: Moment) -> Fate {
        let Moment { now_millis, horizon_millis } = moment;
        fate(self.lifetimes.age_of(StateId(class), updated_millis, now_millis, horizon_millis))
    }

    fn expires_at_millis(&self, class: u16, updated_millis: u64) -> Option<u64> {
        self.lifetimes.expires_at(StateId(class), updated_millis)
    }
}

fn file(SnapshotFile { name, size_bytes }: SnapshotFile) -> FileRef {
    FileRef { name, size_bytes }
}

/// A manifest's page, as the protocol calls it.
struct Described(Arc<SnapshotPage>);

impl ManifestPage for Described {
    fn object(&self) -> FileRef {
        file(self.0.object())
    }

    fn totals(&self) -> (u64, u64) {
        self.0.totals()
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) {
        self.0.files().for_each(|(name, size_bytes)| each(name, size_bytes));
    }
}

/// The backend of one subtask; it holds the bytes of states with a TTL stamped.
pub(super) struct ForstBackend {
    store: Store,
    key_groups: KeyGroupRange,
    states: StateTable,
    by_state: ByState,
}

impl ForstBackend {
    pub(super) fn new(
        mut store: Store,
        key_groups: KeyGroupRange,
        states: StateTable,
        lifetimes: Lifetimes,
    ) -> Self {
        let by_state = ByState::new(lifetimes, &states);
        store.set_operators(Arc::new(by_state.clone()));
        Self { store, key_groups, states, by_state }
    }

    /// Every state as a checkpoint keeps it.
    fn state_records(&self) -> Vec<StateRecord> {
        let record = |(id, (name, kind)): (usize, (&str, &str))| {
            let id = StateId(id as u16);
            let schema = self.states.schema(id);
            StateRecord {
                name: name.to_owned(),
                kind: kind.to_owned(),
                expired_before_millis: self.by_state.lifetimes.expired_before(id),
                codec: schema.codec,
                codec_versions: schema.versions,
            }
        };
        self.states.iter().enumerate().map(record).collect()
    }
}

impl StampedBackend for ForstBackend {
    #[inline]
    fn lifetimes(&self) -> &Arc<Lifetimes> {
        &self.by_state.lifetimes
    }
}

impl KeyedStateBackend for ForstBackend {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        let id = self.states.register(descriptor)?;
        let expired_before_millis = self.by_state.lifetimes.expired_before(id);
        self.by_state.register(id, descriptor, expired_before_millis);
        self.store.set_operators(Arc::new(self.by_state.clone()));
        Ok(id)
    }

    fn states(&mut self) -> Option<&mut StateTable> {
        Some(&mut self.states)
    }

    #[inline]
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        Ok(match self.store.try_get(key)? {
            Resident::Value(value) => Lookup::Hit(value),
            Resident::Absent => Lookup::Absent,
            Resident::Miss => Lookup::Miss,
        })
    }

    fn prefetch(&self, keys: &mut dyn Iterator<Item = &[u8]>, access: Access) {
        match access {
            Access::Read => self.store.prefetch_reads(keys),
            Access::Write => self.store.prefetch_writes(keys),
        }
    }

    #[inline]
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.store.put(key, value)
    }

    #[inline]
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.store.merge(key, operand)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.store.delete(key)
    }

    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        if let Ok((_, state, [])) = state_key::split(prefix) {
            self.bury(state);
        }
        self.store.delete_prefix(prefix)
    }

    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        let page = self.store.page_resident(query(request))?;
        Ok(page.map_or(Lookup::Miss, |page| Lookup::Hit(Cow::Owned(encoded(&page)))))
    }

    fn submit(&mut self, batch: ReadBatch) {
        self.store.read(batch.iter().map(|(id, key)| (u64::from(id.0), key)));
        self.store.read_pages(batch.pages().map(|(id, request)| (u64::from(id.0), query(request))));
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        self.store.poll(&mut |token, answer| {
            let id = ReadId(token as u32);
            match answer {
                Ok(Answer::Page(page)) => answered(id, Ok(Some(&encoded(page)))),
                Ok(answer) => answered(id, Ok(answer.value())),
                Err(error) => answered(id, Err(error)),
            }
        })
    }

    fn admits(&self) -> bool {
        self.store.admits()
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<SnapshotTask> {
        let mut snapshot = self.store.snapshot();
        let key_groups = self.key_groups;
        let (states, time_millis) = (self.state_records(), self.by_state.lifetimes.time().latest_millis());
        Ok(Box::pin(async move {
            let uploaded_bytes = snapshot.upload().await?;
            let payload = Payload { states, manifest: snapshot.manifest(), time_millis };
            Ok(SubtaskSnapshot {
                key_groups,
                backend: NAME,
                payload: prost::Message::encode_to_vec(&payload).into(),
                files: snapshot.named().into_iter().map(file).collect(),
                pages: snapshot.pages().map(|page| Arc::new(Described(Arc::clone(page))) as _).collect(),
                uploaded_bytes,
                pins: Box::new(snapshot),
            })
        }))
    }

    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        Ok(Box::new(ForstScan { scan: self.store.scan(), state, key: Vec::new(), value: Vec::new() }))
    }

    fn import(&mut self, entries: &mut dyn StateEntries) -> Result<()> {
        // Of a key that has operands those may come into another memtable than what they prolong, with the times they had.
        self.store.imports(true);
        let imported = self.import_all(entries);
        self.store.imports(false);
        imported
    }

    fn stats(&self) -> BackendStats {
        let counters = self.store.counters();
        BackendStats {
            memory_hits: counters.memory_hits,
            disk_hits: counters.disk_hits,
            misses: counters.misses,
            flushes: counters.flushes,
            compactions: counters.compactions,
        }
    }
}

impl ForstBackend {
    /// All of a state is deleted somewhere, as it is where that is dropped.
    fn bury(&mut self, id: StateId) {
        let is_dropped =
            self.states.iter().nth(usize::from(id.0)).is_some_and(|(_, kind)| StateTable::is_dropped(kind));
        if is_dropped && !matches!(self.by_state.folding_of(id), Folding::Buried) {
            *self.by_state.folding_of(id) = Folding::Buried;
            self.store.set_operators(Arc::new(self.by_state.clone()));
        }
    }

    fn import_all(&mut self, entries: &mut dyn StateEntries) -> Result<()> {
        let ids = entries.states().ids(&self.states)?;
        let mut key = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            if !entry.key_as(&ids, &mut key)? {
                continue;
            }
            let (value, operands) = entry.split()?;
            self.store.wait_for_room()?;
            self.store.put(&key, value)?;
            for operand in operands {
                if self.by_state.operator(&key).is_none() {
                    let (_, id, _) = state_key::split(&key)?;
                    let name = self.states.iter().nth(usize::from(id.0)).map_or("", |(name, _)| name);
                    return Err(unfoldable(name));
                }
                self.store.merge(&key, operand?)?;
            }
        }
        Ok(())
    }
}

fn query(request: PageRequest<'_>) -> PageQuery<'_> {
    PageQuery { prefix: request.prefix, after: request.after, limit: request.limit }
}

fn encoded(page: &Page) -> Vec<u8> {
    let mut builder = PageBuilder::new(page.len() as u32);
    page.iter().for_each(|(key, value)| builder.push(key, value));
    builder.finish(page.more())
}

/// The entries of one state.
struct ForstScan {
    scan: StoreScan,
    state: StateId,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl StateScan for ForstScan {
    fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some((key, value)) = self.scan.next_entry()? {
            if state_key::split(key)?.1 == self.state {
                self.key.clear();
                self.key.extend_from_slice(key);
                self.value.clear();
                self.value.extend_from_slice(value);
                return Ok(Some((&self.key, &self.value)));
            }
        }
        Ok(None)
    }
}
