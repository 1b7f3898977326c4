//! What a snapshot of the heap backend holds, entry by entry.
use bytes::Bytes;

use crate::import::take_part;
use crate::{
    Error, KeyGroupRange, RestoredPart, Result, StateEntries, StoredEntry, StoredStates, push_list_element,
    state_key,
};

/// The heap backend's name in checkpoints.
pub(crate) const NAME: &str = "heap";

/// A pass over a heap backend's part of a checkpoint.
#[derive(Clone, Debug)]
pub struct HeapEntries {
    states: StoredStates,
    entries: Bytes,
    at: usize,
    key_groups: KeyGroupRange,
    values: Vec<u8>,
}

impl HeapEntries {
    /// A pass over the part's key groups.
    ///
    /// # Errors
    /// `Invalid` if another backend wrote it, `Corruption` if it ends too early.
    pub fn open(part: &RestoredPart) -> Result<Self> {
        if part.backend != NAME {
            let other = &part.backend;
            return Err(Error::invalid(format!(
                "the checkpoint was written by the {other} backend, not by {NAME}"
            )));
        }
        let mut rest: &[u8] = &part.payload;
        let states = StoredStates::decode(&mut rest)?;
        let entries = part.payload.slice(part.payload.len() - rest.len()..);
        Ok(Self { states, entries, at: 0, key_groups: part.key_groups, values: Vec::new() })
    }
}

impl StateEntries for HeapEntries {
    fn states(&self) -> &StoredStates {
        &self.states
    }

    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
        let mut rest = self.entries.get(self.at..).unwrap_or_default();
        while !rest.is_empty() {
            let (key, value) = (take_part(&mut rest)?, take_part(&mut rest)?);
            if self.key_groups.contains(state_key::split(key)?.0) {
                self.at = self.entries.len() - rest.len();
                self.values.clear();
                push_list_element(&mut self.values, value);
                return Ok(Some(StoredEntry { key, values: &self.values }));
            }
        }
        self.at = self.entries.len();
        Ok(None)
    }
}
