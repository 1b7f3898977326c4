//! Preludes ahead of their turn, one property a test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod fake;

use std::rc::Rc;

use alluvium_async_exec::{
    AsyncExecutionController, ControllerSettings, EpochMode, Kept, StartRecord, controller_with_events,
};
use alluvium_env::{Entropy, Error, ErrorKind};
use alluvium_state_api::{
    Codec, Context, KeyGroup, KeyGroupRange, KeyedProcess, MaxParallelism, Prepared, PreparedProcess,
    RecordKey, RecordSlot, Result, TaskContext, TimeDomain, Timer, Timestamp, ValueState, key_hash,
};
use fake::service::Service;
use fake::{Store, Values, batch_of, silent};

/// Asks the service, twice for numbers from 100 on, then reads, writes and says its key and number.
struct Asks {
    service: Rc<Service>,
    seen: ValueState<u64>,
}

/// Says so before it reads as well.
const SAYS: u64 = 50;
const FAILS: u64 = u64::MAX;
const PANICS: u64 = u64::MAX - 1;

impl KeyedProcess for Asks {
    type In = (String, u64);
    type Out = String;
    const USES_TIMERS: bool = true;

    async fn process(&self, (key, number): Self::In, ctx: &Context<String>) -> Result<()> {
        if number == SAYS {
            ctx.emit("begin".to_owned());
        }
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + 1))?;
        ctx.emit(format!("{key} {number}"));
        Ok(())
    }

    async fn on_timer(&self, timer: Timer, ctx: &Context<String>) -> Result<()> {
        ctx.emit(format!("timer {}", timer.time().0));
        Ok(())
    }
}

impl PreparedProcess for Asks {
    type Raw = u64;

    async fn prepare(&self, number: u64, key: RecordKey<'_>) -> Result<Self::In> {
        self.service.ask().await;
        assert_ne!(number, PANICS, "the user's own bug");
        if number == FAILS {
            return Err(Error::invalid("the service knows nothing of it"));
        }
        if number >= 100 {
            self.service.ask().await;
        }
        Ok((key.get::<str>()?, number))
    }
}

/// The same without a prelude: what it awaits first is awaited in its turn.
struct Strict(Asks);

impl KeyedProcess for Strict {
    type In = u64;
    type Out = String;
    const USES_TIMERS: bool = true;

    async fn process(&self, number: u64, ctx: &Context<String>) -> Result<()> {
        self.0.service.ask().await;
        self.0.process((ctx.key::<str>()?, number), ctx).await
    }
}

/// What a test has in its hands.
struct World {
    service: Rc<Service>,
    store: Rc<Store>,
    task: Rc<TaskContext<String>>,
    asks: Asks,
}

/// A world with everything resident.
fn world() -> World {
    let (service, store) = (Rc::new(Service::default()), Store::new(7, 0, Values::default()));
    store.answers.set(Some(usize::MAX));
    let task = Rc::new(TaskContext::new(store.backend()));
    let asks = Asks { service: Rc::clone(&service), seen: task.states().value("seen").unwrap() };
    task.open_timers(KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() }).unwrap();
    task.advance_watermark(Timestamp::MAX);
    World { service, store, task, asks }
}

fn run<P: KeyedProcess<In: Codec>>(
    process: P,
    task: &Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
) -> AsyncExecutionController<P, impl StartRecord<P> + use<P>, char> {
    controller_with_events(Rc::new(process), Rc::clone(task), settings, silent())
}

fn serial() -> ControllerSettings {
    ControllerSettings::default()
}

fn parallel() -> ControllerSettings {
    ControllerSettings { epoch_mode: EpochMode::ParallelBetweenEpochs, ..ControllerSettings::default() }
}

fn lines(key: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{key} {number}")).collect()
}

/// How long a key's records take when every answer of the service takes one round.
fn rounds<P: KeyedProcess<In = u64, Out = String>>(make: impl FnOnce(Asks) -> P, records: u64) -> usize {
    let World { service, task, asks, .. } = world();
    let mut controller = run(make(asks), &task, serial());
    let batch = batch_of((0..records).map(|number| ("hot", number % 50)));
    assert_eq!(controller.run_batch(&batch, 0).unwrap(), batch.len());
    let mut rounds = 0;
    while controller.in_flight() > 0 {
        // What is asked meanwhile is answered a round later.
        service.answer_all();
        controller.poll().unwrap();
        rounds += 1;
    }
    rounds
}

