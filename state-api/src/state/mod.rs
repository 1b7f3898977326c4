//! Typed states: handles on the state of the current key, and [`States`], where an operator registers them.
//!
//! A write is done when the call returns (design D3); a read is a [`StateFuture`](crate::StateFuture), ready at once if
//! memory knows the answer. Every access names its [`Scope`](crate::Scope).
mod aggregating;
mod list;
mod map;
mod merging;
mod reducing;
mod value;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use alluvium_env::{Error, Result};

pub use aggregating::AggregatingState;
pub use list::ListState;
pub use map::MapState;
pub use reducing::ReducingState;
pub use value::ValueState;

use crate::context::Migration;
use crate::merge::{Aggregating, Reducing};
use crate::{
    Aggregate, BroadcastState, Codec, KeyCodec, KeyedStateBackend, OperatorListState, OperatorStates, Reduce,
    Schema, StateDescriptor, StateId, StateKind, StateTtl, TimeDomain, UnionListState,
};

/// Registers the states of an operator; `N` is the type of their namespaces, nothing unless
/// [`States::in_namespaces`] says otherwise.
pub struct States<'a, N: ?Sized = ()> {
    backend: &'a RefCell<Box<dyn KeyedStateBackend>>,
    operator: &'a OperatorStates,
    migration: &'a Migration,
    ttl: Option<StateTtl>,
    former: Option<&'a str>,
    namespace: PhantomData<fn(&N)>,
}

impl<'a> States<'a> {
    pub(crate) fn new(
        backend: &'a RefCell<Box<dyn KeyedStateBackend>>,
        operator: &'a OperatorStates,
        migration: &'a Migration,
    ) -> Self {
        Self { backend, operator, migration, ttl: None, former: None, namespace: PhantomData }
    }

    /// Registers states that hold something for every namespace of a key, a window say: they are accessed by
    /// [`Context::in_namespace`](crate::Context::in_namespace).
    #[must_use]
    pub fn in_namespaces<N: KeyCodec + ?Sized>(&self) -> States<'a, N> {
        let Self { backend, operator, migration, ttl, former, .. } = *self;
        States { backend, operator, migration, ttl, former, namespace: PhantomData }
    }

    /// Whether the operator is opened only to see whether its states are those of the checkpoint, before a job takes anything over,
    /// and dropped then: it opens its states as ever, and nothing that others would notice, a sink's file for example.
    pub fn is_rehearsal(&self) -> bool {
        self.migration.is_rehearsal()
    }

    /// A list of the subtask, and not of a key, that is dealt out over the subtasks after a restore.
    ///
    /// # Errors
    /// `Invalid` if the name is taken by another operator state, or if a TTL is asked for: operator state has none. Where the
    /// restored checkpoint has it as another kind, or by a codec that this one does not read, [`TaskContext::opened`] says so,
    /// with all else that differs.
    ///
    /// [`TaskContext::opened`]: crate::TaskContext::opened
    pub fn operator_list<T: Codec>(&self, name: &str) -> Result<OperatorListState<T>> {
        self.without_ttl(name).and_then(|operator| OperatorListState::open(operator, name))
    }

    /// A list of the subtask, and not of a key, that all subtasks see after a restore.
    ///
    /// # Errors
    /// As for [`States::operator_list`].
    pub fn union_list<T: Codec>(&self, name: &str) -> Result<UnionListState<T>> {
        self.without_ttl(name).and_then(|operator| UnionListState::open(operator, name))
    }

    /// A map that is the same on all subtasks, written by the broadcast side only.
    ///
    /// # Errors
    /// As for [`States::operator_list`]; the codec of the keys counts as well. `Corruption` if a value cannot be decoded.
    pub fn broadcast<K: KeyCodec + ?Sized, V: Codec + 'static>(
        &self,
        name: &str,
    ) -> Result<BroadcastState<K, V>> {
        self.without_ttl(name).and_then(|operator| BroadcastState::open(operator, name))
    }

    fn without_ttl(&self, name: &str) -> Result<&'a OperatorStates> {
        match self.ttl {
            None => {
                if let Some(former) = self.former {
                    self.operator.rename(former, name)?;
                }
                Ok(self.operator)
            }
            Some(_) => Err(Error::invalid(format!(
                "operator state {name} is opened with a TTL: only keyed state has one, so open it without"
            ))),
        }
    }

    /// Gives up a keyed state that the restored checkpoint may have, with all its entries. Nothing happens if it has none of
    /// this name, so the call may stay; therefore no state can be opened under the name.
    pub fn drop_state(&self, name: &str) {
        self.migration.drop_state(name, self.backend.borrow_mut().as_mut());
    }

    /// Gives up an operator state that the restored checkpoint may have. As with [`States::drop_state`] no operator state can be
    /// opened under the name.
    pub fn drop_operator_state(&self, name: &str) {
        self.operator.drop_state(name);
    }

    /// Gives up all timers that the restored checkpoint may have, whether or not the function uses timers now. One that does should
    /// not keep the call once a checkpoint has been made: every restore would give up the new ones as well.
    pub fn drop_timers(&self) {
        for domain in TimeDomain::ALL {
            self.drop_state(domain.state_name());
        }
    }
}

