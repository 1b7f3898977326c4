//! Reads what a checkpoint holds of one subtask, without running it: its states, how large they are, their entries.
use std::sync::Arc;

use alluvium_env::IoRuntime;
use alluvium_state_api::{
    Error, KeyGroup, KeyGroupRange, RestoredPart, Result, StateDescriptor, StateId, StateKind, StateTable,
    state_key,
};
use object_store::ObjectStore;

use super::factory::{clipped, payload};
use super::keyed::Adapted;
use crate::inspect::{ClaimedObject, ReadObject, claims};
use crate::merge::{MergeOperator, MergeOperators};
use crate::store::{ReaderScan, Share, SnapshotReader};

/// One subtask's state in a checkpoint.
pub struct SubtaskReader {
    reader: SnapshotReader,
    states: StateTable,
    key_groups: KeyGroupRange,
}

/// A state of a subtask, and about how large it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSize {
    /// The name it was registered with.
    pub name: String,
    /// The persisted name of its kind.
    pub kind: String,
    /// Its entries. A key counts as often as it is stored, and a block that several states share is split evenly.
    pub entries: u64,
    /// What they take where they are stored.
    pub bytes: u64,
}

/// The operators of all states, by state id.
struct ByKind(Vec<Option<Adapted>>);

impl MergeOperators for ByKind {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        let (_, state, _) = state_key::split(key).ok()?;
        let operator = self.0.get(usize::from(state.0))?.as_ref()?;
        Some(operator)
    }
}

/// Every object that a part of a checkpoint needs, and what it says of it; `read` gives the pages of its manifest.
///
/// # Errors
/// `Invalid` if another backend wrote the part, or another version; `Corruption` if it is damaged; what `read` fails with.
pub fn claimed_objects(part: &RestoredPart, read: &mut ReadObject<'_>) -> Result<Vec<ClaimedObject>> {
    claims(&payload(part)?.manifest, read)
}

impl SubtaskReader {
    /// Opens a part of a checkpoint. A list folds as lists do; what folds the operands of other kinds only their job
    /// knows, so `fold` is asked.
    ///
    /// # Errors
    /// `Invalid` if another backend wrote the part, `Corruption` or `Unavailable` from the store.
    pub fn open(
        part: &RestoredPart,
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        fold: &Arc<dyn alluvium_state_api::MergeOperator>,
    ) -> Result<Self> {
        let mut states = StateTable::default();
        let payload = payload(part)?;
        for state in &payload.states {
            state.restore(&mut states)?;
        }
        let (list, value, map) = (StateKind::List, StateKind::Value.name(), StateKind::Map.name());
        let appends = StateDescriptor::new("", StateKind::List).merge_operator();
        let operator = |(_, kind): (&str, &str)| {
            // With a TTL or without, a list's elements are appended.
            let operator = match kind.split(' ').next().unwrap_or_default() {
                kind if kind == list.name() => appends.clone(),
                kind if kind == value || kind == map => None,
                _ => Some(Arc::clone(fold)),
            };
            operator.map(Adapted)
        };
        let operators = Arc::new(ByKind(states.iter().map(operator).collect()));
        let reader = SnapshotReader::open(store, io, operators, vec![clipped(part, payload)])?;
        Ok(Self { reader, states, key_groups: part.key_groups })
    }

    /// The key groups it covers.
    pub fn key_groups(&self) -> KeyGroupRange {
        self.key_groups
    }

    /// Name and kind of every state, in order of their ids.
    pub fn states(&self) -> impl Iterator<Item = (&str, &str)> {
        self.states.iter().filter(|(_, kind)| !StateTable::is_dropped(kind))
    }

