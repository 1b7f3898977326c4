//! A controller that is dropped in the middle: no future is leaked, no batch kept, every record accounted for.
mod fake;

use std::cell::Cell;
use std::rc::Rc;

use alluvium_async_exec::{ControllerSettings, EpochMode, controller_with_events};
use alluvium_env::Entropy;
use alluvium_state_api::{
    Context, KeyGroupRange, KeyedProcess, MaxParallelism, RecordBatch, RecordSlot, Result, TaskContext,
    TimeDomain, Timer, Timestamp, ValueState,
};
use fake::{Store, Values, batch_of, silent};

/// How many records and timers have started, and how many futures of them are gone, ended or not.
#[derive(Default)]
struct Counts {
    started: Cell<u64>,
    gone: Cell<u64>,
    ended: Cell<u64>,
}

struct Gone(Rc<Counts>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.set(self.0.gone.get() + 1);
    }
}

struct Counted {
    counts: Rc<Counts>,
    seen: ValueState<u64>,
}

impl Counted {
    async fn count(&self, ctx: &Context<()>) -> Result<()> {
        self.counts.started.set(self.counts.started.get() + 1);
        let _gone = Gone(Rc::clone(&self.counts));
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + 1))?;
        self.seen.get(ctx).await?;
        self.counts.ended.set(self.counts.ended.get() + 1);
        Ok(())
    }
}

impl KeyedProcess for Counted {
    type In = u64;
    type Out = ();
    const USES_TIMERS: bool = true;

    async fn process(&self, _: u64, ctx: &Context<()>) -> Result<()> {
        self.count(ctx).await
    }

    async fn on_timer(&self, _: Timer, ctx: &Context<()>) -> Result<()> {
        self.count(ctx).await
    }
}

/// Timers of a batch's keys that are due, each for a time of its own.
fn due(task: &Rc<TaskContext<()>>, batch: &Rc<RecordBatch>, round: usize) -> Rc<RecordBatch> {
    for index in 0..batch.len() {
        let ctx = Context::new(Rc::clone(task), Rc::clone(batch), index, RecordSlot(0));
        let at = Timestamp((round * 8 + index).cast_signed() as i64);
        ctx.register_event_timer(at).expect("timers are open");
    }
    let (due, _) = task.take_due_timers(TimeDomain::EventTime, batch.len()).expect("pages are resident");
    Rc::new(due)
}

#[test]
fn a_controller_that_is_dropped_anywhere_leaks_nothing_and_every_record_is_accounted_for() {
    for seed in 0..200 {
        let entropy = Entropy::from_seed(seed);
        let below = |bound: u64| entropy.next_u64() % bound;
        let store = Store::new(seed, 60, Values::default());
        let task = Rc::new(TaskContext::new(store.backend()));
        let counts = Rc::new(Counts::default());
        let seen = task.states().value("seen").unwrap();
        task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }).unwrap();
        task.advance_watermark(Timestamp::MAX);
        let process = Rc::new(Counted { counts: Rc::clone(&counts), seen });
        let settings = ControllerSettings {
            max_in_flight: 40,
            epoch_mode: EpochMode::ParallelBetweenEpochs,
            ..ControllerSettings::default()
        };
        let mut controller = controller_with_events(process, Rc::clone(&task), settings, silent());
        let (mut batches, mut admitted) = (Vec::new(), 0);
        for _ in 0..below(60) {
            let keys: Vec<_> = (0..8).map(|_| format!("key-{}", below(20))).collect();
            let batch = batch_of(keys.iter().map(String::as_str).zip(0..));
            match below(6) {
                0..2 => admitted += controller.run_batch(&batch, 0).unwrap(),
                2 => controller.close_epoch(()),
                3 => {
                    let timers = due(&task, &batch, batches.len());
                    admitted += controller.run_timers(&timers, 0).unwrap();
                    batches.push(timers);
                }
                4 => drop(controller.take_ended()),
                _ => controller.flush(),
            }
            controller.poll().unwrap();
            batches.push(batch);
            let (load, ended) = (controller.load(), counts.ended.get());
            assert_eq!(admitted as u64, ended + controller.in_flight() as u64, "seed {seed}");
            let stats = controller.stats();
            assert_eq!((stats.records + stats.timers, counts.gone.get()), (ended, ended));
            assert!(counts.started.get() - ended <= load.active as u64);
        }
        let (in_flight, ended) = (controller.in_flight(), counts.ended.get());
        drop(controller);
        assert_eq!(counts.gone.get(), counts.started.get(), "a future was leaked");
        assert_eq!(admitted as u64, ended + in_flight as u64, "seed {seed}");
        assert!(batches.iter().all(|batch| Rc::strong_count(batch) == 1), "a batch is kept");
        // What was asked for and is answered later reaches nobody.
        store.answers.set(Some(usize::MAX));
        task.poll_backend(&mut |_| unreachable!("nobody waits for this read")).unwrap();
        task.take_batch();
        assert_eq!(Rc::strong_count(&task), 1, "a context is kept");
    }
}