#[test]
fn the_preludes_of_one_key_take_as_long_as_one_of_them() {
    assert_eq!(rounds(Prepared::new, 300), 1);
    assert_eq!(rounds(Strict, 300), 300, "without a prelude they wait for each other");
    let share = ControllerSettings::DEFAULT_MAX_IN_FLIGHT / ControllerSettings::KEY_SHARE;
    assert_eq!(rounds(Prepared::new, 3 * share as u64), 3, "the share of one key, round by round");
}

#[test]
fn records_run_in_arrival_order_whichever_prelude_ends_first() {
    let World { service, store, task, asks } = world();
    store.miss_percent.set(100);
    let mut controller = run(Prepared::new(asks), &task, serial());
    let batch = batch_of((0..5).flat_map(|number| [("a", number), ("b", number)]));
    controller.run_batch(&batch, 0).unwrap();
    assert_eq!(service.waiting(), 10);
    let load = controller.load();
    assert_eq!((load.active, load.blocked, load.preludes, controller.in_flight()), (2, 8, 8, 10));
    // All but the two first, the last one first.
    for nth in (2..10).rev() {
        service.answer(nth);
        controller.poll().unwrap();
    }
    assert_eq!((controller.task().batch_len(), controller.unsettled()), (0, 0), "none has touched state");
    service.answer(1);
    while controller.in_flight() > 5 {
        controller.poll().unwrap();
        controller.flush();
    }
    assert_eq!(task.take_outputs(), lines("b", 0..5), "a key that waits for the service holds back no other");
    service.answer(0);
    while controller.in_flight() > 0 {
        controller.poll().unwrap();
        controller.flush();
    }
    assert_eq!(task.take_outputs(), lines("a", 0..5));
    assert_eq!((controller.stats().begun_ahead, service.questions()), (8, 10), "nobody is asked twice");
}

#[test]
fn a_hot_key_begins_its_share_of_preludes_and_the_others_go_on() {
    let World { service, task, asks, .. } = world();
    let settings = ControllerSettings { max_in_flight: 64, ..serial() };
    let mut controller = run(Prepared::new(asks), &task, settings);
    let hot = batch_of((0..1000).map(|number| ("hot", number % 50)));
    assert_eq!(controller.run_batch(&hot, 0).unwrap(), 1000);
    assert_eq!(
        (service.waiting(), controller.load().preludes),
        (5, 4),
        "one in its turn, and its share behind it"
    );
    let keys: Vec<_> = (0..80).map(|key| format!("key-{key}")).collect();
    let others = batch_of(keys.iter().map(|key| (key.as_str(), 0)));
    assert_eq!(controller.run_batch(&others, 0).unwrap(), 59, "those of the hot key that count are 5");
    for ended in 1..=100 {
        service.answer(0);
        controller.poll().unwrap();
        if ended > 59 + 5 {
            assert_eq!(service.waiting(), 5, "the next ones begin as the line moves");
        }
        if ended == 59 {
            assert!(controller.admits(), "room is there again");
        }
    }
    while controller.in_flight() > 0 {
        service.answer_all();
        controller.poll().unwrap();
        assert!(controller.load().preludes <= 4);
    }
    let outputs = task.take_outputs();
    let hot = outputs.into_iter().filter(|line| line.starts_with("hot"));
    assert!(hot.eq((0..1000).map(|number| format!("hot {}", number % 50))));
}

#[test]
fn preludes_that_wait_are_counted_with_their_futures() {
    let bytes = |records: &[(&str, u64)]| {
        let World { task, asks, .. } = world();
        let mut controller = run(Prepared::new(asks), &task, serial());
        controller.run_batch(&batch_of(records.iter().copied()), 0).unwrap();
        controller.load().bytes
    };
    let (apart, behind) = (bytes(&[("a", 0), ("b", 0)]), bytes(&[("a", 0), ("a", 0)]));
    assert!(behind > apart && behind < apart + 64, "{behind} with a place in the line, {apart} without");
    let World { service, task, asks, .. } = world();
    let settings = ControllerSettings { max_in_flight_bytes: apart, ..serial() };
    let mut controller = run(Prepared::new(asks), &task, settings);
    let batch = batch_of((0..9).map(|number| ("a", number)));
    let mut admitted = 0;
    while admitted < batch.len() {
        let next = controller.run_batch(&batch, admitted).unwrap();
        assert!(next < admitted + 3, "two futures are too much already");
        admitted = next;
        service.answer_all();
        controller.poll().unwrap();
    }
    assert_eq!(task.take_outputs(), lines("a", 0..9));
}

