//! State descriptors: name, kind, merge operator and TTL of a state, as it is registered with a backend.
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use alluvium_env::{Error, HashSet, Result};

use crate::merge::Append;
use crate::ttl::Accumulating;
use crate::{Codec, MergeOperator, Schema, StateTtl, StoredSchema};

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
    /// The persisted name of the kind.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Reducing(_) => "reducing",
            Self::Aggregating(_) => "aggregating",
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
    /// How long it lives; forever without.
    pub ttl: Option<StateTtl>,
    /// What encodes its values; nothing is checked without.
    pub schema: Option<Schema>,
}

impl StateDescriptor {
    /// A state that lives forever.
    pub fn new(name: impl Into<String>, kind: StateKind) -> Self {
        Self { name: name.into(), kind, ttl: None, schema: None }
    }

    /// Gives its values a time to live.
    #[must_use]
    pub fn with_ttl(self, ttl: StateTtl) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Says what encodes its values.
    #[must_use]
    pub fn with_codec<T: Codec>(self) -> Self {
        Self { schema: Some(Schema::of::<T>()), ..self }
    }

    /// What folds merges of stored bytes, if the kind takes any.
    pub fn merge_operator(&self) -> Option<Arc<dyn MergeOperator>> {
        match (&self.kind, &self.ttl) {
            (StateKind::Value | StateKind::Map, _) => None,
            // A list is stamped by the element.
            (StateKind::List, _) => Some(Arc::new(Append)),
            (StateKind::Reducing(operator) | StateKind::Aggregating(operator), None) => {
                Some(Arc::clone(operator))
            }
            (StateKind::Reducing(operator) | StateKind::Aggregating(operator), Some(ttl)) => {
                Some(Arc::new(Accumulating::new(Arc::clone(operator), ttl.millis())))
            }
        }
    }

    /// How its values are stored; a restore compares it.
    fn stored_as(&self) -> Cow<'static, str> {
        let kind = self.kind.name();
        if self.ttl.is_some() { Cow::Owned(format!("{kind} with TTL")) } else { Cow::Borrowed(kind) }
    }
}

/// Which name has which id: what every backend persists and checks at registration.
#[derive(Debug, Default)]
pub struct StateTable {
    /// Name, and kind with or without TTL; the index is the id.
    states: Vec<(String, String)>,
    /// By id.
    schemas: Vec<StoredSchema>,
    registered: HashSet<StateId>,
}

impl StateTable {
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
        let id = self.insert(name, &descriptor.stored_as())?;
        if let (Some(schema), Some(stored)) = (&descriptor.schema, self.schemas.get_mut(usize::from(id.0))) {
            stored.open(name, schema)?;
        }
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
            self.schemas.push(StoredSchema::default());
        }
        match self.states.get(index) {
            Some((_, stored)) if stored != kind => Err(Error::invalid(format!(
                "state {name} was stored as {stored} and cannot be opened as {kind}: register it as it was stored, or give \
                 the new state a name of its own"
            ))),
            _ => u16::try_from(index).map(StateId).map_err(|_| Error::invalid("more than 65,536 states")),
        }
    }

    /// Takes over what a checkpoint says of a state's values.
    ///
    /// # Errors
    /// `Corruption` if two parts of it name different codecs.
    pub fn restore_schema(&mut self, id: StateId, schema: &StoredSchema) -> Result<()> {
        let index = usize::from(id.0);
        match (self.states.get(index), self.schemas.get_mut(index)) {
            (Some((name, _)), Some(stored)) => stored.join(name, schema),
            _ => Ok(()),
        }
    }

    /// What wrote a state's values, for a checkpoint.
    pub fn schema(&self, id: StateId) -> StoredSchema {
        self.schemas.get(usize::from(id.0)).cloned().unwrap_or_default()
    }

    /// Name, and kind with or without TTL, in order of their ids.
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
