//! Runs pieces of user code as records on a backend under test: one at a time, as the controller would.
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};

use alluvium_env::{Clock, ManualClock};

use super::super::opened::Bell;
use super::super::{Suite, check, part};
use crate::{
    CheckpointId, Context, Error, KeyGroupRange, KeyedProcess, MaxParallelism, RecordBatch,
    RecordBatchBuilder, RecordSlot, RestoredPart, Result, StateId, States, SubtaskSnapshot, TaskContext,
};

/// The keys there are.
pub(super) const KEYS: usize = 40;

/// Those of the keys.
fn groups() -> KeyGroupRange {
    KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }
}

/// A function that only its states make up.
pub(super) struct Nothing;

impl KeyedProcess for Nothing {
    type In = ();
    type Out = ();
    async fn process(&self, (): (), _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

/// Why a task that opens its states so does not take over a snapshot.
pub(super) fn refusal(
    suite: &Suite<'_>,
    snapshot: &SubtaskSnapshot,
    open: impl FnOnce(&States<'_>) -> Result<()>,
) -> Option<Error> {
    let clock = Arc::new(ManualClock::default());
    let (backend, _) = suite.open_backend(0, KeyGroupRange::ALL, vec![part(snapshot)], clock);
    let task: TaskContext<()> = TaskContext::new(backend);
    open(&task.states()).and_then(|()| task.opened::<Nothing>(groups())).err()
}

/// Nobody is told by it: what waits for state is found by its read.
struct Silent;

impl Wake for Silent {
    fn wake(self: Arc<Self>) {}
}

/// A task with states `S`, and how it opens them.
pub(super) struct Driver<S, O> {
    task: Rc<TaskContext<()>>,
    bell: Arc<Bell>,
    batch: Rc<RecordBatch>,
    clock: Arc<ManualClock>,
    open: O,
    states: S,
}

impl<S, O: Fn(&States<'_>) -> Result<S>> Driver<S, O> {
    pub(super) fn open(suite: &Suite<'_>, clock: Option<Arc<ManualClock>>, open: O) -> Self {
        Self::restore(suite, clock.unwrap_or_default(), open, Vec::new())
    }

    fn restore(suite: &Suite<'_>, clock: Arc<ManualClock>, open: O, restored: Vec<RestoredPart>) -> Self {
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let (backend, bell) = suite.open_backend(0, KeyGroupRange::ALL, restored, time);
        let task = Rc::new(TaskContext::new(backend));
        let states = check("open states", open(&task.states()));
        check("opened", task.opened::<Nothing>(groups()));
        let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        (0..KEYS as u64).for_each(|key| batch.push(&key, &()));
        Self { task, bell, batch: Rc::new(batch.finish()), clock, open, states }
    }

    pub(super) fn snapshot(&self, suite: &Suite<'_>) -> SubtaskSnapshot {
        let task = check("snapshot", self.task.with_backend(|backend| backend.snapshot(CheckpointId(1))));
        check("snapshot", (suite.run_snapshot)(task))
    }

    /// The task after a snapshot and its restore.
    pub(super) fn reopen(self, suite: &Suite<'_>) -> Self {
        let snapshot = self.snapshot(suite);
        let Self { clock, open, .. } = self;
        Self::restore(suite, clock, open, vec![part(&snapshot)])
    }

    /// How many entries a state has.
    pub(super) fn entries(&self, state: StateId) -> usize {
        let mut scan = check("scan", self.task.with_backend(|backend| backend.scan(state)));
        std::iter::from_fn(|| check("scan", scan.next_entry()).map(drop)).count()
    }

    /// Another task after a snapshot and its restore.
    pub(super) fn reopen_as<T, P: Fn(&States<'_>) -> Result<T>>(
        self,
        suite: &Suite<'_>,
        open: P,
    ) -> Driver<T, P> {
        let snapshot = self.snapshot(suite);
        Driver::restore(suite, self.clock, open, vec![part(&snapshot)])
    }

    /// Runs `body` as a record of key `key`, to its end.
    pub(super) fn run<T>(&self, key: usize, body: impl AsyncFnOnce(&Context<()>, &S) -> Result<T>) -> T {
        self.settle();
        let slot = RecordSlot(key as u32);
        let ctx = Context::new(Rc::clone(&self.task), Rc::clone(&self.batch), key, slot);
        let mut running = pin!(body(&ctx, &self.states));
        let waker = Waker::from(Arc::new(Silent));
        self.task.set_waker(&waker);
        loop {
            let mut cx = std::task::Context::from_waker(&waker);
            if let Poll::Ready(result) = running.as_mut().poll(&mut cx) {
                return check("run a record", result);
            }
            assert!(self.task.outstanding_reads() > 0, "a record waits for nothing");
            let reads = self.task.take_batch();
            self.task.with_backend(|backend| backend.submit(reads));
            let mut answered = false;
            while !answered {
                let polled = self.task.poll_backend(&mut |record| {
                    assert_eq!(record, slot, "another record is woken");
                    answered = true;
                });
                check("poll", polled);
                if !answered {
                    self.bell.wait();
                }
            }
        }
    }

    fn settle(&self) {
        while !self.task.with_backend(|backend| backend.admits()) {
            check("poll", self.task.poll_backend(&mut |_| ()));
            if !self.task.with_backend(|backend| backend.admits()) {
                self.bell.wait();
            }
        }
    }
}