#[test]
fn a_barrier_keeps_records_with_preludes_as_they_came_and_waits_for_no_service() {
    let World { service, store, task, asks } = world();
    let mut controller = run(Prepared::new(asks), &task, serial());
    controller.run_batch(&batch_of((0..6).flat_map(|n| [("a", n), ("b", n)])), 0).unwrap();
    // The second of `a` is prepared, the first one is not; of `b` the first suspends in state.
    service.answer(2);
    store.miss_percent.set(100);
    service.answer(1);
    controller.poll().unwrap();
    let waits = service.waiting();
    controller.begin_barrier();
    assert!(controller.barrier_reached(), "nobody has done anything");
    service.answer(0);
    controller.poll().unwrap();
    assert_eq!(task.take_outputs(), [""; 0], "at a barrier no clean record runs, whatever is answered");
    let mut kept = Vec::new();
    controller.keep(|input| match input {
        Kept::Record(record) => kept.push((record.key.first().copied(), record.value.first().copied())),
        Kept::Timer(_) | Kept::Event(_) => unreachable!("there is neither"),
    });
    let all = (0..6).flat_map(|n| [(Some(b'a'), Some(n)), (Some(b'b'), Some(n))]);
    assert!(kept.into_iter().eq(all), "every record, in arrival order");
    controller.end_barrier();
    assert_eq!(service.waiting(), waits - 1, "preludes go on behind the barrier");
    store.miss_percent.set(0);
    while controller.in_flight() > 0 {
        controller.flush();
        service.answer_all();
        controller.poll().unwrap();
    }
    let (a, b): (Vec<_>, Vec<_>) = task.take_outputs().into_iter().partition(|line| line.starts_with('a'));
    assert_eq!((a, b), (lines("a", 0..6), lines("b", 0..6)));
}

#[test]
fn a_barrier_starts_nobody_behind_the_record_that_it_waits_for() {
    // The next one's prelude is over; or not; or it is, and that of the one behind it has not begun.
    for (answered, max_in_flight, waiting) in [(1, 48, 1), (0, 48, 2), (1, 16, 0)] {
        let World { service, store, task, asks } = world();
        let settings = ControllerSettings { max_in_flight, ..serial() };
        let mut controller = run(Prepared::new(asks), &task, settings);
        store.miss_percent.set(100);
        controller.run_batch(&batch_of([("a", SAYS), ("a", 1), ("a", 2)]), 0).unwrap();
        service.answer(0);
        controller.poll().unwrap();
        (0..answered).for_each(|nth| service.answer(nth));
        controller.poll().unwrap();
        assert_eq!((task.take_outputs().len(), controller.unsettled()), (1, 1));
        controller.begin_barrier();
        while !controller.barrier_reached() {
            controller.flush();
            controller.poll().unwrap();
        }
        assert_eq!(task.take_outputs(), [format!("a {SAYS}")]);
        let (in_flight, mut kept) = (controller.in_flight(), 0_usize);
        controller.keep(|_| kept += 1);
        assert_eq!((kept, in_flight, task.batch_len(), service.waiting()), (2, 2, 0, waiting));
        controller.end_barrier();
        while controller.in_flight() > 0 {
            controller.flush();
            controller.poll().unwrap();
            service.answer_all();
        }
        assert_eq!(task.take_outputs(), lines("a", 1..1 + kept as u64));
    }
}

#[test]
fn a_prelude_belongs_to_the_epoch_of_its_record() {
    for settings in [serial(), parallel()] {
        let is_parallel = settings.epoch_mode == EpochMode::ParallelBetweenEpochs;
        let World { service, task, asks, .. } = world();
        let mut controller = run(Prepared::new(asks), &task, settings);
        controller.run_batch(&batch_of([("a", 0), ("a", 1)]), 0).unwrap();
        controller.close_epoch('x');
        let behind = batch_of([("a", 2), ("b", 3)]);
        let admitted = controller.run_batch(&behind, 0).unwrap();
        assert_eq!((admitted, service.waiting()), if is_parallel { (2, 4) } else { (0, 2) });
        service.answer(0);
        controller.poll().unwrap();
        assert_eq!((task.take_outputs(), controller.ended()), (lines("a", 0..1), None), "its prelude runs");
        service.answer(0);
        controller.poll().unwrap();
        assert_eq!((task.take_outputs(), controller.take_ended()), (lines("a", 1..2), Some('x')));
        controller.run_batch(&behind, admitted).unwrap();
        service.answer_all();
        controller.poll().unwrap();
        assert_eq!((task.take_outputs().len(), controller.in_flight()), (2, 0));
    }
}

