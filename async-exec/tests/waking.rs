//! Futures that are no state futures, or are polled by somebody other than their record.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod fake;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use alluvium_async_exec::{ControllerSettings, controller, mailbox};
use alluvium_env::{Entropy, spawn_thread};
use alluvium_state_api::{Context, KeyedProcess, Result, StateFuture, TaskContext, ValueState};
use fake::{Store, Values, batch_of, silent};
use futures_util::stream::{FuturesUnordered, StreamExt};

/// Opened once, by any thread.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    async fn opened(&self) {
        poll_fn(|cx| {
            let mut gate = self.0.lock().unwrap();
            gate.1 = Some(cx.waker().clone());
            if gate.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn open(&self) {
        let waker = {
            let mut gate = self.0.lock().unwrap();
            gate.0 = true;
            gate.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct ThroughGates {
    gates: Arc<Vec<Gate>>,
}

impl KeyedProcess for ThroughGates {
    type In = u64;
    type Out = u64;
    async fn process(&self, gate: u64, ctx: &Context<u64>) -> Result<()> {
        self.gates[gate as usize].opened().await;
        ctx.emit(gate);
        Ok(())
    }
}

#[test]
fn a_record_woken_from_another_thread_goes_on_and_no_wake_is_lost() {
    const GATES: u64 = 3000;
    let gates: Arc<Vec<Gate>> = Arc::new((0..GATES).map(|_| Gate::default()).collect());
    let (_senders, mut inbox) = mailbox::<()>(1, 1);
    let task = Rc::new(TaskContext::new(Store::new(1, 0, Values::default()).backend()));
    let process = Rc::new(ThroughGates { gates: Arc::clone(&gates) });
    let mut controller = controller(process, Rc::clone(&task), ControllerSettings::default(), inbox.bell());
    let keys: Vec<_> = (0..GATES).map(|gate| format!("key-{gate}")).collect();
    let batch = batch_of(keys.iter().map(String::as_str).zip(0..));

    let opener = spawn_thread("opener", move || {
        let (entropy, mut shut): (_, Vec<_>) = (Entropy::from_seed(3), (0..GATES as usize).collect());
        while !shut.is_empty() {
            let index = entropy.next_u64() as usize % shut.len();
            gates[shut.swap_remove(index)].open();
        }
    });
    // The opener runs while records start, suspend and sleep, so every order of the two is met.
    assert_eq!(controller.run_batch(&batch, 0).unwrap(), batch.len());
    while controller.in_flight() > 0 {
        controller.flush();
        inbox.wait_for_bell().unwrap();
        controller.poll().unwrap();
    }
    opener.unwrap().join().unwrap();
    let mut emitted = task.take_outputs();
    emitted.sort_unstable();
    assert!(emitted.into_iter().eq(0..GATES));
}

#[test]
fn a_wake_after_its_record_has_ended_disturbs_nobody() {
    let gates = Arc::new(vec![Gate::default(), Gate::default()]);
    let task = Rc::new(TaskContext::new(Store::new(1, 0, Values::default()).backend()));
    let process = Rc::new(ThroughGates { gates: Arc::clone(&gates) });
    let mut controller = controller(process, Rc::clone(&task), ControllerSettings::default(), silent());
    controller.run_batch(&batch_of([("a", 0)]), 0).unwrap();
    let stale = gates[0].0.lock().unwrap().1.clone().unwrap();
    gates[0].open();
    controller.poll().unwrap();
    assert_eq!(controller.in_flight(), 0);
    stale.wake_by_ref();
    controller.poll().unwrap();
    // The next record has the slot, and one of its key waits behind it.
    controller.run_batch(&batch_of([("b", 1), ("b", 1)]), 0).unwrap();
    stale.wake();
    controller.poll().unwrap();
    assert_eq!((controller.in_flight(), task.take_outputs()), (2, vec![0]));
    gates[1].open();
    controller.poll().unwrap();
    assert_eq!((controller.in_flight(), task.take_outputs()), (0, vec![1, 1]));
}

/// Reads many states of its key at once, each of which was put by the record before.
struct FanOut {
    states: Vec<ValueState<u64>>,
    /// The sum that each record has read.
    log: RefCell<Vec<u64>>,
}

impl KeyedProcess for FanOut {
    type In = u64;
    type Out = ();
    async fn process(&self, value: u64, ctx: &Context<()>) -> Result<()> {
        let reads: FuturesUnordered<StateFuture<Option<u64>>> =
            self.states.iter().map(|s| s.get(ctx)).collect();
        let values: Vec<_> = reads.collect().await;
        let mut sum = 0;
        for value in values {
            sum += value?.unwrap_or(0);
        }
        self.log.borrow_mut().push(sum);
        self.states.iter().try_for_each(|state| state.put(ctx, &value))
    }
}

#[test]
fn state_futures_in_a_futures_unordered_each_find_their_answer() {
    const WIDTH: u64 = 20;
    for seed in 0..20 {
        let store = Store::new(seed, 80, Values::default());
        let task = Rc::new(TaskContext::new(store.backend()));
        let states = (0..WIDTH).map(|i| task.states().value(&format!("state-{i}")).unwrap()).collect();
        let process = Rc::new(FanOut { states, log: RefCell::default() });
        let settings = ControllerSettings { batch_reads: 7, ..ControllerSettings::default() };
        let mut controller = controller(Rc::clone(&process), task, settings, silent());
        controller
            .run_batch(&batch_of([("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]), 0)
            .unwrap();
        store.answers.set(Some(1));
        while controller.in_flight() > 0 {
            controller.flush();
            controller.poll().unwrap();
        }
        let mut sums = process.log.take();
        sums.sort_unstable();
        assert_eq!(sums, [0, 0, WIDTH, WIDTH, 2 * WIDTH, 2 * WIDTH]);
    }
}

#[test]
fn dropping_a_controller_gives_the_reads_in_flight_up() {
    let store = Store::new(1, 100, Values::default());
    let task = Rc::new(TaskContext::new(store.backend()));
    let states = vec![task.states().value("a").unwrap(), task.states().value("b").unwrap()];
    let process = Rc::new(FanOut { states, log: RefCell::default() });
    let mut controller = controller(process, Rc::clone(&task), ControllerSettings::default(), silent());
    let batch = batch_of([("a", 1), ("b", 1), ("a", 2)]);
    controller.run_batch(&batch, 0).unwrap();
    controller.flush();
    drop(controller);
    assert_eq!(Rc::strong_count(&batch), 1);
    store.answers.set(Some(usize::MAX));
    task.poll_backend(&mut |_| unreachable!("nobody waits for this read")).unwrap();
    assert_eq!(task.outstanding_reads(), 0);
}
