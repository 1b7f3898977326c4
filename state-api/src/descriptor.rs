//! State descriptors: name, kind, merge operator and TTL of a state, as it is registered with a backend.
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::merge::Append;
use crate::ttl::Accumulating;
use crate::{Codec, MergeOperator, Schema, StateTtl};

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
    pub(crate) fn stored_as(&self) -> Cow<'static, str> {
        let kind = self.kind.name();
        if self.ttl.is_some() { Cow::Owned(format!("{kind} with TTL")) } else { Cow::Borrowed(kind) }
    }
}
