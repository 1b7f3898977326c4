//! Limits, batches, lines and errors, one property a test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod fake;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alluvium_async_exec::{AsyncExecutionController, ControllerSettings, StartRecord, controller};
use alluvium_env::{Error, ErrorKind};
use alluvium_state_api::{
    Context, KeyGroup, KeyedProcess, MaxParallelism, Notify, RecordBatchBuilder, Result, TaskContext,
    ValueState, key_hash,
};
use fake::{Store, Values, batch_of, silent};

/// Appends to its key's value; fails on the record it is told to, after its read.
struct Append {
    seen: ValueState<u64>,
}

const FAILS: u64 = u64::MAX;
const PANICS: u64 = u64::MAX - 1;

impl KeyedProcess for Append {
    type In = u64;
    type Out = (String, u64);
    async fn process(&self, number: u64, ctx: &Context<Self::Out>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        assert_ne!(number, PANICS, "the user's own bug");
        if number == FAILS {
            return Err(Error::invalid("this record cannot be handled"));
        }
        self.seen.put(ctx, &(seen + 1))?;
        ctx.emit((ctx.key::<str>()?, number));
        Ok(())
    }
}

fn append_on(
    store: &Rc<Store>,
    settings: ControllerSettings,
) -> AsyncExecutionController<Append, impl StartRecord<Append> + use<>> {
    let task = Rc::new(TaskContext::new(store.backend()));
    let seen = task.states().value("seen").unwrap();
    controller(Rc::new(Append { seen }), task, settings, silent())
}

fn missing() -> Rc<Store> {
    let store = Store::new(7, 100, Values::default());
    store.answers.set(Some(usize::MAX));
    store
}

fn numbers<S: StartRecord<Append>>(controller: &AsyncExecutionController<Append, S>) -> Vec<u64> {
    controller.task().take_outputs().into_iter().map(|(_, number)| number).collect()
}

#[test]
fn a_hot_key_with_a_long_line_keeps_its_order_in_time_linear_in_its_length() {
    // A step that looked at the line, or a recursion along it, would not survive this length.
    const LINE: u64 = 300_000;
    let store = missing();
    let settings = ControllerSettings {
        max_in_flight: LINE as usize,
        max_in_flight_bytes: 1 << 30,
        ..ControllerSettings::default()
    };
    let mut controller = append_on(&store, settings);
    let batch = batch_of((0..LINE).map(|number| ("hot", number)));
    assert_eq!(controller.run_batch(&batch, 0).unwrap(), batch.len());
    assert_eq!((controller.in_flight(), controller.stats().queued), (batch.len(), LINE - 1));
    // The first read misses; what it brought is resident from then on.
    store.miss_percent.set(0);
    controller.flush();
    controller.poll().unwrap();
    assert_eq!(controller.in_flight(), 0);
    assert!(numbers(&controller).into_iter().eq(0..LINE));
}

#[test]
fn a_busy_key_holds_back_no_other() {
    let store = missing();
    let mut controller = append_on(&store, ControllerSettings::default());
    controller.run_batch(&batch_of([("a", 0), ("a", 1)]), 0).unwrap();
    store.miss_percent.set(0);
    controller.run_batch(&batch_of([("b", 2), ("a", 3), ("c", 4)]), 0).unwrap();
    assert_eq!(numbers(&controller), [2, 4]);
    controller.flush();
    controller.poll().unwrap();
    assert_eq!(numbers(&controller), [0, 1, 3]);
}

#[test]
fn an_answer_finds_its_record_without_a_waker() {
    let store = missing();
    let rings = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&rings);
    let notify: Notify = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let task = Rc::new(TaskContext::new(store.backend()));
    let seen = task.states().value("seen").unwrap();
    let settings = ControllerSettings::default();
    let mut controller = controller(Rc::new(Append { seen }), task, settings, notify);
    controller.run_batch(&batch_of([("a", 0), ("b", 1), ("a", 2)]), 0).unwrap();
    while controller.in_flight() > 0 {
        controller.flush();
        controller.poll().unwrap();
    }
    assert_eq!((controller.stats().suspended, rings.load(Ordering::SeqCst)), (3, 0));
}

#[test]
fn full_batches_go_at_once_and_partial_ones_at_a_flush() {
    let store = missing();
    let settings = ControllerSettings { batch_reads: 8, ..ControllerSettings::default() };
    let mut controller = append_on(&store, settings);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    controller.run_batch(&batch_of(keys.into_iter().zip(0..)), 0).unwrap();
    assert_eq!(*store.batches.borrow(), [8], "one read is not worth a batch beside eight");
    controller.poll().unwrap();
    controller.poll().unwrap();
    assert_eq!(
        (controller.in_flight(), store.batches.borrow().len()),
        (1, 1),
        "a poll closes no partial batch"
    );
    controller.flush();
    controller.flush();
    assert_eq!(*store.batches.borrow(), [8, 1], "a flush of nothing submits nothing");
    assert_eq!((controller.stats().batches, controller.stats().reads), (2, 9));
}

