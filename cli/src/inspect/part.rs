//! What a checkpoint holds of one subtask, whichever backend wrote it: tables are asked for what is wanted; what is only in order,
//! a canonical savepoint or the heap's, is read from its beginning.
use std::sync::Arc;

use alluvium_env::{Entropy, IoRuntime, Result};
use alluvium_forst::{ReaderScan, StateSize, SubtaskReader};
use alluvium_state_api::{
    CANONICAL, KeyGroupRange, MergeOperator, RestoredPart, StateEntries, StoredState, list_elements,
    state_key,
};
use object_store::ObjectStore;

use super::any_entries::open_entries;

/// See the module.
pub(super) enum Part {
    Tables(SubtaskReader),
    InOrder(InOrder),
}

/// A part that says nothing of itself but its states and its entries.
pub(super) struct InOrder {
    part: RestoredPart,
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    /// Their places are their ids.
    states: Vec<StoredState>,
}

/// What is stored of a key.
pub(super) enum Stored<'a> {
    /// A value, folded.
    Value(&'a [u8]),
    /// An encoded list of a value, or of operands that nothing has folded.
    Values(&'a [u8]),
}

impl Stored<'_> {
    /// The bytes of it.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Value(value) => value.len(),
            Self::Values(values) => list_elements(values).flatten().map(<[u8]>::len).sum(),
        };
        bytes as u64
    }
}

/// A pass over a state's entries.
pub(super) enum PartScan {
    Tables(Box<ReaderScan>),
    InOrder { entries: Box<dyn StateEntries>, state: u16, prefix: Vec<u8>, key: Vec<u8>, values: Vec<u8> },
}

impl Part {
    /// Opens a part of a checkpoint; `fold` folds the operands in tables.
    ///
    /// # Errors
    /// `Invalid` if no backend of this build wrote it, `Corruption` or `Unavailable` from the store.
    pub(super) fn open(
        part: RestoredPart,
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        fold: &Arc<dyn MergeOperator>,
    ) -> Result<Self> {
        if part.backend != CANONICAL && part.backend != "heap" {
            return SubtaskReader::open(&part, store, io, fold).map(Self::Tables);
        }
        let entries = open_entries(&part, &store, (&io, &Entropy::from_os()))?;
        let states = entries.states().states.clone();
        Ok(Self::InOrder(InOrder { part, store, io, states }))
    }

    /// The key groups it covers.
    pub(super) fn key_groups(&self) -> KeyGroupRange {
        match self {
            Self::Tables(reader) => reader.key_groups(),
            Self::InOrder(part) => part.part.key_groups,
        }
    }

    /// Name and kind of every state, in order of their ids.
    pub(super) fn states(&self) -> Vec<(&str, &str)> {
        match self {
            Self::Tables(reader) => reader.states().collect(),
            Self::InOrder(part) => {
                let states = part.states.iter().filter(|state| !state.is_dropped());
                states.map(|state| (state.name.as_str(), state.kind.as_str())).collect()
            }
        }
    }

    /// How large each state is, in order of their ids: about, of tables, and exactly of what has to be read for it.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub(super) fn sizes(&self) -> Result<Vec<StateSize>> {
        match self {
            Self::Tables(reader) => reader.sizes(),
            Self::InOrder(part) => part.sizes(),
        }
    }

    /// Starts a pass over a state's entries of some key groups whose keys, as they are encoded, begin with `prefix`; in order
    /// of key group and key. `None` if the subtask does not know the state.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub(super) fn scan(
        &self,
        state: &str,
        key_groups: KeyGroupRange,
        prefix: &[u8],
    ) -> Result<Option<PartScan>> {
        match self {
            Self::Tables(reader) => {
                Ok(reader.scan(state, key_groups, prefix)?.map(Box::new).map(PartScan::Tables))
            }
            Self::InOrder(part) => part.scan(state, key_groups, prefix),
        }
    }
}

impl InOrder {
    fn entries(&self, key_groups: KeyGroupRange) -> Result<Box<dyn StateEntries>> {
        let none = KeyGroupRange { start: key_groups.start, end: key_groups.start };
        let key_groups = self.part.key_groups.intersect(key_groups).unwrap_or(none);
        let part = RestoredPart { key_groups, ..self.part.clone() };
        open_entries(&part, &self.store, (&self.io, &Entropy::from_os()))
    }

    fn sizes(&self) -> Result<Vec<StateSize>> {
        let size = |StoredState { name, kind, .. }: &StoredState| StateSize {
            name: name.clone(),
            kind: kind.clone(),
            entries: 0,
            bytes: 0,
        };
        let mut sizes: Vec<StateSize> = self.states.iter().map(size).collect();
        let mut entries = self.entries(self.part.key_groups)?;
        while let Some(entry) = entries.next_entry()? {
            let (_, state, _) = state_key::split(entry.key)?;
            if let Some(size) = sizes.get_mut(usize::from(state.0)) {
                size.entries += 1;
                size.bytes += entry.key.len() as u64 + Stored::Values(entry.values).bytes();
            }
        }
        let mut dropped = self.states.iter().map(StoredState::is_dropped);
        sizes.retain(|_| dropped.next() == Some(false));
        Ok(sizes)
    }

    fn scan(&self, state: &str, key_groups: KeyGroupRange, prefix: &[u8]) -> Result<Option<PartScan>> {
        let is_it = |stored: &StoredState| stored.name == state && !stored.is_dropped();
        let place = self.states.iter().position(is_it).and_then(|place| u16::try_from(place).ok());
        let Some(state) = place else { return Ok(None) };
        let (entries, prefix) = (self.entries(key_groups)?, prefix.to_vec());
        Ok(Some(PartScan::InOrder { entries, state, prefix, key: Vec::new(), values: Vec::new() }))
    }
}

impl PartScan {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub(super) fn next_entry(&mut self) -> Result<Option<(&[u8], Stored<'_>)>> {
        let (entries, wanted, prefix, key, values) = match self {
            Self::Tables(scan) => {
                return Ok(scan.next_entry()?.map(|(key, value)| (key, Stored::Value(value))));
            }
            Self::InOrder { entries, state, prefix, key, values } => (entries, *state, prefix, key, values),
        };
        while let Some(entry) = entries.next_entry()? {
            let (_, state, encoded) = state_key::split(entry.key)?;
            if state.0 == wanted && encoded.starts_with(prefix) {
                key.clear();
                key.extend_from_slice(entry.key);
                values.clear();
                values.extend_from_slice(entry.values);
                return Ok(Some((key, Stored::Values(values))));
            }
        }
        Ok(None)
    }
}
