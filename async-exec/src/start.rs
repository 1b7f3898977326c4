//! How the future of an `async fn` gets a name, so that it can live in a slot and not in a box of its own.
use std::future::Future;
use std::rc::Rc;

use alluvium_env::Result;
use alluvium_state_api::{Context, KeyedProcess};

/// What the user's code is called for.
#[derive(Debug)]
pub enum Work<In> {
    /// [`KeyedProcess::process`] of a record.
    Record(In),
    /// [`KeyedProcess::on_timer`] of a timer that is due, unless it was deleted since.
    Timer,
}

/// Makes the future of a record or of a timer.
///
/// The type of an `async fn`'s future cannot be written down, but it can be inferred from a function that returns it.
/// [`controller`](crate::controller()) passes such a function; elsewhere this trait is only a bound:
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

    /// Makes it; nothing of the user's code runs before it is polled.
    fn start(&self, process: Rc<P>, work: Work<P::In>, ctx: Context<P::Out>) -> Self::Running;
}

impl<P, S, F> StartRecord<P> for S
where
    P: KeyedProcess,
    S: Fn(Rc<P>, Work<P::In>, Context<P::Out>) -> F,
    F: Future<Output = Result<()>>,
{
    type Running = F;

    #[inline]
    fn start(&self, process: Rc<P>, work: Work<P::In>, ctx: Context<P::Out>) -> F {
        self(process, work, ctx)
    }
}

/// The one function that is started: the user's, with what it borrows.
pub(crate) async fn run<P: KeyedProcess>(
    process: Rc<P>,
    work: Work<P::In>,
    ctx: Context<P::Out>,
) -> Result<()> {
    match work {
        Work::Record(record) => process.process(record, &ctx).await,
        Work::Timer => {
            if let Some(timer) = ctx.begin_timer()? {
                process.on_timer(timer, &ctx).await?;
                ctx.end_timer()?;
            }
            Ok(())
        }
    }
}