#[test]
fn a_timer_runs_before_the_records_that_wait_though_their_preludes_have_ended() {
    let World { service, task, asks, .. } = world();
    let mut controller = run(Prepared::new(asks), &task, serial());
    controller.run_batch(&batch_of([("a", 100), ("a", 1), ("a", 2)]), 0).unwrap();
    service.answer(2);
    service.answer(1);
    controller.poll().unwrap();
    let ctx = Context::new(Rc::clone(&task), batch_of([("a", 0)]), 0, RecordSlot(0));
    ctx.register_processing_timer(Timestamp(5)).unwrap();
    let (due, _) = task.take_due_timers(TimeDomain::ProcessingTime, 9).unwrap();
    assert_eq!(controller.run_processing_timers(&Rc::new(due), 0).unwrap(), 1);
    service.answer_all();
    controller.poll().unwrap();
    assert_eq!((controller.in_flight(), service.waiting()), (4, 1), "the first asks twice");
    service.answer_all();
    controller.poll().unwrap();
    assert_eq!(task.take_outputs(), ["a 100", "timer 5", "a 1", "a 2"]);
}

/// The key group of a string key, as an error names it.
fn group_of(key: &str) -> String {
    let encoded = [key.as_bytes(), &[0, 0]].concat();
    let KeyGroup(group) = MaxParallelism::DEFAULT.key_group(key_hash(&encoded));
    format!("key group {group}: ")
}

#[test]
fn an_error_or_a_panic_of_a_prelude_names_the_key_group_wherever_it_runs() {
    // In its turn; ahead of it; begun when the line moved; and in its turn after that.
    for (place, answers) in [(0, &[0][..]), (1, &[1]), (5, &[0, 0, 0, 4]), (5, &[0, 0, 0, 0, 2, 2])] {
        for number in [FAILS, PANICS] {
            let World { service, task, asks, .. } = world();
            let settings = ControllerSettings { max_in_flight: 48, ..serial() };
            let mut controller = run(Prepared::new(asks), &task, settings);
            let records = (0..8).map(|nth| ("c", if nth == place { number } else { nth }));
            // The other key is polled last.
            let batch = batch_of(records.chain([("d", 0), ("d", 1)]));
            controller.run_batch(&batch, 0).unwrap();
            let (last, before) = answers.split_last().unwrap();
            for nth in before {
                service.answer(*nth);
                controller.poll().unwrap();
            }
            service.answer(*last);
            let error = controller.poll().unwrap_err();
            let text = error.to_string();
            let (kind, says) = match number {
                FAILS => (ErrorKind::Invalid, "prelude: the service knows nothing of it"),
                _ => (ErrorKind::Internal, "panicked: "),
            };
            assert_eq!(error.kind(), kind);
            assert!(text.starts_with(&(group_of("c") + says)), "{text}");
            drop(controller);
            assert_eq!((Rc::strong_count(&batch), service.waiting()), (1, 0), "nothing is kept");
        }
    }
}

#[test]
fn a_controller_that_is_dropped_among_preludes_leaks_nothing() {
    for seed in 0..200 {
        let entropy = Entropy::from_seed(seed);
        let below = |bound: usize| (entropy.next_u64() % bound as u64) as usize;
        let World { service, store, task, asks } = world();
        store.miss_percent.set(50);
        let mut controller =
            run(Prepared::new(asks), &task, ControllerSettings { max_in_flight: 100, ..parallel() });
        let (mut batches, mut admitted) = (Vec::new(), 0);
        for _ in 0..below(60) {
            let keys: Vec<_> = (0..8).map(|_| format!("key-{}", below(5))).collect();
            let batch = batch_of(keys.iter().map(String::as_str).zip(97..));
            match below(4) {
                0 => admitted += controller.run_batch(&batch, 0).unwrap(),
                1 => service.answer(below(service.waiting().max(1))),
                2 => controller.flush(),
                _ => controller.poll().unwrap(),
            }
            batches.push(batch);
            let load = controller.load();
            assert_eq!(admitted as u64, controller.stats().records + controller.in_flight() as u64);
            assert!(load.preludes <= load.blocked && service.waiting() <= load.active + load.preludes);
        }
        drop(controller);
        assert_eq!(service.waiting(), 0, "seed {seed}: a prelude was leaked");
        assert!(batches.iter().all(|batch| Rc::strong_count(batch) == 1), "seed {seed}: a batch is kept");
        store.answers.set(Some(usize::MAX));
        task.poll_backend(&mut |_| unreachable!("nobody waits for this read")).unwrap();
        task.take_batch();
        assert_eq!(Rc::strong_count(&task), 1, "seed {seed}: a context is kept");
    }
}
