//! Preludes: what a keyed function does with a record before it is the record's turn of its key.
//!
//! FLIP-425's *first-state-order* lets a record begin before an earlier one of its key has ended, up to its first access to
//! state. Here what may overlap is told apart by its type: a prelude has no context, so it can neither read state nor write nor
//! emit, and nothing that it does has to wait for its turn (`docs/rfcs/0005-first-state-order.md`).
use std::future::Future;

use alluvium_env::Result;

use crate::{BroadcastContext, BroadcastProcess, Codec, Context, KeyCodec, KeyedProcess, Timer};

/// A keyed function that first awaits something that is no state, for example the answer of a service, and makes its record of
/// that. [`Prepared`] runs it.
///
/// Preludes overlap: those of records of other keys, and those of records that wait behind an earlier one of their key, up to
/// the share that one key has of a controller's limit. Everything else is as without: records of a key are processed one after
/// the other in arrival order, whichever prelude ends first.
///
/// A checkpoint keeps a record that waits as it came, so after a restore its prelude runs again: what it asks for should be
/// safe to ask for twice.
///
/// The [crate's page](crate#asking-elsewhere-first) has an example.
pub trait PreparedProcess: KeyedProcess {
    /// A record without its key, as the source emits it.
    type Raw: Codec;

    /// Makes the record that [`process`](KeyedProcess::process) gets; write it as `async fn`. It begins when the record arrives,
    /// and may be dropped before it ends. What it looks up in operator state is as of then.
    ///
    /// # Errors
    /// An error ends the job; it continues from its last checkpoint.
    fn prepare(&self, raw: Self::Raw, key: RecordKey<'_>) -> impl Future<Output = Result<Self::In>>;
}

/// The key of a record, for its prelude.
#[derive(Clone, Copy, Debug)]
pub struct RecordKey<'a> {
    encoded: &'a [u8],
}

impl<'a> RecordKey<'a> {
    pub(crate) fn new(encoded: &'a [u8]) -> Self {
        Self { encoded }
    }

    /// The key.
    ///
    /// # Errors
    /// `Corruption` if it was encoded by another codec.
    pub fn get<K: KeyCodec + ?Sized>(self) -> Result<K::Owned> {
        K::decode_key(self.encoded)
    }
}

/// Whether a function begins with a prelude. Only [`Prepared`] can say yes: what else runs ahead of its turn would touch state.
#[derive(Clone, Copy, Debug)]
pub struct HasPrelude(bool);

impl HasPrelude {
    /// The rule.
    pub const NO: Self = Self(false);
    const YES: Self = Self(true);

    /// Whether it does.
    pub const fn get(self) -> bool {
        self.0
    }
}

/// A [`PreparedProcess`] as a keyed function of raw records. A controller overlaps its preludes; who knows nothing of them runs
/// each before its record.
pub struct Prepared<P> {
    process: P,
}

impl<P: PreparedProcess> Prepared<P> {
    /// Has the preludes of this function overlap.
    pub fn new(process: P) -> Self {
        Self { process }
    }
}

impl<P: PreparedProcess> KeyedProcess for Prepared<P> {
    type In = P::Raw;
    type Out = P::Out;
    const USES_TIMERS: bool = P::USES_TIMERS;
    const PRELUDE: HasPrelude = HasPrelude::YES;

    async fn process(&self, raw: P::Raw, ctx: &Context<P::Out>) -> Result<()> {
        let prepared = self.process.prepare(raw, ctx.record_key()).await;
        let record = prepared.map_err(|error| error.context("prelude"))?;
        ctx.turn().await;
        self.process.process(record, ctx).await
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<P::Out>) -> Result<()> {
        self.process.on_timer(timer, ctx).await
    }
}

impl<P: PreparedProcess + BroadcastProcess> BroadcastProcess for Prepared<P> {
    type Broadcast = P::Broadcast;

    fn process_broadcast(
        &self,
        element: Self::Broadcast,
        ctx: &BroadcastContext<'_, Self::Out>,
    ) -> Result<()> {
        self.process.process_broadcast(element, ctx)
    }
}
