//! Scopes: which of a state's values is accessed. It is the running record's key alone, or a namespace of it.
//!
//! A namespace tells values of one key apart: a window, a session, a round. Its type is fixed with the state, so a value
//! without one cannot be confused with one that has it, neither in the types nor in the state key:
//!
//! ```compile_fail
//! # use alluvium_state_api::*;
//! fn of_no_window(count: &ValueState<u64, (u64, u64)>, ctx: &Context<()>) -> StateFuture<Option<u64>> {
//!     count.get(ctx)
//! }
//! ```
//!
//! ```
//! # use alluvium_state_api::*;
//! fn of_a_window(count: &ValueState<u64, (u64, u64)>, ctx: &Context<()>) -> StateFuture<Option<u64>> {
//!     count.get(ctx.in_namespace(&(0, 60)))
//! }
//! ```
use crate::{Context, KeyCodec};

/// What state is accessed by: a `&`[`Context`], or for states in namespaces what [`Context::in_namespace`] makes of it.
pub trait Scope<'a, N: ?Sized = ()>: Place<'a> {}

/// The running record's key, in a namespace of it. Made by [`Context::in_namespace`].
pub struct InNamespace<'a, 'n, Out, N: ?Sized> {
    context: &'a Context<Out>,
    namespace: &'n N,
}

impl<Out, N: ?Sized> Clone for InNamespace<'_, '_, Out, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Out, N: ?Sized> Copy for InNamespace<'_, '_, Out, N> {}

impl<'a, 'n, Out, N: KeyCodec + ?Sized> InNamespace<'a, 'n, Out, N> {
    pub(crate) fn new(context: &'a Context<Out>, namespace: &'n N) -> Self {
        Self { context, namespace }
    }
}

impl<'a, Out: 'a> Scope<'a> for &'a Context<Out> {}

impl<'a, Out: 'a, N: KeyCodec + ?Sized> Scope<'a, N> for InNamespace<'a, '_, Out, N> {}

pub(crate) use place::Place;

mod place {
    use super::{Context, InNamespace, KeyCodec};

    /// What a state key has behind its state, and the record it belongs to.
    pub trait Place<'a>: Copy {
        type Out: 'a;
        /// Whether that is the record key and nothing else.
        const IS_KEY: bool;
        /// The codec of its namespace, if it is in one.
        const NAMESPACE: Option<&'static str>;
        fn context(self) -> &'a Context<Self::Out>;
        /// Appends what stands behind the record key.
        fn append(self, key: &mut Vec<u8>);
    }

    impl<'a, Out: 'a> Place<'a> for &'a Context<Out> {
        type Out = Out;
        const IS_KEY: bool = true;
        const NAMESPACE: Option<&'static str> = None;
        #[inline]
        fn context(self) -> Self {
            self
        }
        #[inline]
        fn append(self, _: &mut Vec<u8>) {}
    }

    impl<'a, Out: 'a, N: KeyCodec + ?Sized> Place<'a> for InNamespace<'a, '_, Out, N> {
        type Out = Out;
        const IS_KEY: bool = false;
        const NAMESPACE: Option<&'static str> = Some(N::KEY_ID);
        #[inline]
        fn context(self) -> &'a Context<Out> {
            self.context
        }
        #[inline]
        fn append(self, key: &mut Vec<u8>) {
            self.namespace.encode_key(key);
        }
    }
}

/// An entry of a map: a user key behind a scope.
pub(crate) struct Entry<'k, P, K: ?Sized> {
    pub(crate) scope: P,
    pub(crate) user_key: &'k K,
}

impl<P: Copy, K: ?Sized> Clone for Entry<'_, P, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Copy, K: ?Sized> Copy for Entry<'_, P, K> {}

impl<'a, P: Place<'a>, K: KeyCodec + ?Sized> Place<'a> for Entry<'_, P, K> {
    type Out = P::Out;
    const IS_KEY: bool = false;
    const NAMESPACE: Option<&'static str> = P::NAMESPACE;
    #[inline]
    fn context(self) -> &'a Context<P::Out> {
        self.scope.context()
    }
    #[inline]
    fn append(self, key: &mut Vec<u8>) {
        self.scope.append(key);
        self.user_key.encode_key(key);
    }
}