    /// How large each state is, in order of their ids. Reads the tails of tables, no block.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub fn sizes(&self) -> Result<Vec<StateSize>> {
        let state = |(name, kind): (&str, &str)| StateSize {
            name: name.to_owned(),
            kind: kind.to_owned(),
            entries: 0,
            bytes: 0,
        };
        let mut sizes: Vec<StateSize> = self.states.iter().map(state).collect();
        self.reader.shares(&mut |share| divide(share, &mut sizes))?;
        sizes.retain(|size| !StateTable::is_dropped(&size.kind));
        Ok(sizes)
    }

    /// Starts a pass over a state's entries of some key groups whose keys, as they are encoded, begin with `prefix`; in
    /// order of key group and key. `None` if the subtask does not know the state.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub fn scan(&self, state: &str, key_groups: KeyGroupRange, prefix: &[u8]) -> Result<Option<ReaderScan>> {
        let is_it = |(name, kind): (&str, &str)| name == state && !StateTable::is_dropped(kind);
        let Some(index) = self.states.iter().position(is_it) else { return Ok(None) };
        let state = StateId(u16::try_from(index).map_err(|_| Error::invalid("more than 65,536 states"))?);
        let groups = self.key_groups.intersect(key_groups).map_or(0..0, |groups| groups.start..groups.end);
        let range = |group| {
            let mut start = Vec::new();
            state_key::build(&mut start, KeyGroup(group), state, prefix);
            crate::key_range::KeyRange::of_prefix(&start)
        };
        self.reader.scan(groups.map(range).map(|range| (range.start, range.end))).map(Some)
    }

    /// Starts a pass over all entries between two keys.
    pub(super) fn scan_all(&self, start: Vec<u8>, end: Vec<u8>) -> Result<ReaderScan> {
        self.reader.scan([(start, end)])
    }
}

/// Gives a share to the states that it can hold.
fn divide(share: Share<'_>, sizes: &mut [StateSize]) {
    let count = sizes.len();
    let (from, to) = (place(share.start, count), last_place(share.end, count));
    let met = to.saturating_sub(from).saturating_add(1).min(count);
    let parts = met.max(1) as u64;
    for (number, at) in (from..).take(met).enumerate() {
        // What does not divide evenly goes to the first ones, so that nothing is lost.
        let part = |whole: u64| whole / parts + u64::from((number as u64) < whole % parts);
        if let Some(size) = sizes.get_mut(at % count) {
            size.entries += part(share.entries);
            size.bytes += part(share.bytes);
        }
    }
}

/// Where a key is, counted in states: those of one key group follow those of the one before.
fn place(key: &[u8], count: usize) -> usize {
    let part = |at: usize| usize::from(u16::from_be_bytes([byte(key, at), byte(key, at + 1)]));
    part(0) * count + part(2).min(count.saturating_sub(1))
}

/// The place of the last key before an end.
fn last_place(end: &[u8], count: usize) -> usize {
    match end {
        [] => usize::MAX,
        // Nothing of the end's own state is before it.
        end if end.len() <= state_key::PREFIX_BYTES => place(end, count).saturating_sub(1),
        end => place(end, count),
    }
}

fn byte(key: &[u8], at: usize) -> u8 {
    key.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(start: &[u8], end: &[u8], states: usize) -> Vec<u64> {
        let empty = StateSize { name: String::new(), kind: String::new(), entries: 0, bytes: 0 };
        let mut sizes = vec![empty; states];
        divide(Share { start, end, entries: 10, bytes: 100 }, &mut sizes);
        assert_eq!(sizes.iter().map(|size| size.bytes).sum::<u64>(), 100, "no byte is lost");
        sizes.iter().map(|size| size.entries).collect()
    }

    #[test]
    fn a_share_goes_to_the_states_between_its_keys_and_to_no_other() {
        // One state, of one key group or of several.
        assert_eq!(divided(b"\0\x07\0\x01a", b"\0\x07\0\x01k", 3), [0, 10, 0]);
        assert_eq!(divided(b"\0\x07\0\0a", b"\0\x09\0\0k", 1), [10]);
        // Two neighbours; an end that is all prefix excludes its own state.
        assert_eq!(divided(b"\0\x07\0\x01a", b"\0\x07\0\x02a", 4), [0, 5, 5, 0]);
        assert_eq!(divided(b"\0\x07\0\x01a", b"\0\x07\0\x02", 4), [0, 10, 0, 0]);
        // The end of one key group and the beginning of the next; a shortened separator between them.
        assert_eq!(divided(b"\0\x07\0\x02a", b"\0\x08\0\0a", 3), [5, 0, 5]);
        assert_eq!(divided(b"\0\x07\0\x02a", b"\0\x08", 3), [0, 0, 10]);
        // Whole key groups, the first block of a table, its last one.
        assert_eq!(divided(b"\0\x07\0\x01a", b"\0\x09\0\0a", 2), [5, 5]);
        assert_eq!(divided(b"", b"", 3), [4, 3, 3]);
    }
}
