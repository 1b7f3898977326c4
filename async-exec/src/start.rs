//! How the future of an `async fn` gets a name, so that it can live in a slot and not in a box of its own.
use std::future::Future;
use std::rc::Rc;

use alluvium_env::Result;
use alluvium_state_api::{Codec, Context, KeyedProcess};

/// Makes the futures of records and timers.
///
/// The type of an `async fn`'s future cannot be written down, but it can be inferred from a function that returns it.
/// [`controller`](crate::controller()) passes two such functions; elsewhere this trait is only a bound:
///
/// ```
/// # use alluvium_async_exec::{AsyncExecutionController, StartRecord};
/// # use alluvium_state_api::KeyedProcess;
/// fn busy<P: KeyedProcess, S: StartRecord<P>>(controller: &AsyncExecutionController<P, S>) -> bool {
///     controller.in_flight() > 0
/// }
/// ```
pub trait StartRecord<P: KeyedProcess> {
    /// The future of one record. It owns all it needs.
    type Running: Future<Output = Result<()>>;
    /// The future of one timer. A type of its own, so that records do not pay for timers.
    type Firing: Future<Output = Result<()>>;

    /// Makes the future of an encoded record; nothing of the user's code but the codec runs before it is polled.
    ///
    /// # Errors
    /// `Corruption` if the record cannot be decoded.
    fn start(&self, process: Rc<P>, record: &[u8], ctx: Context<P::Out>) -> Result<Self::Running>;

    /// Makes the future of a timer, likewise.
    fn fire(&self, process: Rc<P>, ctx: Context<P::Out>) -> Self::Firing;
}

impl<P, S, T, F, G> StartRecord<P> for (S, T)
where
    P: KeyedProcess,
    S: Fn(Rc<P>, &[u8], Context<P::Out>) -> Result<F>,
    T: Fn(Rc<P>, Context<P::Out>) -> G,
    F: Future<Output = Result<()>>,
    G: Future<Output = Result<()>>,
{
    type Running = F;
    type Firing = G;

    #[inline]
    fn start(&self, process: Rc<P>, record: &[u8], ctx: Context<P::Out>) -> Result<F> {
        (self.0)(process, record, ctx)
    }

    fn fire(&self, process: Rc<P>, ctx: Context<P::Out>) -> G {
        (self.1)(process, ctx)
    }
}

/// What is started for a record: the user's function, with what it borrows.
#[inline]
pub(crate) fn process<P: KeyedProcess<In: Codec>>(
    process: Rc<P>,
    record: &[u8],
    ctx: Context<P::Out>,
) -> Result<impl Future<Output = Result<()>> + use<P>> {
    let record = P::In::decode(record)?;
    Ok(async move { process.process(record, &ctx).await })
}

/// What is started for a timer; nothing happens if it was deleted since it was taken.
pub(crate) async fn on_timer<P: KeyedProcess>(process: Rc<P>, ctx: Context<P::Out>) -> Result<()> {
    let Some(timer) = ctx.begin_timer()? else { return Ok(()) };
    process.on_timer(timer, &ctx).await?;
    ctx.end_timer()
}
