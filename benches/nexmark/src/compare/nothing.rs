//! A query without its operator: what the generator, the projection and the exchange cost alone.
use std::marker::PhantomData;

use alluvium_state_api::{Codec, Context, KeyedProcess, Result, States};
use nexmark::event::Event;

use crate::answer::{Change, Emitted, Rows};
use crate::events::Stream;
use crate::query::{InOf, Query};

/// See the module.
pub(crate) struct Nothing<Q>(PhantomData<fn() -> Q>);

impl<Q: Query> Query for Nothing<Q> {
    const NAME: &'static str = Q::NAME;
    type Key = Q::Key;
    type Process = Ignore<InOf<Q>>;
    type Stage = Emitted<()>;

    fn project(number: u64, event: Event) -> Option<(Q::Key, InOf<Q>)> {
        Q::project(number, event)
    }

    fn open(_: &States<'_>) -> Result<Ignore<InOf<Q>>> {
        Ok(Ignore(PhantomData))
    }

    fn expected(_: Stream, _: &mut dyn Rows<()>) {}
}

/// Takes records, and that is all.
pub(crate) struct Ignore<T>(PhantomData<fn() -> T>);

impl<T: Codec + 'static> KeyedProcess for Ignore<T> {
    type In = T;
    type Out = Change<()>;

    async fn process(&self, _: T, _: &Context<Self::Out>) -> Result<()> {
        Ok(())
    }
}
