//! Epochs against their specification, on random streams, delays and schedules, serial and parallel, through a
//! checkpoint and a restore from it at a random moment.
//!
//! A watermark fires the timers that are due, those of a key in the order of their times. The specification: effects of
//! a key are its records in their order, with timers between them; a watermark is done after everything before it, in
//! order; serially nothing behind a watermark runs before it is done, and all that runs is what a sequential run does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod fake;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use alluvium_async_exec::{
    AsyncExecutionController, ControllerSettings, EpochMode, Kept, StartRecord, controller_with_events,
};
use alluvium_state_api::{
    Context, KeyGroupRange, KeyedProcess, MaxParallelism, RecordBatch, Result, TaskContext, TimeDomain,
    Timer, Timestamp, ValueState,
};
use fake::{Store, Values, batch_of, silent};
use proptest::prelude::*;

/// What is in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    /// A record of a key, which registers a timer of its key for a time.
    Record {
        key: u8,
        id: u64,
        timer: i64,
    },
    Watermark(i64),
}

/// What a record or timer has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Record(u64),
    Timer(i64),
}

/// What has happened so far, and what a checkpoint must hold besides the values.
#[derive(Clone, Debug, Default)]
struct World {
    effects: BTreeMap<String, Vec<Effect>>,
    /// Timers that were registered and have not ended.
    timers: BTreeSet<(i64, String)>,
    /// Timers that have ended.
    fired: usize,
    ended: usize,
    /// Records and timers that have ended and watermarks that are done, in the order of both.
    log: Vec<Done>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Record(u64),
    Timer(i64),
    Watermark(i64),
}

struct Model {
    seen: ValueState<u64>,
    world: Rc<RefCell<World>>,
}

impl Model {
    /// One effect between two reads that may suspend.
    async fn happen(&self, effect: Effect, ctx: &Context<()>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        let key = ctx.key::<str>()?;
        let count = {
            let mut world = self.world.borrow_mut();
            let effects = world.effects.entry(key).or_default();
            effects.push(effect);
            effects.len() as u64
        };
        assert_eq!(seen + 1, count, "another one of the key has come between");
        self.seen.put(ctx, &count)?;
        self.seen.get(ctx).await.map(drop)
    }
}

impl KeyedProcess for Model {
    type In = u64;
    type Out = ();
    const USES_TIMERS: bool = true;

    async fn process(&self, record: u64, ctx: &Context<()>) -> Result<()> {
        let (id, timer) = (record >> 16, i64::from(record as u16));
        self.happen(Effect::Record(id), ctx).await?;
        ctx.register_event_timer(Timestamp(timer))?;
        let mut world = self.world.borrow_mut();
        world.timers.insert((timer, ctx.key::<str>()?));
        world.log.push(Done::Record(id));
        world.ended += 1;
        Ok(())
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<()>) -> Result<()> {
        let at = timer.time().0;
        self.happen(Effect::Timer(at), ctx).await?;
        let mut world = self.world.borrow_mut();
        assert!(world.timers.remove(&(at, ctx.key::<str>()?)), "timer {at} fires twice");
        world.log.push(Done::Timer(at));
        world.fired += 1;
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Case {
    inputs: Vec<Input>,
    settings: ControllerSettings,
    miss_percent: u64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    // Three records, then a watermark that moves the time by up to ten, on average.
    let input = prop_oneof![3 => (0..5_u8, 1..40_i64).prop_map(Ok), 1 => (1..10_i64).prop_map(Err)];
    let modes = prop_oneof![Just(EpochMode::SerialBetweenEpochs), Just(EpochMode::ParallelBetweenEpochs)];
    let settings = (1..20_usize, 1..8_usize, modes, prop_oneof![3 => Just(true), 1 => Just(false)]);
    let settings =
        settings.prop_map(|(max_in_flight, batch_reads, epoch_mode, keep_inputs)| ControllerSettings {
            max_in_flight,
            batch_reads,
            epoch_mode,
            keep_inputs,
            ..ControllerSettings::default()
        });
    let misses = prop_oneof![Just(0_u64), Just(40), Just(100)];
    (proptest::collection::vec(input, 0..100), settings, misses, any::<u64>()).prop_map(
        |(steps, settings, miss_percent, seed)| {
            let (mut time, mut id) = (0, 0);
            let inputs = steps.into_iter().map(|step| match step {
                Ok((key, ahead)) => {
                    id += 1;
                    Input::Record { key, id, timer: time + ahead }
                }
                Err(by) => {
                    time += by;
                    Input::Watermark(time)
                }
            });
            Case { inputs: inputs.collect(), settings, miss_percent, seed }
        },
    )
}

fn record_of(key: u8, id: u64, timer: i64) -> Rc<RecordBatch> {
    batch_of([(format!("key-{key}").as_str(), id << 16 | timer.cast_unsigned())])
}

/// What is to be given to a controller, in this order.
#[derive(Clone, Debug)]
enum Due {
    Records(Rc<RecordBatch>),
    Watermark(i64),
}

struct Job<'a, S: StartRecord<Model>> {
    case: &'a Case,
    controller: AsyncExecutionController<Model, S, i64>,
    store: Rc<Store>,
    world: Rc<RefCell<World>>,
    due: VecDeque<Due>,
    /// A timer that is due and that the controller had no room for.
    waiting: Option<Rc<RecordBatch>>,
    /// Records given to the controller, and timers.
    admitted: usize,
    started: usize,
}

/// A checkpoint: the state, and what is still due.
struct Checkpoint {
    values: Values,
    world: World,
    due: Vec<Due>,
}

impl<S: StartRecord<Model>> Job<'_, S> {
    /// Gives the controller the next input, if it takes one.
    fn admit(&mut self) {
        if !self.controller.admits() {
            return;
        }
        match self.due.pop_front() {
            None => {}
            Some(Due::Records(batch)) => {
                assert_eq!(
                    self.controller.run_batch(&batch, 0).unwrap(),
                    1,
                    "a controller that admits takes one"
                );
                self.admitted += 1;
            }
            Some(Due::Watermark(at)) => self.controller.close_epoch(at),
        }
        self.check();
    }

