//! Epochs and barriers between them, one property a test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod fake;

use std::rc::Rc;

use alluvium_async_exec::{
    AsyncExecutionController, ControllerSettings, EpochMode, Kept, StartRecord, controller_with_events,
};
use alluvium_state_api::{
    Context, KeyGroupRange, KeyedProcess, MaxParallelism, RecordBatch, RecordSlot, Result, TaskContext,
    TimeDomain, Timer, Timestamp, ValueState,
};
use fake::{Store, Values, batch_of, silent};

/// Reads, then says what it is; records below 100 say so before they read as well.
struct Said {
    seen: ValueState<u64>,
}

impl Said {
    async fn say(&self, what: String, ctx: &Context<String>) -> Result<()> {
        self.seen.get(ctx).await?;
        ctx.emit(what);
        Ok(())
    }
}

impl KeyedProcess for Said {
    type In = u64;
    type Out = String;
    const USES_TIMERS: bool = true;

    async fn process(&self, number: u64, ctx: &Context<String>) -> Result<()> {
        if number < 100 {
            ctx.emit(format!("begin {number}"));
        }
        self.say(format!("{number}"), ctx).await
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<String>) -> Result<()> {
        self.say(format!("timer {}", timer.time().0), ctx).await
    }
}

fn said_on(
    store: &Rc<Store>,
    settings: ControllerSettings,
) -> AsyncExecutionController<Said, impl StartRecord<Said> + use<>, char> {
    let task = Rc::new(TaskContext::new(store.backend()));
    let seen = task.states().value("seen").unwrap();
    task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }).unwrap();
    task.advance_watermark(Timestamp::MAX);
    controller_with_events(Rc::new(Said { seen }), task, settings, silent())
}

fn missing() -> Rc<Store> {
    let store = Store::new(7, 100, Values::default());
    store.answers.set(Some(usize::MAX));
    store
}

fn parallel() -> ControllerSettings {
    ControllerSettings { epoch_mode: EpochMode::ParallelBetweenEpochs, ..ControllerSettings::default() }
}

/// Timers that are due.
fn due<'a, S: StartRecord<Said>>(
    controller: &AsyncExecutionController<Said, S, char>,
    timers: impl IntoIterator<Item = (&'a str, u64)>,
) -> Rc<RecordBatch> {
    let task = controller.task();
    for (key, at) in timers {
        let ctx = Context::new(Rc::clone(task), batch_of([(key, 0)]), 0, RecordSlot(0));
        ctx.register_event_timer(Timestamp(at.cast_signed())).unwrap();
    }
    let (due, more) = task.take_due_timers(TimeDomain::EventTime, 99).unwrap();
    assert!(!more);
    Rc::new(due)
}

fn run_due<'a, S: StartRecord<Said>>(
    controller: &mut AsyncExecutionController<Said, S, char>,
    timers: impl IntoIterator<Item = (&'a str, u64)>,
) -> usize {
    let due = due(controller, timers);
    controller.run_timers(&due, 0).unwrap()
}

/// Runs everything that can run without another event being done.
fn settle<S: StartRecord<Said>>(controller: &mut AsyncExecutionController<Said, S, char>) -> Vec<String> {
    for _ in 0..10 {
        controller.flush();
        controller.poll().unwrap();
    }
    controller.task().take_outputs()
}

fn kept<S: StartRecord<Said>>(controller: &AsyncExecutionController<Said, S, char>) -> Vec<String> {
    let mut all = Vec::new();
    let number = |value: &[u8]| u64::from_le_bytes(value.try_into().unwrap());
    controller.keep(|kept| {
        all.push(match kept {
            Kept::Record(record) => format!("{}", number(record.value)),
            // Time domain, then the time with its sign bit flipped.
            Kept::Timer(record) => format!("timer {}", record.value.get(8).unwrap()),
            Kept::Event(event) => event.to_string(),
        });
    });
    all
}

