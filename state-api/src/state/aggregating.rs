//! One accumulator a key, into which what is added is aggregated.
use std::marker::PhantomData;

use alluvium_env::Result;

use super::{handle, merging};
use crate::{Aggregate, Codec, Context, KeyCodec, Scope, StateFuture, StateId};

/// One accumulator a key and namespace. Adds go into it without it being read (design D7).
///
/// ```
/// # use alluvium_state_api::*;
/// struct Average;
/// impl Aggregate for Average {
///     type In = f64;
///     type Accumulator = (f64, u64);
///     type Out = f64;
///     fn lift(value: &f64) -> (f64, u64) {
///         (*value, 1)
///     }
///     fn merge(a: (f64, u64), b: (f64, u64)) -> (f64, u64) {
///         (a.0 + b.0, a.1 + b.1)
///     }
///     fn result((sum, count): (f64, u64)) -> f64 {
///         sum / count as f64
///     }
/// }
///
/// struct Temperatures { average: AggregatingState<Average> }
/// impl KeyedProcess for Temperatures {
///     type In = f64;
///     type Out = Option<f64>;
///     async fn process(&self, degrees: f64, ctx: &Context<Self::Out>) -> Result<()> {
///         self.average.add(ctx, &degrees)?;
///         ctx.emit(self.average.get(ctx).await?);
///         Ok(())
///     }
/// }
/// # let degrees = [("attic", 20.0), ("attic", 30.0), ("cellar", 10.0)];
/// # let averages = harness::run(|states| Ok(Temperatures { average: states.aggregating("average")? }), degrees)?;
/// # assert_eq!(averages, [Some(20.0), Some(25.0), Some(10.0)]);
/// # Ok::<(), Error>(())
/// ```
pub struct AggregatingState<A, N: ?Sized = ()> {
    id: StateId,
    types: PhantomData<fn(&N) -> A>,
}

handle!(AggregatingState<A, N: ?Sized>);

impl<A: Aggregate, N: ?Sized> AggregatingState<A, N> {
    /// The result of everything added since the last clear; `None` if nothing was.
    #[inline]
    pub fn get<'a>(&self, scope: impl Scope<'a, N>) -> StateFuture<Option<A::Out>> {
        Context::read(scope, self.id, |accumulator| {
            accumulator.map(A::Accumulator::decode).transpose().map(|found| found.map(A::result))
        })
    }

    /// Adds a value. Never reads; done when it returns.
    ///
    /// # Errors
    /// `Invalid` if key or accumulator is too large for the backend.
    #[inline]
    pub fn add<'a>(&self, scope: impl Scope<'a, N>, value: &A::In) -> Result<()> {
        let encode = |out: &mut Vec<u8>| A::lift(value).encode(out);
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

impl<A: Aggregate, N: KeyCodec + ?Sized> AggregatingState<A, N> {
    /// Merges the accumulators of the sources into the target's, in their order, and clears them; as
    /// [`ReducingState::merge_namespaces`](crate::ReducingState::merge_namespaces).
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
