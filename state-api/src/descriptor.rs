//! State descriptors: the name, the kind and the merge operator of a state, as it is registered with a backend.
use std::fmt;
use std::sync::Arc;

use alluvium_env::{Error, HashSet, Result};

use crate::MergeOperator;
use crate::merge::Append;

/// A registered state, as it stands in every state key. Given out in order of registration, kept across restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u16);

/// What a state holds per key.
#[derive(Clone)]
#[non_exhaustive]
pub enum StateKind {
    /// One value.
    Value,
    /// Elements in the order they were added; an append is a merge ([`crate::push_list_element`] encodes one).
    List,
    /// An entry a user key, each under its own state key behind the record key's.
    Map,
    /// One value that adds are folded into.
    Reducing(Arc<dyn MergeOperator>),
    /// One accumulator that adds are folded into; it is read as something else than was added.
    Aggregating(Arc<dyn MergeOperator>),
}

impl fmt::Debug for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl StateKind {
    /// The persisted name of the kind; a restore compares it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Reducing(_) => "reducing",
            Self::Aggregating(_) => "aggregating",
        }
    }

    /// What folds merges, if the kind takes any.
    pub fn merge_operator(&self) -> Option<Arc<dyn MergeOperator>> {
        match self {
            Self::Value | Self::Map => None,
            Self::List => Some(Arc::new(Append)),
            Self::Reducing(operator) | Self::Aggregating(operator) => Some(Arc::clone(operator)),
        }
    }
}

/// A state before it is registered.
#[derive(Clone, Debug)]
pub struct StateDescriptor {
    /// Unique within the operator; a restore finds the state by it.
    pub name: String,
    /// What it holds.
    pub kind: StateKind,
}

/// Which name has which id: what every backend persists and checks at registration.
#[derive(Debug, Default)]
pub struct StateTable {
    /// Name and kind; the index is the id.
    states: Vec<(String, String)>,
    registered: HashSet<StateId>,
}

impl StateTable {
    /// Registers a state under its stored id, or under a new one.
    ///
    /// # Errors
    /// `Invalid` if the name is registered already, or was stored as another kind.
    pub fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        let (name, kind) = (&descriptor.name, descriptor.kind.name());
        let id = self.insert(name, kind)?;
        if !self.registered.insert(id) {
            return Err(Error::invalid(format!(
                "state {name} is registered twice; give each state its own name"
            )));
        }
        Ok(id)
    }

    /// Takes over a state from a checkpoint; call it in the order of [`StateTable::iter`].
    ///
    /// # Errors
    /// `Invalid` if the name is there as another kind, or there are more than 65,536 states.
    pub fn insert(&mut self, name: &str, kind: &str) -> Result<StateId> {
        let known = self.states.iter().position(|(n, _)| n == name);
        let index = known.unwrap_or(self.states.len());
        if known.is_none() {
            self.states.push((name.to_owned(), kind.to_owned()));
        }
        match self.states.get(index) {
            Some((_, stored)) if stored != kind => Err(Error::invalid(format!(
                "state {name} was stored as {stored} and cannot be opened as {kind}"
            ))),
            _ => u16::try_from(index).map(StateId).map_err(|_| Error::invalid("more than 65,536 states")),
        }
    }

    /// Name and kind in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.states.iter().map(|(name, kind)| (name.as_str(), kind.as_str()))
    }

    /// How many states there are.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}