impl<'a, N: ?Sized> States<'a, N> {
    /// Opens states that the restored checkpoint has under an earlier name: `states.formerly("words").value("counts")`.
    /// Nothing happens if it has none of that name, or has the new one already; so the call may stay.
    #[must_use]
    pub fn formerly(&self, name: &'a str) -> Self {
        Self { former: Some(name), ..*self }
    }
}

impl<N: KeyCodec + ?Sized> States<'_, N> {
    /// Registers states whose values have a time to live: `states.with_ttl(ttl).value("seen")`.
    #[must_use]
    pub fn with_ttl(&self, ttl: StateTtl) -> Self {
        Self { ttl: Some(ttl), ..*self }
    }

    fn register(&self, name: &str, kind: StateKind, schema: Schema) -> Result<StateId> {
        let descriptor = StateDescriptor { name: name.to_owned(), kind, ttl: self.ttl, schema: Some(schema) };
        self.migration.register(&descriptor, self.former, self.backend.borrow_mut().as_mut())
    }

    /// A state that holds one value.
    ///
    /// # Errors
    /// `Invalid` if the name is taken. Where the restored checkpoint has it as another kind, with a TTL while this has none or
    /// the other way round, in other namespaces, or by a codec that this one does not read, [`TaskContext::opened`] says so,
    /// with all else that differs.
    ///
    /// [`TaskContext::opened`]: crate::TaskContext::opened
    pub fn value<T: Codec>(&self, name: &str) -> Result<ValueState<T, N>> {
        self.register(name, StateKind::Value, Schema::in_namespaces::<T, N>()).map(ValueState::new)
    }

    /// A state that holds elements in the order they are added.
    ///
    /// # Errors
    /// As for [`States::value`].
    pub fn list<T: Codec>(&self, name: &str) -> Result<ListState<T, N>> {
        self.register(name, StateKind::List, Schema::in_namespaces::<T, N>()).map(ListState::new)
    }

    /// A state that holds entries by user key, in the order of those.
    ///
    /// # Errors
    /// As for [`States::value`]; the codec of the user keys counts as well.
    pub fn map<K: KeyCodec + ?Sized, V: Codec>(&self, name: &str) -> Result<MapState<K, V, N>> {
        self.register(name, StateKind::Map, Schema::by_user_key::<V, K, N>()).map(MapState::new)
    }

    /// A state into which adds are reduced by `R`.
    ///
    /// # Errors
    /// As for [`States::value`].
    pub fn reducing<R: Reduce>(&self, name: &str) -> Result<ReducingState<R, N>> {
        let kind = StateKind::Reducing(Arc::new(Reducing::<R>::default()));
        self.register(name, kind, Schema::in_namespaces::<R::Value, N>()).map(ReducingState::new)
    }

    /// A state into which adds are aggregated by `A`.
    ///
    /// # Errors
    /// As for [`States::value`]; the codec is the accumulator's.
    pub fn aggregating<A: Aggregate>(&self, name: &str) -> Result<AggregatingState<A, N>> {
        let kind = StateKind::Aggregating(Arc::new(Aggregating::<A>::default()));
        self.register(name, kind, Schema::in_namespaces::<A::Accumulator, N>()).map(AggregatingState::new)
    }
}

/// A handle: the id of a state, and what is the same for states of all kinds.
macro_rules! handle {
    ($state:ident<$($param:ident $(: ?$sized:ident)?),+>) => {
        impl<$($param $(: ?$sized)?),+> $state<$($param),+> {
            pub(super) fn new(id: $crate::StateId) -> Self {
                Self { id, types: std::marker::PhantomData }
            }

            /// The id under which the state is stored.
            pub fn id(&self) -> $crate::StateId {
                self.id
            }
        }
    };
}
use handle;
