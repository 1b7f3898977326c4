//! Typed states: handles on the state of the current key, and [`States`], where an operator registers them.
use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use alluvium_env::Result;

use crate::merge::Reducing;
use crate::{
    Codec, Context, KeyedStateBackend, Reduce, Schema, StateDescriptor, StateFuture, StateId, StateKind,
    StateTtl,
};

/// Registers the states of an operator.
pub struct States<'a> {
    backend: &'a RefCell<Box<dyn KeyedStateBackend>>,
    ttl: Option<StateTtl>,
}

impl<'a> States<'a> {
    pub(crate) fn new(backend: &'a RefCell<Box<dyn KeyedStateBackend>>) -> Self {
        Self { backend, ttl: None }
    }

    /// Registers states whose values have a time to live: `states.with_ttl(ttl).value("seen")`.
    #[must_use]
    pub fn with_ttl(&self, ttl: StateTtl) -> Self {
        Self { backend: self.backend, ttl: Some(ttl) }
    }

    fn register<T: Codec>(&self, name: &str, kind: StateKind) -> Result<StateId> {
        let schema = Some(Schema::of::<T>());
        let descriptor = StateDescriptor { name: name.to_owned(), kind, ttl: self.ttl, schema };
        self.backend.borrow_mut().register(&descriptor)
    }

    /// A state that holds one value a key.
    ///
    /// # Errors
    /// `Invalid` if the name is taken, or was used in the restored checkpoint for a state of another kind, for one with a
    /// TTL where this has none or the other way round, or for one whose codec this one does not read.
    pub fn value<T: Codec>(&self, name: &str) -> Result<ValueState<T>> {
        self.register::<T>(name, StateKind::Value).map(|id| ValueState { id, codec: PhantomData })
    }

    /// A state into which adds are reduced by `R`.
    ///
    /// # Errors
    /// As for [`States::value`].
    pub fn reducing<R: Reduce>(&self, name: &str) -> Result<ReducingState<R>> {
        let kind = StateKind::Reducing(Arc::new(Reducing::<R>::default()));
        self.register::<R::Value>(name, kind).map(|id| ReducingState { id, reduce: PhantomData })
    }
}

/// One value a key.
pub struct ValueState<T> {
    id: StateId,
    codec: PhantomData<fn() -> T>,
}

impl<T: Codec> ValueState<T> {
    /// The value, `None` if it was never put or was cleared.
    #[inline]
    pub fn get<O>(&self, ctx: &Context<O>) -> StateFuture<Option<T>> {
        ctx.read(self.id, |value| value.map(T::decode).transpose())
    }

    /// Replaces the value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or value is too large for the backend.
    #[inline]
    pub fn put<O>(&self, ctx: &Context<O>, value: &T) -> Result<()> {
        ctx.write(self.id, |out| value.encode(out), |backend, key, value| backend.put(key, value))
    }

    /// Removes the value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    #[inline]
    pub fn clear<O>(&self, ctx: &Context<O>) -> Result<()> {
        ctx.write(self.id, |_| (), |backend, key, _| backend.delete(key))
    }

    /// The id under which the state is stored.
    pub fn id(&self) -> StateId {
        self.id
    }
}

/// One value a key, to which adds are reduced without being read (design D7).
pub struct ReducingState<R> {
    id: StateId,
    reduce: PhantomData<fn() -> R>,
}

impl<R: Reduce> ReducingState<R> {
    /// Everything added since the last clear, reduced; `None` if nothing was.
    #[inline]
    pub fn get<O>(&self, ctx: &Context<O>) -> StateFuture<Option<R::Value>> {
        ctx.read(self.id, |value| value.map(R::Value::decode).transpose())
    }

    /// Adds a value. Never reads; done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or value is too large for the backend.
    #[inline]
    pub fn add<O>(&self, ctx: &Context<O>, value: &R::Value) -> Result<()> {
        ctx.write(self.id, |out| value.encode(out), |backend, key, operand| backend.merge(key, operand))
    }

    /// Forgets what was added. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    #[inline]
    pub fn clear<O>(&self, ctx: &Context<O>) -> Result<()> {
        ctx.write(self.id, |_| (), |backend, key, _| backend.delete(key))
    }

    /// The id under which the state is stored.
    pub fn id(&self) -> StateId {
        self.id
    }
}
