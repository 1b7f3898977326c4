//! One value a key.
use std::marker::PhantomData;

use alluvium_env::Result;

use super::handle;
use crate::{Codec, Context, Scope, StateFuture, StateId};

/// One value a key and namespace.
///
/// ```
/// # use alluvium_state_api::*;
/// /// Emits how often a key was seen.
/// struct Count { seen: ValueState<u64> }
/// impl KeyedProcess for Count {
///     type In = ();
///     type Out = u64;
///     async fn process(&self, _: (), ctx: &Context<u64>) -> Result<()> {
///         let seen = self.seen.get(ctx).await?.unwrap_or(0) + 1;
///         self.seen.put(ctx, &seen)?;
///         ctx.emit(seen);
///         Ok(())
///     }
/// }
/// # let counts = harness::run(|states| Ok(Count { seen: states.value("seen")? }), [("ox", ()), ("ant", ()), ("ox", ())])?;
/// # assert_eq!(counts, [1, 1, 2]);
/// # Ok::<(), Error>(())
/// ```
pub struct ValueState<T, N: ?Sized = ()> {
    id: StateId,
    types: PhantomData<fn(&N) -> T>,
}

handle!(ValueState<T, N: ?Sized>);

impl<T: Codec, N: ?Sized> ValueState<T, N> {
    /// The value, `None` if it was never put or was cleared.
    #[inline]
    pub fn get<'a>(&self, scope: impl Scope<'a, N>) -> StateFuture<Option<T>> {
        Context::read(scope, self.id, |value| value.map(T::decode).transpose())
    }

    /// Replaces the value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or value is too large for the backend.
    #[inline]
    pub fn put<'a>(&self, scope: impl Scope<'a, N>, value: &T) -> Result<()> {
        Context::write(scope, self.id, |out| value.encode(out), |backend, key, value| backend.put(key, value))
    }

    /// Removes the value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    #[inline]
    pub fn clear<'a>(&self, scope: impl Scope<'a, N>) -> Result<()> {
        Context::write(scope, self.id, |_| (), |backend, key, _| backend.delete(key))
    }
}
