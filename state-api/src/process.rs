//! Keyed functions: the user's code; and their broadcast side.
use std::future::Future;

use alluvium_env::Result;

use crate::{BroadcastContext, Codec, Context, HasPrelude, Timer};

/// A function over a keyed stream. Records of one key run one after the other, in arrival order; records of different
/// keys overlap wherever one of them waits for state.
///
/// It is `!Send` if you like: it never leaves its task thread.
pub trait KeyedProcess: 'static {
    /// A record without its key. Sources encode it, so it has a [`Codec`]; it needs none if a
    /// [prelude](crate::PreparedProcess) makes it.
    type In;
    /// What it emits.
    type Out: 'static;

    /// Whether it registers timers, or has in a checkpoint that it goes on from. Its subtasks then keep two states more, one
    /// a time domain, from the start on: registered when the first timer is, they would differ between subtasks.
    const USES_TIMERS: bool = false;

    /// Whether it begins with a prelude: [`Prepared`](crate::Prepared) does, and nobody else can say so.
    #[doc(hidden)]
    const PRELUDE: HasPrelude = HasPrelude::NO;

    /// Handles one record; write it as `async fn`.
    ///
    /// # Errors
    /// An error ends the job; it continues from its last checkpoint.
    fn process(&self, record: Self::In, ctx: &Context<Self::Out>) -> impl Future<Output = Result<()>>;

    /// Handles a timer of a key, which the context shows as it does a record's; write it as `async fn`. It takes its turn
    /// among the records of its key, timers of one key come in the order of their times, and one that was deleted before its
    /// turn does not come. It may be registered again.
    ///
    /// # Errors
    /// An error ends the job; it continues from its last checkpoint, with the timers of that.
    fn on_timer(&self, timer: Timer, ctx: &Context<Self::Out>) -> impl Future<Output = Result<()>> {
        let _ = (timer, ctx);
        std::future::ready(Ok(()))
    }
}

/// A keyed function with a broadcast side: elements that every subtask gets, and that alone may write its
/// [`BroadcastState`](crate::BroadcastState)s.
///
/// An element is an event (design D15): it is processed when all records before it have ended, and in serial epochs before
/// any behind it begins.
///
/// # Order
///
/// Every subtask gets every element once. Those of one split come in the same order to all; those of several splits may come
/// in a different one to each, as in Flink, so what they make of the state must not depend on which of two came first. It does
/// not if a key's elements are of one split, if they add up, or if each has a time or a number and the higher stays:
///
/// ```
/// # use alluvium_state_api::*;
/// # struct Rules { rules: BroadcastState<str, (u64, String)> }
/// # impl Rules {
/// fn process_broadcast(&self, (name, at, rule): (String, u64, String), ctx: &BroadcastContext<'_, ()>) -> Result<()> {
///     if self.rules.get(&name).is_some_and(|newer| *newer >= (at, rule.clone())) {
///         return Ok(());
///     }
///     self.rules.put(ctx, &name, (at, rule))
/// }
/// # }
/// ```
///
/// A job whose subtasks hold different states ends by an error that names the state and two of them, at its next checkpoint or
/// at the end of its input; none goes on from such states. Until then records have seen them, and what those emitted is out.
///
/// ```
/// use alluvium_state_api::*;
///
/// /// Emits what is above its shop's limit; limits come by broadcast.
/// struct Limits { limits: BroadcastState<str, u64> }
/// impl KeyedProcess for Limits {
///     type In = (String, u64);
///     type Out = u64;
///     async fn process(&self, (shop, price): Self::In, ctx: &Context<u64>) -> Result<()> {
///         if self.limits.get(&shop).is_some_and(|limit| price > *limit) {
///             ctx.emit(price);
///         }
///         Ok(())
///     }
/// }
/// impl BroadcastProcess for Limits {
///     type Broadcast = (String, u64);
///     fn process_broadcast(&self, (shop, limit): Self::Broadcast, ctx: &BroadcastContext<'_, u64>) -> Result<()> {
///         self.limits.put(ctx, &shop, limit)
///     }
/// }
///
/// let open = |states: &States<'_>| Ok(Limits { limits: states.broadcast("limits")? });
/// let (fig, nut) = ("fig".to_owned(), "nut".to_owned());
/// let records = [(1, (fig.clone(), 7)), (2, (fig.clone(), 9)), (3, (nut, 9))];
/// assert_eq!(harness::run_with_broadcast(open, [(fig, 8)], records)?, [9]);
/// # Ok::<(), Error>(())
/// ```
pub trait BroadcastProcess: KeyedProcess {
    /// What is broadcast.
    type Broadcast: Codec;

    /// Handles an element, on every subtask. It sees no key, and must do the same everywhere.
    ///
    /// # Errors
    /// An error ends the job; it continues from its last checkpoint.
    fn process_broadcast(
        &self,
        element: Self::Broadcast,
        ctx: &BroadcastContext<'_, Self::Out>,
    ) -> Result<()>;
}