#[test]
fn a_lone_read_goes_with_its_records_though_the_mailbox_never_empties() {
    let store = missing();
    let mut controller = append_on(&store, ControllerSettings::default());
    controller.run_batch(&batch_of([("a", 0)]), 0).unwrap();
    assert_eq!(*store.batches.borrow(), [1], "nobody has flushed");
}

#[test]
fn admission_stops_at_the_record_the_limit_names_and_goes_on_from_there() {
    let store = missing();
    let settings = ControllerSettings { max_in_flight: 2, ..ControllerSettings::default() };
    let mut controller = append_on(&store, settings);
    let batch = batch_of([("a", 0), ("a", 1), ("b", 2)]);
    assert_eq!(controller.run_batch(&batch, 0).unwrap(), 2, "queued records count, too");
    assert!(!controller.admits());
    assert_eq!(controller.run_batch(&batch, 2).unwrap(), 2);
    store.miss_percent.set(0);
    controller.flush();
    controller.poll().unwrap();
    assert!(controller.admits());
    assert_eq!(controller.run_batch(&batch, 2).unwrap(), 3);
    assert_eq!(numbers(&controller), [0, 1, 2]);
}

#[test]
fn a_backend_that_does_not_admit_is_asked_before_every_record() {
    let store = missing();
    let mut controller = append_on(&store, ControllerSettings::default());
    let batch = batch_of([("a", 0)]);
    store.admits.set(false);
    assert_eq!((controller.admits(), controller.run_batch(&batch, 0).unwrap()), (false, 0));
    store.admits.set(true);
    assert_eq!((controller.admits(), controller.run_batch(&batch, 0).unwrap()), (true, 1));
}

#[test]
fn bytes_in_flight_stop_admission_and_a_record_of_any_size_runs_alone() {
    let store = missing();
    let settings = ControllerSettings { max_in_flight_bytes: 1, ..ControllerSettings::default() };
    let mut controller = append_on(&store, settings);
    let batch = batch_of([("a", 0), ("a", 1), ("b", 2)]);
    for (admitted, key) in [(1, "a"), (2, "a"), (3, "b")] {
        assert!(controller.admits());
        assert_eq!(controller.run_batch(&batch, admitted - 1).unwrap(), admitted, "{key}");
        assert!(!controller.admits() && controller.load().bytes > batch.size_bytes());
        controller.flush();
        controller.poll().unwrap();
    }
    assert_eq!((numbers(&controller), controller.load().bytes), (vec![0, 1, 2], 0));
}

#[test]
fn batches_count_whole_and_once_and_futures_each() {
    let mut controller = append_on(&missing(), ControllerSettings::default());
    let mut bytes_with = |records: &[(&str, u64)]| {
        let batch = batch_of(records.iter().copied());
        controller.run_batch(&batch, 0).unwrap();
        (controller.load().bytes, batch.size_bytes() + 32 * batch.len())
    };
    let (first, batch) = bytes_with(&[("a", 0), ("b", 1)]);
    let future = (first - batch) / 2;
    assert!(future > 4 * size_of::<u64>(), "{future}");
    let (second, _) = bytes_with(&[("c", 2), ("d", 3)]);
    let (third, single) = bytes_with(&[("e", 4)]);
    assert_eq!((second, third), (2 * first, second + single + future));
    let (fourth, _) = bytes_with(&[("e", 4)]);
    assert!(fourth > third + single && fourth < third + single + future, "one that waits has no future yet");
}

#[test]
fn a_hot_key_that_is_slow_takes_its_share_of_the_limit_and_the_others_go_on() {
    let store = missing();
    let settings = ControllerSettings { max_in_flight: 32, ..ControllerSettings::default() };
    let mut controller = append_on(&store, settings);
    let hot: Vec<_> = (0..1000).map(|number| ("hot", number)).collect();
    controller.run_batch(&batch_of(hot), 0).unwrap();
    assert_eq!((controller.in_flight(), controller.load().blocked_keys), (1000, 1));
    let keys: Vec<_> = (0..40).map(|key| format!("key-{key}")).collect();
    let others = batch_of(keys.iter().map(|key| (key.as_str(), 0)));
    assert_eq!(
        controller.run_batch(&others, 0).unwrap(),
        29,
        "one of the hot key runs, and two that wait count"
    );
    store.miss_percent.set(0);
    controller.flush();
    controller.poll().unwrap();
    assert_eq!((controller.in_flight(), controller.admits()), (0, true));
    store.miss_percent.set(100);
    assert_eq!(controller.run_batch(&others, 0).unwrap(), 32, "nothing is counted any more");
}

