//! An operator as a subtask runs it: the user's function, its broadcast side, the state that is its result, and where its
//! outputs go.
use alluvium_env::Result;
use alluvium_state_api::{
    BroadcastContext, BroadcastProcess, Codec, KeyedProcess, Prepared, PreparedProcess, StateId, TaskContext,
};

/// Takes the outputs of a subtask on its task thread.
pub(crate) type Sink<Out> = Box<dyn FnMut(Vec<Out>) -> Result<()>>;

/// Processes an encoded element of the broadcast side.
pub(crate) type Broadcast<P> = fn(&P, &[u8], &TaskContext<<P as KeyedProcess>::Out>) -> Result<()>;

/// What a job opens for each subtask.
pub struct Operator<P: KeyedProcess> {
    pub(crate) process: P,
    pub(crate) result: Option<StateId>,
    pub(crate) sink: Option<Sink<P::Out>>,
    pub(crate) broadcast: Option<Broadcast<P>>,
}

impl<P: PreparedProcess> Operator<Prepared<P>> {
    /// An operator whose function has a prelude: those of records that wait for an earlier one of their key overlap.
    pub fn prepared(process: P) -> Self {
        Self::new(Prepared::new(process))
    }
}

impl<P: KeyedProcess> Operator<P> {
    /// An operator without a broadcast side, a result or a sink: its outputs are dropped.
    pub fn new(process: P) -> Self {
        Self { process, result: None, sink: None, broadcast: None }
    }

    /// Has the function take what the source [broadcasts](crate::Collector::emit_broadcast).
    #[must_use]
    pub fn with_broadcast(mut self) -> Self
    where
        P: BroadcastProcess,
    {
        self.broadcast = Some(|process, element, task| {
            process.process_broadcast(P::Broadcast::decode(element)?, &BroadcastContext::new(task))
        });
        self
    }

    /// Names the state whose content at the end of the input is the job's result.
    #[must_use]
    pub fn with_result(mut self, state: StateId) -> Self {
        self.result = Some(state);
        self
    }

    /// Gives the outputs to `sink`, on the subtask's thread, some at a time and before each barrier. After a restore,
    /// outputs that came after the checkpoint come again: at least once, that is.
    #[must_use]
    pub fn with_sink(mut self, sink: impl FnMut(Vec<P::Out>) -> Result<()> + 'static) -> Self {
        self.sink = Some(Box::new(sink));
        self
    }
}