    /// Acts upon the oldest watermark, if it is its turn.
    fn act(&mut self) {
        while let Some(at) = self.controller.ended().copied() {
            let Some(timer) = self.waiting.take().or_else(|| self.next_due(at)) else {
                assert_eq!(self.controller.take_ended(), Some(at));
                self.world.borrow_mut().log.push(Done::Watermark(at));
                continue;
            };
            if self.controller.run_timers(&timer, 0).unwrap() == 0 {
                self.waiting = Some(timer);
                return;
            }
            self.started += 1;
        }
    }

    fn next_due(&self, at: i64) -> Option<Rc<RecordBatch>> {
        let task = self.controller.task();
        task.advance_watermark(Timestamp(at));
        let (due, _) = task.take_due_timers(TimeDomain::EventTime, 1).unwrap();
        (!due.is_empty()).then(|| Rc::new(due))
    }

    fn check(&self) {
        let (world, load) = (self.world.borrow(), self.controller.load());
        let in_flight = self.admitted + self.started - world.ended - world.fired;
        assert_eq!((self.controller.in_flight(), load.active + load.blocked), (in_flight, in_flight));
        if self.case.settings.epoch_mode == EpochMode::SerialBetweenEpochs {
            assert!(load.pending_events <= 1);
        }
    }

    fn step(&mut self) {
        match self.store.below(8) {
            0..2 => self.admit(),
            2..4 => self.act(),
            4..7 => self.controller.poll().unwrap(),
            _ => self.controller.flush(),
        }
        self.check();
    }

    fn barrier(&mut self) -> Checkpoint {
        self.controller.begin_barrier();
        let mut steps = 0;
        while !self.controller.barrier_reached() {
            steps += 1;
            assert!(steps < 100_000, "a barrier that is never reached");
            assert!(!self.controller.admits());
            self.controller.flush();
            self.controller.poll().unwrap();
            self.act();
        }
        let mut due = Vec::new();
        self.controller.keep(|kept| match kept {
            Kept::Record(record) => {
                let value = u64::from_le_bytes(record.value.try_into().unwrap());
                due.push(Due::Records(batch_of([(key_of(record.key).as_str(), value)])));
            }
            // Still in state.
            Kept::Timer(_) => {}
            Kept::Event(at) => due.push(Due::Watermark(*at)),
        });
        if !self.case.settings.keep_inputs {
            assert!(due.is_empty(), "{due:?}");
        }
        due.extend(self.due.iter().cloned());
        self.controller.end_barrier();
        Checkpoint { values: self.store.values.borrow().clone(), world: self.world.borrow().clone(), due }
    }

    fn run(&mut self) -> Checkpoint {
        let (mut checkpoint, mut steps) = (None, 0);
        let barrier_at = self.store.below(self.due.len() + 1);
        while !self.due.is_empty()
            || self.controller.in_flight() + self.controller.pending_events() > 0
            || checkpoint.is_none()
        {
            if checkpoint.is_none() && self.due.len() <= barrier_at {
                checkpoint = Some(self.barrier());
            }
            steps += 1;
            assert!(steps < 100_000, "{} records are stuck", self.controller.in_flight());
            self.step();
        }
        checkpoint.unwrap()
    }
}