#[test]
fn serial_epochs_admit_nothing_before_the_event_is_done() {
    let store = missing();
    let mut controller = said_on(&store, ControllerSettings::default());
    controller.run_batch(&batch_of([("a", 100), ("b", 101)]), 0).unwrap();
    controller.close_epoch('x');
    let next = batch_of([("c", 102)]);
    assert_eq!((controller.ended(), controller.admits()), (None, false));
    assert_eq!(settle(&mut controller).len(), 2);
    assert_eq!(controller.run_batch(&next, 0).unwrap(), 0, "the event is not done");
    assert_eq!(
        (controller.ended().copied(), controller.take_ended(), controller.take_ended()),
        (Some('x'), Some('x'), None)
    );
    assert_eq!((controller.admits(), controller.run_batch(&next, 0).unwrap()), (true, 1));
}

#[test]
fn parallel_epochs_run_the_records_behind_an_event_and_events_stay_in_order() {
    let store = missing();
    let mut controller = said_on(&store, parallel());
    controller.run_batch(&batch_of([("a", 100)]), 0).unwrap();
    controller.flush();
    controller.close_epoch('x');
    store.answers.set(Some(0));
    controller.run_batch(&batch_of([("b", 101)]), 0).unwrap();
    controller.close_epoch('y');
    store.miss_percent.set(0);
    assert_eq!(controller.run_batch(&batch_of([("c", 102), ("a", 103)]), 0).unwrap(), 2);
    assert_eq!(
        controller.task().take_outputs(),
        ["102"],
        "memory has it, and nobody of its key is before it"
    );
    assert_eq!((controller.ended(), controller.pending_events()), (None, 2));
    store.answers.set(Some(usize::MAX));
    settle(&mut controller);
    assert_eq!(
        [controller.take_ended(), controller.take_ended(), controller.take_ended()],
        [Some('x'), Some('y'), None]
    );
}

#[test]
fn an_epoch_that_ended_early_waits_for_those_before_it() {
    let store = missing();
    let mut controller = said_on(&store, parallel());
    controller.run_batch(&batch_of([("a", 100)]), 0).unwrap();
    controller.close_epoch('x');
    controller.close_epoch('y');
    assert_eq!(
        (controller.ended().copied(), controller.take_ended(), controller.pending_events()),
        (None, None, 2)
    );
    settle(&mut controller);
    assert_eq!((controller.take_ended(), controller.take_ended()), (Some('x'), Some('y')));
}

#[test]
fn timers_run_before_waiting_records_in_their_order_and_the_event_waits_for_them() {
    let store = missing();
    let mut controller = said_on(&store, parallel());
    controller.close_epoch('x');
    controller.run_batch(&batch_of([("a", 100), ("a", 101), ("a", 102)]), 0).unwrap();
    assert_eq!(controller.ended(), Some(&'x'));
    let timers = due(&controller, [("a", 1), ("b", 2), ("a", 3)]);
    assert_eq!(controller.run_timers(&timers, 0).unwrap(), 3);
    assert_eq!(
        (controller.ended().copied(), controller.take_ended()),
        (None, None),
        "its timers are in flight"
    );
    assert_eq!(run_due(&mut controller, [("a", 4)]), 1, "more may start");
    store.miss_percent.set(0);
    let outputs = settle(&mut controller);
    let of_a: Vec<_> = outputs.iter().filter(|said| *said != "timer 2").collect();
    assert_eq!(of_a, ["100", "timer 1", "timer 3", "timer 4", "101", "102"]);
    assert_eq!(controller.take_ended(), Some('x'));
    assert_eq!(controller.run_timers(&timers, 0).unwrap(), 0, "no event, no timers");
}

