//! Keyed functions: the user's code.
use std::future::Future;

use alluvium_env::Result;

use crate::{Codec, Context, Timestamp};

/// A function over a keyed stream. Records of one key run one after the other, in arrival order; records of different
/// keys overlap wherever one of them waits for state.
///
/// It is `!Send` if you like: it never leaves its task thread.
pub trait KeyedProcess: 'static {
    /// A record without its key.
    type In: Codec;
    /// What it emits.
    type Out: 'static;

    /// Handles one record; write it as `async fn`.
    ///
    /// # Errors
    /// An error ends the job; it continues from its last checkpoint.
    fn process(&self, record: Self::In, ctx: &Context<Self::Out>) -> impl Future<Output = Result<()>>;

    /// Handles a timer of a key that is due, registered for `_at`; takes its turn among the key's records. Without an
    /// implementation nothing happens.
    ///
    /// # Errors
    /// As those of [`process`](Self::process).
    fn on_timer(&self, _at: Timestamp, _ctx: &Context<Self::Out>) -> impl Future<Output = Result<()>> {
        std::future::ready(Ok(()))
    }
}
