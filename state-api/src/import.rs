//! State as no backend in particular has it: registered states, and entries in the order of their keys.
//!
//! A *canonical* savepoint is written from what a backend held and read back by any other. What wrote it appears in
//! `RestoredPart`s as the backend [`CANONICAL`]: a backend that is opened with such a part takes over the states it names,
//! registers those of its job as ever, and then takes the entries ([`crate::KeyedStateBackend::import`]), since only
//! registered functions fold adds.
//!
//! **Invariants**: an entry's bytes are those a backend holds, stamps of states with a TTL included; its state key names the
//! state by its place in [`StoredStates`], which [`StoredEntry::key_as`] replaces by the id it has here.
//!
//! **Failure**: bytes that are not what they should be are `Corruption`.
use alluvium_env::{Error, Result};

use crate::{Lifetimes, StateId, StateTable, StoredSchema, list_elements, state_key};

/// Who wrote a part of a canonical savepoint.
pub const CANONICAL: &str = "canonical";
/// The version of the payload that this build writes, and the newest it reads.
const VERSION: u32 = 1;

/// A registered state, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredState {
    /// The name it was registered with.
    pub name: String,
    /// The persisted name of its kind, with or without TTL.
    pub kind: String,
    /// Of a state with a TTL: what was updated before had expired.
    pub expired_before_millis: u64,
    /// What wrote its values.
    pub schema: StoredSchema,
}

impl StoredState {
    /// Whether it only keeps the place of a state that was dropped, so that no other is given its id.
    pub fn is_dropped(&self) -> bool {
        StateTable::is_dropped(&self.kind)
    }
}

/// The states of a subtask, and its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredStates {
    /// The latest time by which states with a TTL were stamped or judged.
    pub time_millis: u64,
    /// Their places are their ids.
    pub states: Vec<StoredState>,
}

impl StoredStates {
    /// Appends them: time, count, then each state, every string with its length before it, integers little-endian.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.time_millis.to_le_bytes());
        out.extend_from_slice(&(self.states.len() as u32).to_le_bytes());
        for StoredState { name, kind, expired_before_millis, schema } in &self.states {
            push_part(out, name.as_bytes());
            push_part(out, kind.as_bytes());
            out.extend_from_slice(&expired_before_millis.to_le_bytes());
            push_part(out, schema.codec.as_bytes());
            out.extend_from_slice(&(schema.versions.len() as u32).to_le_bytes());
            schema.versions.iter().for_each(|version| out.extend_from_slice(&version.to_le_bytes()));
        }
    }

    /// Takes them off the front of bytes.
    ///
    /// # Errors
    /// `Corruption` if the bytes end too early.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self> {
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        let time_millis = take_u64(bytes)?;
        let mut states = Vec::new();
        for _ in 0..take_u32(bytes)? {
            let (name, kind) = (text(take_part(bytes)?), text(take_part(bytes)?));
            let expired_before_millis = take_u64(bytes)?;
            let codec = text(take_part(bytes)?);
            let versions = (0..take_u32(bytes)?).map(|_| take_u32(bytes)).collect::<Result<_>>()?;
            let schema = StoredSchema { codec, versions };
            states.push(StoredState { name, kind, expired_before_millis, schema });
        }
        Ok(Self { time_millis, states })
    }

    /// A canonical part's payload begins with its version and these; `rest` is what only the reader of its files knows.
    pub fn encode_canonical(&self, rest: &[u8]) -> Vec<u8> {
        let mut payload = VERSION.to_le_bytes().to_vec();
        self.encode(&mut payload);
        payload.extend_from_slice(rest);
        payload
    }

    /// The states of a canonical part's payload, and the rest of it.
    ///
    /// # Errors
    /// `Invalid` if a newer version wrote it, `Corruption` if it ends too early.
    pub fn decode_canonical(mut payload: &[u8]) -> Result<(Self, &[u8])> {
        match take_u32(&mut payload)? {
            VERSION => Ok((Self::decode(&mut payload)?, payload)),
            version => Err(Error::invalid(format!(
                "a canonical savepoint of version {version}; this build reads version {VERSION}: use the build that wrote it"
            ))),
        }
    }

    /// Takes the states over.
    ///
    /// # Errors
    /// As [`StateTable::insert`] and [`StateTable::restore_schema`].
    pub fn restore(&self, states: &mut StateTable, lifetimes: &mut Lifetimes) -> Result<()> {
        lifetimes.time().never_before(self.time_millis);
        for state in &self.states {
            let id = states.insert(&state.name, &state.kind)?;
            lifetimes.restore(id, state.expired_before_millis);
            states.restore_schema(id, &state.schema)?;
        }
        Ok(())
    }

    /// The id that each state has here, where they were taken over; `None` of what was dropped since.
    ///
    /// # Errors
    /// `Corruption` if they were not.
    pub fn ids(&self, states: &StateTable) -> Result<Vec<Option<StateId>>> {
        self.states.iter().map(|state| states.restored_id(&state.name, &state.kind)).collect()
    }
}

/// What is stored of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEntry<'a> {
    /// Its state key.
    pub key: &'a [u8],
    /// Its value, or operands that were not folded, oldest first: an encoded list of at least one.
    pub values: &'a [u8],
}

impl StoredEntry<'_> {
    /// Writes the key as it is where the states have these ids; `false` if its state has none any more.
    ///
    /// # Errors
    /// `Corruption` if it is of a state that is none.
    pub fn key_as(&self, ids: &[Option<StateId>], out: &mut Vec<u8>) -> Result<bool> {
        let (group, place, rest) = state_key::split(self.key)?;
        let unknown = || Error::corruption(format!("an entry of state {} of {}", place.0, ids.len()));
        let Some(id) = ids.get(usize::from(place.0)).ok_or_else(unknown)? else { return Ok(false) };
        state_key::build(out, group, *id, rest);
        Ok(true)
    }

    /// The value, and the operands that are to be folded into it.
    ///
    /// # Errors
    /// `Corruption` if there is none, or the bytes are no list.
    pub fn split(&self) -> Result<(&[u8], impl Iterator<Item = Result<&[u8]>>)> {
        let mut values = list_elements(self.values);
        let first = values.next().ok_or_else(|| Error::corruption("an entry without a value"))??;
        Ok((first, values))
    }
}

/// A pass over entries, in the order of their keys. It may block on I/O.
pub trait StateEntries {
    /// The states they are of.
    fn states(&self) -> &StoredStates;

    /// The next entry, `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from where they are read.
    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>>;
}

/// The error for operands that nothing folds.
pub fn unfoldable(state: &str) -> Error {
    Error::invalid(format!(
        "state {state} of the savepoint has adds that only its function can fold: register the state"
    ))
}

pub(crate) fn push_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    out.extend_from_slice(part);
}

fn too_short() -> Error {
    Error::corruption("a snapshot of states ends too early")
}

pub(crate) fn take_u64(bytes: &mut &[u8]) -> Result<u64> {
    let (head, tail) = bytes.split_first_chunk::<8>().ok_or_else(too_short)?;
    *bytes = tail;
    Ok(u64::from_le_bytes(*head))
}

pub(crate) fn take_u32(bytes: &mut &[u8]) -> Result<u32> {
    let (head, tail) = bytes.split_first_chunk::<4>().ok_or_else(too_short)?;
    *bytes = tail;
    Ok(u32::from_le_bytes(*head))
}

pub(crate) fn take_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let length = take_u32(bytes)? as usize;
    let (head, tail) = bytes.split_at_checked(length).ok_or_else(too_short)?;
    *bytes = tail;
    Ok(head)
}