#[test]
fn a_barrier_keeps_what_is_pending_in_the_order_of_epochs_and_waits_for_what_has_begun_only() {
    let store = missing();
    let mut controller = said_on(&store, parallel());
    controller.close_epoch('w');
    assert_eq!(run_due(&mut controller, [("t", 1)]), 1);
    controller.run_batch(&batch_of([("a", 100), ("t", 101)]), 0).unwrap();
    controller.close_epoch('x');
    controller.run_batch(&batch_of([("b", 7), ("a", 102)]), 0).unwrap();
    controller.close_epoch('y');
    controller.close_epoch('z');
    controller.run_batch(&batch_of([("b", 103)]), 0).unwrap();
    assert_eq!(run_due(&mut controller, [("u", 2)]), 1);
    controller.begin_barrier();
    assert!(!controller.barrier_reached());
    assert_eq!(run_due(&mut controller, [("v", 3)]), 0, "a barrier starts nothing");
    assert_eq!(controller.task().take_outputs(), ["begin 7"]);
    assert_eq!(settle(&mut controller), ["7"], "and waits for whoever has begun");
    assert!(controller.barrier_reached() && controller.ended().is_none());
    assert_eq!(kept(&controller), ["timer 1", "timer 2", "w", "100", "101", "x", "102", "y", "z", "103"]);
    controller.end_barrier();
    let rest = settle(&mut controller);
    assert_eq!(rest.len(), 6, "{rest:?}");
    assert_eq!(controller.take_ended(), Some('w'));
}

#[test]
fn a_barrier_that_keeps_no_inputs_waits_for_events_too() {
    let store = missing();
    let mut controller = said_on(&store, ControllerSettings { keep_inputs: false, ..parallel() });
    controller.run_batch(&batch_of([("a", 100)]), 0).unwrap();
    controller.close_epoch('x');
    controller.begin_barrier();
    settle(&mut controller);
    assert!(!controller.barrier_reached(), "the event is not done");
    assert_eq!(run_due(&mut controller, [("a", 1)]), 1, "and may be acted upon");
    assert_eq!(controller.take_ended(), None);
    settle(&mut controller);
    assert_eq!(controller.take_ended(), Some('x'));
    assert!(controller.barrier_reached() && kept(&controller).is_empty());
}

#[test]
fn timers_of_processing_time_belong_to_the_open_epoch_and_one_that_is_deleted_before_its_turn_does_not_run() {
    let store = missing();
    let mut controller = said_on(&store, ControllerSettings::default());
    controller.run_batch(&batch_of([("a", 100), ("a", 101)]), 0).unwrap();
    let timers = due(&controller, [("a", 1), ("a", 2)]);
    assert_eq!(controller.run_processing_timers(&timers, 0).unwrap(), 2);
    let ctx = Context::new(Rc::clone(controller.task()), batch_of([("a", 0)]), 0, RecordSlot(0));
    ctx.delete_event_timer(Timestamp(1)).unwrap();
    controller.close_epoch('x');
    assert_eq!(controller.ended(), None);
    assert_eq!(settle(&mut controller), ["100", "timer 2", "101"]);
    assert_eq!(controller.take_ended(), Some('x'));
    controller.begin_barrier();
    let timers = due(&controller, [("b", 3)]);
    assert_eq!(controller.run_processing_timers(&timers, 0).unwrap(), 0, "a barrier starts nothing");
}

#[test]
fn a_panic_of_a_timer_is_an_error_that_names_the_key_group() {
    struct Panics;
    impl KeyedProcess for Panics {
        type In = u64;
        type Out = ();
        const USES_TIMERS: bool = true;
        async fn process(&self, at: u64, ctx: &Context<()>) -> Result<()> {
            ctx.register_event_timer(Timestamp(at.cast_signed()))
        }
        async fn on_timer(&self, timer: Timer, _: &Context<()>) -> Result<()> {
            panic!("at {}", timer.time())
        }
    }
    let task = Rc::new(TaskContext::new(Store::new(7, 0, Values::default()).backend()));
    task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }).unwrap();
    let mut controller =
        controller_with_events(Rc::new(Panics), Rc::clone(&task), ControllerSettings::default(), silent());
    controller.run_batch(&batch_of([("a", 7)]), 0).unwrap();
    controller.close_epoch('x');
    task.advance_watermark(Timestamp(7));
    let (timers, _) = task.take_due_timers(TimeDomain::EventTime, 9).unwrap();
    let group = timers.get(0).unwrap().group.0;
    let error = controller.run_timers(&Rc::new(timers), 0).unwrap_err().to_string();
    assert!(error.contains("at 7") && error.contains(&format!("key group {group}")), "{error}");
}