fn key_of(encoded: &[u8]) -> String {
    String::from_utf8(encoded[..encoded.len() - 2].to_vec()).unwrap()
}

/// Runs what is due on a state; returns what happened, and a checkpoint on the way.
fn job(case: &Case, due: Vec<Due>, values: Values, world: World) -> (World, Checkpoint) {
    let store = Store::new(case.seed, case.miss_percent, values);
    let task = Rc::new(TaskContext::new(store.backend()));
    let seen = task.states().value("seen").unwrap();
    task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }).unwrap();
    let (ended, fired) = (world.ended, world.fired);
    let world = Rc::new(RefCell::new(world));
    let model = Rc::new(Model { seen, world: Rc::clone(&world) });
    let controller = controller_with_events(model, task, case.settings.clone(), silent());
    let mut job = Job {
        case,
        controller,
        store,
        world: Rc::clone(&world),
        due: due.into(),
        waiting: None,
        admitted: ended,
        started: fired,
    };
    let checkpoint = job.run();
    drop(job);
    let world = world.borrow().clone();
    (world, checkpoint)
}

/// What a sequential run does.
fn sequential(inputs: &[Input]) -> World {
    let mut world = World::default();
    for input in inputs {
        match *input {
            Input::Record { key, id, timer } => {
                let key = format!("key-{key}");
                world.effects.entry(key.clone()).or_default().push(Effect::Record(id));
                world.timers.insert((timer, key));
                world.log.push(Done::Record(id));
            }
            Input::Watermark(at) => {
                while let Some((time, key)) = world.timers.first().filter(|(time, _)| *time <= at).cloned() {
                    world.timers.remove(&(time, key.clone()));
                    world.effects.entry(key).or_default().push(Effect::Timer(time));
                    world.log.push(Done::Timer(time));
                }
                world.log.push(Done::Watermark(at));
            }
        }
    }
    world
}

/// What must hold of everything that happened, restores included.
fn check(case: &Case, world: &World) {
    let expected = sequential(&case.inputs);
    if case.settings.epoch_mode == EpochMode::SerialBetweenEpochs {
        assert_eq!(world.effects, expected.effects, "serial epochs are a sequential run");
    }
    assert_eq!(world.timers, expected.timers, "what is not due waits");
    for (key, effects) in &world.effects {
        let only = |records: bool, of: &[Effect]| -> Vec<Effect> {
            of.iter().filter(|effect| matches!(effect, Effect::Record(_)) == records).copied().collect()
        };
        assert_eq!(only(true, effects), only(true, &expected.effects[key]), "records of {key}");
        assert_eq!(only(false, effects), only(false, &expected.effects[key]), "timers of {key}");
    }
    // When a watermark is done, everything before it is, and in serial epochs nothing behind it.
    let serial = case.settings.epoch_mode == EpochMode::SerialBetweenEpochs;
    let (mut before, mut from) = (Vec::new(), 0);
    for input in &case.inputs {
        let at = match input {
            Input::Record { id, .. } => {
                before.push(Done::Record(*id));
                continue;
            }
            Input::Watermark(at) => *at,
        };
        let done = world.log[from..].iter().position(|done| *done == Done::Watermark(at));
        from += done.expect("watermarks are done in order");
        let so_far = &world.log[..from];
        assert!(before.iter().all(|record| so_far.contains(record)), "a record ended after {at}");
        let late = |done: &Done| matches!(done, Done::Record(_)) && !before.contains(done);
        assert!(!serial || !so_far.iter().any(late), "a record behind {at} ran before it");
        let early = |done: &Done| matches!(done, Done::Timer(time) if *time > at);
        assert!(!so_far.iter().any(early), "a timer was fired before its time");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn epochs_hold_on_any_schedule_and_through_a_restore(case in cases()) {
        let due = case.inputs.iter().map(|input| match *input {
            Input::Record { key, id, timer } => Due::Records(record_of(key, id, timer)),
            Input::Watermark(at) => Due::Watermark(at),
        });
        let (world, checkpoint) = job(&case, due.collect(), Values::default(), World::default());
        check(&case, &world);

        let again = Case { seed: !case.seed, ..case.clone() };
        let (restored, _) = job(&again, checkpoint.due, checkpoint.values, checkpoint.world);
        check(&case, &restored);
    }
}
