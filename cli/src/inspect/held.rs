//! Everything that a checkpoint holds, whichever backend wrote it: states by name, and the entries of one in order.
use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_checkpoint::{CheckpointMetadata, RetainedCheckpoints};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_host::storage::Storage;
use alluvium_state_api::{CheckpointId, KeyGroupRange, RestoredPart, StateEntries, state_key};

use super::any_entries::open_entries;
use crate::state;

/// A checkpoint that is read as a whole.
pub(super) struct Held {
    storage: Storage,
    io: IoRuntime,
    entropy: Entropy,
    metadata: CheckpointMetadata,
    /// Name and kind of each.
    pub(super) states: Vec<(String, String)>,
}

/// An entry of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldEntry {
    pub(super) key_group: u16,
    /// Behind the state key's prefix.
    pub(super) encoded: Vec<u8>,
    /// An encoded list.
    pub(super) values: Vec<u8>,
}

/// A pass over the entries of one state, in order of key group and key.
pub(super) struct Pass<'a> {
    held: &'a Held,
    state: &'a str,
    parts: VecDeque<RestoredPart>,
    reading: Option<(Box<dyn StateEntries>, u16)>,
}

impl Held {
    /// Opens a checkpoint, or the latest.
    ///
    /// # Errors
    /// `Invalid` if there is none; what opening the state or reading its ledger fails with.
    pub(super) fn open(location: &str, id: Option<u64>, io: &IoRuntime) -> Result<Self> {
        let storage = state::open_read_only(&state::locate(location)?, io)?;
        let retained = RetainedCheckpoints::read(Arc::clone(&storage.store), io)?;
        let none =
            || Error::invalid(format!("there is no checkpoint in {location}; give a state or a savepoint"));
        let metadata = match id {
            Some(id) => {
                retained.checkpoint(CheckpointId(id)).map_err(|error| error.context(location.to_owned()))?
            }
            None => retained.latest().ok_or_else(none)?,
        };
        let (metadata, io) = (metadata.clone(), io.clone());
        let mut held = Self { storage, io, entropy: Entropy::from_os(), metadata, states: Vec::new() };
        for part in held.parts() {
            for stored in held.entries(&part)?.states().states.iter().filter(|stored| !stored.is_dropped()) {
                if !held.states.iter().any(|(name, _)| *name == stored.name) {
                    held.states.push((stored.name.clone(), stored.kind.clone()));
                }
            }
        }
        Ok(held)
    }

    /// How to name it.
    pub(super) fn place(&self) -> String {
        format!("checkpoint {} in {}", self.metadata.id, self.storage.url())
    }

    /// Starts a pass over a state that it may have.
    pub(super) fn pass<'a>(&'a self, state: &'a str) -> Pass<'a> {
        Pass { held: self, state, parts: self.parts(), reading: None }
    }

    /// Refuses a state that it does not have.
    ///
    /// # Errors
    /// `Invalid` says which there are.
    pub(super) fn check(&self, state: &str) -> Result<()> {
        if self.states.iter().any(|(name, _)| name == state) {
            return Ok(());
        }
        let known: Vec<&str> = self.states.iter().map(|(name, _)| name.as_str()).collect();
        let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::invalid(format!("{} has no state {state:?}: there are {there}", self.place())))
    }

    fn parts(&self) -> VecDeque<RestoredPart> {
        let mut parts = self.metadata.restore_for(KeyGroupRange::ALL).parts;
        parts.sort_by_key(|part| part.key_groups.start);
        parts.into()
    }

    fn entries(&self, part: &RestoredPart) -> Result<Box<dyn StateEntries>> {
        open_entries(part, &self.storage.store, (&self.io, &self.entropy))
    }
}

impl Pass<'_> {
    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// `Corruption` or `Unavailable` from the store.
    pub(super) fn next_entry(&mut self) -> Result<Option<HeldEntry>> {
        loop {
            let Some((entries, wanted)) = &mut self.reading else {
                let Some(part) = self.parts.pop_front() else { return Ok(None) };
                let entries = self.held.entries(&part)?;
                let place = entries
                    .states()
                    .states
                    .iter()
                    .position(|stored| stored.name == self.state && !stored.is_dropped());
                // A subtask that does not know the state holds nothing of it.
                self.reading =
                    place.and_then(|place| u16::try_from(place).ok()).map(|place| (entries, place));
                continue;
            };
            match entries.next_entry()? {
                None => self.reading = None,
                Some(entry) => {
                    let (group, state, encoded) = state_key::split(entry.key)?;
                    if state.0 == *wanted {
                        let (encoded, values) = (encoded.to_vec(), entry.values.to_vec());
                        return Ok(Some(HeldEntry { key_group: group.0, encoded, values }));
                    }
                }
            }
        }
    }
}
