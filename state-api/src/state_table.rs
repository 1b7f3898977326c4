//! Which state has which id: what every backend persists, restores, and compares with what an operator registers.
//!
//! **Invariants**: a state's id is its place, and a place is never given to another state, since entries may still lie under
//! it: a dropped state leaves its place behind, under a name that no other place has.
use alluvium_env::{Error, Result};

use crate::{StateDescriptor, StateId, StoredSchema};

/// The persisted kind of a place whose state was dropped.
const DROPPED: &str = "dropped";

/// A place.
#[derive(Debug)]
struct Known {
    name: String,
    /// With or without TTL.
    kind: String,
    schema: StoredSchema,
    /// What the restored checkpoint calls it, if it has it.
    restored_as: Option<String>,
    is_registered: bool,
}

impl Known {
    fn is_dropped(&self) -> bool {
        self.kind == DROPPED
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct StateTable {
    /// The index is the id.
    states: Vec<Known>,
}

impl StateTable {
    /// Whether a persisted kind is that of a place whose state was dropped.
    pub fn is_dropped(kind: &str) -> bool {
        kind == DROPPED
    }

    /// Registers a state under its stored id, or under a new one.
    ///
    /// # Errors
    /// `Invalid` if the name is registered already, was stored as another kind, or with a TTL and now has none or the
    /// other way round, or by a codec that this one does not read; or if the TTL is zero.
    pub fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        let name = &descriptor.name;
        if descriptor.ttl.is_some_and(|ttl| ttl.millis() == 0) {
            return Err(Error::invalid(format!(
                "state {name} has a TTL of less than a millisecond: give it a longer one, or none"
            )));
        }
        if let Some(difference) = self.difference(descriptor) {
            return Err(Error::invalid(format!(
                "{difference}: open it as it was stored, or give the new state a name of its own"
            )));
        }
        let id = self.place(name, &descriptor.stored_as())?;
        let Some(state) = self.states.get_mut(usize::from(id.0)) else { return Ok(id) };
        if state.is_registered {
            return Err(Error::invalid(format!(
                "state {name} is registered twice; give each state its own name"
            )));
        }
        if let Some(schema) = &descriptor.schema {
            state.schema.open(name, schema)?;
        }
        state.is_registered = true;
        Ok(id)
    }

    /// Why a state cannot be registered as what the checkpoint has under its name; `None` if it can.
    pub(crate) fn difference(&self, descriptor: &StateDescriptor) -> Option<String> {
        let (name, kind) = (&descriptor.name, descriptor.stored_as());
        let known = self.find(name).filter(|state| !state.is_registered)?;
        if known.kind != kind {
            return Some(format!("state {name} was stored as {} and cannot be opened as {kind}", known.kind));
        }
        known.schema.difference(name, descriptor.schema.as_ref()?)
    }

    /// Has a state of the restored checkpoint, which is not registered yet, under another name. Nothing happens if there is
    /// none, or one of the other name.
    ///
    /// # Errors
    /// `Invalid` if it is registered already.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        if self.find(to).is_some() {
            return Ok(());
        }
        let restored =
            |state: &&mut Known| state.name == from && state.restored_as.is_some() && !state.is_dropped();
        let Some(state) = self.states.iter_mut().find(restored) else { return Ok(()) };
        if state.is_registered {
            return Err(Error::invalid(format!(
                "state {to} is said to have been {from}, which is open under that name already: open {to} first"
            )));
        }
        to.clone_into(&mut state.name);
        Ok(())
    }

    /// Gives up a state of the restored checkpoint, which is not registered yet; its id, under which entries may lie.
    pub fn drop_state(&mut self, name: &str) -> Option<StateId> {
        let unregistered = |state: &Known| state.name == name && !state.is_registered && !state.is_dropped();
        let place = self.states.iter().position(unregistered)?;
        let state = self.states.get_mut(place)?;
        // No state that is not dropped is looked for among these names.
        state.name = place.to_string();
        DROPPED.clone_into(&mut state.kind);
        state.schema = StoredSchema::default();
        u16::try_from(place).ok().map(StateId)
    }

    /// The states that nobody has registered, nor dropped.
    pub(crate) fn unregistered(&self) -> impl Iterator<Item = &str> {
        let left = self.states.iter().filter(|state| !state.is_registered && !state.is_dropped());
        left.map(|state| state.name.as_str())
    }

    fn find(&self, name: &str) -> Option<&Known> {
        self.states.iter().find(|state| state.name == name && !state.is_dropped())
    }

    /// Takes over a state from a checkpoint; call it in the order of [`StateTable::iter`].
    ///
    /// # Errors
    /// `Invalid` if the name is there as another kind, or there are more than 65,536 states.
    pub fn insert(&mut self, name: &str, kind: &str) -> Result<StateId> {
        let id = self.place(name, kind)?;
        if let Some(state) = self.states.get_mut(usize::from(id.0)).filter(|state| !state.is_dropped()) {
            state.restored_as = Some(name.to_owned());
        }
        Ok(id)
    }

    /// The place of a state, a new one if it has none.
    fn place(&mut self, name: &str, kind: &str) -> Result<StateId> {
        let is_dropped = Self::is_dropped(kind);
        let known =
            self.states.iter().position(|state| state.name == name && state.is_dropped() == is_dropped);
        let index = known.unwrap_or(self.states.len());
        let id = u16::try_from(index).map(StateId).map_err(|_| Error::invalid("more than 65,536 states"))?;
        match self.states.get(index) {
            Some(Known { kind: stored, .. }) if stored != kind => Err(Error::invalid(format!(
                "state {name} was stored as {stored} and cannot be opened as {kind}: open it as it was stored, or give the \
                 new state a name of its own"
            ))),
            Some(_) => Ok(id),
            None => {
                let (name, kind) = (name.to_owned(), kind.to_owned());
                let schema = StoredSchema::default();
                self.states.push(Known { name, kind, schema, restored_as: None, is_registered: false });
                Ok(id)
            }
        }
    }

    /// Takes over what a checkpoint says of a state's values.
    ///
    /// # Errors
    /// `Corruption` if two parts of it name different codecs.
    pub fn restore_schema(&mut self, id: StateId, schema: &StoredSchema) -> Result<()> {
        match self.states.get_mut(usize::from(id.0)) {
            Some(state) => state.schema.join(&state.name, schema),
            None => Ok(()),
        }
    }

    /// The id of a state that the restored checkpoint calls so, whatever it is called now; `None` if it was dropped.
    ///
    /// # Errors
    /// `Corruption` if the checkpoint has none.
    pub(crate) fn restored_id(&self, name: &str, kind: &str) -> Result<Option<StateId>> {
        if Self::is_dropped(kind) {
            return Ok(None);
        }
        let is_it = |state: &Known| state.restored_as.as_deref() == Some(name);
        let place = self.states.iter().position(is_it).ok_or_else(|| {
            Error::corruption(format!("the savepoint has entries of state {name}, which it does not name"))
        })?;
        let dropped = self.states.get(place).is_some_and(Known::is_dropped);
        Ok(u16::try_from(place).ok().map(StateId).filter(|_| !dropped))
    }

    /// What wrote a state's values, for a checkpoint.
    pub fn schema(&self, id: StateId) -> StoredSchema {
        self.states.get(usize::from(id.0)).map(|state| state.schema.clone()).unwrap_or_default()
    }

    /// Name, and kind with or without TTL, in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.states.iter().map(|state| (state.name.as_str(), state.kind.as_str()))
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}