#[test]
fn a_barrier_that_drains_lets_everyone_end_and_admits_nobody() {
    let store = missing();
    let settings = ControllerSettings { keep_inputs: false, ..ControllerSettings::default() };
    let mut controller = append_on(&store, settings);
    controller.run_batch(&batch_of([("a", 0), ("a", 1), ("b", 2)]), 0).unwrap();
    controller.begin_barrier();
    assert_eq!(controller.run_batch(&batch_of([("c", 3)]), 0).unwrap(), 0);
    while !controller.barrier_reached() {
        assert!(controller.in_flight() > 0);
        controller.flush();
        controller.poll().unwrap();
    }
    let mut ended = numbers(&controller);
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2]);
    controller.end_barrier();
    assert!(controller.admits() && !controller.barrier_reached());
}

#[test]
#[should_panic(expected = "once the barrier is reached")]
fn inputs_are_refused_before_the_barrier_is_reached() {
    struct Early(ValueState<u64>);
    impl KeyedProcess for Early {
        type In = u64;
        type Out = ();
        async fn process(&self, _: u64, ctx: &Context<()>) -> Result<()> {
            ctx.emit(());
            self.0.get(ctx).await.map(drop)
        }
    }
    let task = Rc::new(TaskContext::new(missing().backend()));
    let early = Rc::new(Early(task.states().value("early").unwrap()));
    let mut controller = controller(early, task, ControllerSettings::default(), silent());
    controller.run_batch(&batch_of([("a", 0)]), 0).unwrap();
    controller.keep(|_| ());
}

/// The key group of a string key, as an error names it.
fn group_of(key: &str) -> String {
    let encoded = [key.as_bytes(), &[0, 0]].concat();
    let KeyGroup(group) = MaxParallelism::DEFAULT.key_group(key_hash(&encoded));
    format!("key group {group}: ")
}

#[test]
fn an_error_of_the_user_function_names_the_key_group_at_every_stage() {
    let message = "this record cannot be handled";
    // At the first poll.
    let mut controller = append_on(&Store::new(1, 0, Values::default()), ControllerSettings::default());
    let error = controller.run_batch(&batch_of([("a", FAILS)]), 0).unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Invalid, group_of("a") + message));
    // After a suspension, and from within the line of its key.
    for records in [[("b", FAILS), ("b", 0)], [("b", 0), ("b", FAILS)]] {
        let store = missing();
        let mut controller = append_on(&store, ControllerSettings::default());
        controller.run_batch(&batch_of(records), 0).unwrap();
        store.miss_percent.set(0);
        controller.flush();
        assert_eq!(controller.poll().unwrap_err().to_string(), group_of("b") + message);
    }
}

#[test]
fn an_error_of_the_store_reaches_the_user_function() {
    let store = missing();
    store.broken.set(true);
    let mut controller = append_on(&store, ControllerSettings::default());
    controller.run_batch(&batch_of([("a", 0)]), 0).unwrap();
    controller.flush();
    let error = controller.poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), group_of("a") + "the store is on fire");
}

#[test]
fn a_record_that_cannot_be_decoded_is_corruption_and_leaves_nothing_in_flight() {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    builder.push("a", &7_u16);
    let mut controller = append_on(&missing(), ControllerSettings::default());
    let error = controller.run_batch(&Rc::new(builder.finish()), 0).unwrap_err();
    assert_eq!((error.kind(), controller.in_flight()), (ErrorKind::Corruption, 0));
    assert!(error.to_string().starts_with(&group_of("a")));
}

#[test]
fn a_panic_of_the_user_function_is_an_error_that_names_the_key_group_at_every_stage() {
    let check = |error: Error, key| {
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(
            text.starts_with(&(group_of(key) + "panicked: ")) && text.contains("the user's own bug"),
            "{text}"
        );
    };
    // At the first poll, behind another record of the batch.
    let mut controller = append_on(&Store::new(1, 0, Values::default()), ControllerSettings::default());
    let error = controller.run_batch(&batch_of([("b", 0), ("a", PANICS), ("b", 0)]), 0).unwrap_err();
    check(error, "a");
    // After a suspension, and from within the line of its key.
    for records in [[("c", PANICS), ("c", 0), ("b", 0)], [("c", 0), ("c", PANICS), ("b", 0)]] {
        let store = missing();
        let mut controller = append_on(&store, ControllerSettings::default());
        let batch = batch_of(records);
        controller.run_batch(&batch, 0).unwrap();
        store.miss_percent.set(0);
        controller.flush();
        store.answers.set(Some(3));
        check(controller.poll().unwrap_err(), "c");
        drop(controller);
        assert_eq!(Rc::strong_count(&batch), 1, "nothing keeps the records");
    }
}
