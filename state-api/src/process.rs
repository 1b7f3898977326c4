//! Keyed functions: the user's code.
use std::future::Future;

use alluvium_env::Result;

use crate::{Codec, Context, Timer};

/// A function over a keyed stream. Records of one key run one after the other, in arrival order; records of different
/// keys overlap wherever one of them waits for state.
///
/// It is `!Send` if you like: it never leaves its task thread.
pub trait KeyedProcess: 'static {
    /// A record without its key.
    type In: Codec;
    /// What it emits.
    type Out: 'static;

    /// Whether it registers timers, or has in a checkpoint that it goes on from. Its subtasks then keep two states more, one
    /// a time domain, from the start on: registered when the first timer is, they would differ between subtasks.
    const USES_TIMERS: bool = false;

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
