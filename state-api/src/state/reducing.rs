//! One value a key, reduced from what is added.
use std::marker::PhantomData;

use alluvium_env::Result;

use super::{handle, merging};
use crate::{Codec, Context, KeyCodec, Reduce, Scope, StateFuture, StateId};

/// One value a key and namespace, to which adds are reduced without being read (design D7).
///
/// ```
/// # use alluvium_state_api::*;
/// struct Max;
/// impl Reduce for Max {
///     type Value = u64;
///     fn reduce(a: u64, b: u64) -> u64 {
///         a.max(b)
///     }
/// }
///
/// struct Highest { bids: ReducingState<Max> }
/// impl KeyedProcess for Highest {
///     type In = u64;
///     type Out = Option<u64>;
///     async fn process(&self, bid: u64, ctx: &Context<Self::Out>) -> Result<()> {
///         self.bids.add(ctx, &bid)?;
///         ctx.emit(self.bids.get(ctx).await?);
///         Ok(())
///     }
/// }
/// # let bids = [("ox", 4), ("ox", 7), ("ant", 1), ("ox", 5)];
/// # let highest = harness::run(|states| Ok(Highest { bids: states.reducing("bids")? }), bids)?;
/// # assert_eq!(highest, [Some(4), Some(7), Some(1), Some(7)]);
/// # Ok::<(), Error>(())
/// ```
pub struct ReducingState<R, N: ?Sized = ()> {
    id: StateId,
    types: PhantomData<fn(&N) -> R>,
}

handle!(ReducingState<R, N: ?Sized>);

impl<R: Reduce, N: ?Sized> ReducingState<R, N> {
    /// Everything added since the last clear, reduced; `None` if nothing was.
    #[inline]
    pub fn get<'a>(&self, scope: impl Scope<'a, N>) -> StateFuture<Option<R::Value>> {
        Context::read(scope, self.id, |value| value.map(R::Value::decode).transpose())
    }

    /// Adds a value. Never reads; done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or value is too large for the backend.
    #[inline]
    pub fn add<'a>(&self, scope: impl Scope<'a, N>, value: &R::Value) -> Result<()> {
        let encode = |out: &mut Vec<u8>| value.encode(out);
        Context::write(scope, self.id, encode, |backend, key, operand| backend.merge(key, operand))
    }

    /// Forgets what was added. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if the key is too large for the backend.
    #[inline]
    pub fn clear<'a>(&self, scope: impl Scope<'a, N>) -> Result<()> {
        Context::write(scope, self.id, |_| (), |backend, key, _| backend.delete(key))
    }
}

impl<R: Reduce, N: KeyCodec + ?Sized> ReducingState<R, N> {
    /// Reduces what the sources hold into the target, in their order, and clears them. Their reads are made together, and
    /// nothing is written before all have answered. With a TTL the result begins a new life. A source that is the target
    /// is left out.
    ///
    /// # Errors
    /// The backend's; then nothing was written.
    pub async fn merge_namespaces<'n, Out>(
        &self,
        ctx: &Context<Out>,
        target: &N,
        sources: impl IntoIterator<Item = &'n N>,
    ) -> Result<()>
    where
        N: 'n,
    {
        merging::merge_namespaces(ctx, self.id, target, sources).await
    }
}
