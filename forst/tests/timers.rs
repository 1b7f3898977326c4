//! Many timers in a small store, two million of them in a build for release: they fire once and in order, and memory holds a
//! few thousand of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex};

use alluvium_env::{Entropy, IoRuntime, SystemClock};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_state_api::{
    BackendFactory, Context, FileOwnership, KeyCodec, KeyGroupRange, MaxParallelism, OpenRequest,
    RecordBatchBuilder, RecordSlot, TaskContext, TimeDomain, Timestamp,
};
use object_store::memory::InMemory;

/// Two million take minutes without optimisation.
const TIMERS: u64 = if cfg!(debug_assertions) { 150_000 } else { 2_000_000 };
const KEYS: u64 = 25_000;
/// Of one time domain; see `state_api::timers`.
const IN_MEMORY: usize = 8192;
/// Timers that fire at a time.
const AT_ONCE: usize = 1000;

struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

struct World {
    task: Rc<TaskContext<()>>,
    bell: Arc<Bell>,
}

impl World {
    fn open() -> Self {
        let settings = ForstSettings { memory_bytes: 32 << 20, ..ForstSettings::default() };
        let io = IoRuntime::new(2).unwrap();
        let factory = ForstBackendFactory::new(settings, Arc::new(InMemory::new()), io).unwrap();
        let bell = Arc::new(Bell::default());
        let rings = Arc::clone(&bell);
        let key_groups = KeyGroupRange { start: 0, end: MaxParallelism::DEFAULT.get() };
        let request = OpenRequest {
            subtask: 0,
            key_groups,
            incarnation: 1,
            restored: Vec::new(),
            files: Arc::new(Nobody),
            notify: Arc::new(move || {
                *rings.rung.lock().unwrap() = true;
                rings.wake.notify_all();
            }),
            clock: Arc::new(SystemClock::new()),
        };
        let task = Rc::new(TaskContext::new(factory.open(request).unwrap()));
        task.open_timers(key_groups).unwrap();
        Self { task, bell }
    }

    fn poll(&self) {
        let reads = self.task.take_batch();
        self.task.with_backend(|backend| backend.submit(reads));
        self.task.poll_backend(&mut |_| ()).unwrap();
    }

    fn wait(&self) {
        let rung = self.bell.rung.lock().unwrap();
        *self.bell.wake.wait_while(rung, |rung| !*rung).unwrap() = false;
    }

    fn settle(&self) {
        self.poll();
        while !self.task.with_backend(|backend| backend.admits()) {
            self.wait();
            self.poll();
        }
    }
}

#[test]
fn timers_fire_once_with_a_few_thousand_in_memory_however_many_there_are() {
    let world = World::open();
    let random = Entropy::from_seed(3);
    // Times in no order. No two timers of a key share one, so each of them is a timer.
    for first in (0..TIMERS).step_by(AT_ONCE) {
        let mut batch = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        (first..first + AT_ONCE as u64).for_each(|number| batch.push(&(number % KEYS), &()));
        let batch = Rc::new(batch.finish());
        for index in 0..batch.len() {
            let number = first + index as u64;
            let time = (random.next_u64() % 1000) * TIMERS + number;
            let ctx = Context::new(Rc::clone(&world.task), Rc::clone(&batch), index, RecordSlot(0));
            ctx.register_event_timer(Timestamp(time.cast_signed())).unwrap();
        }
        world.settle();
        assert!(world.task.timers_in_memory() <= IN_MEMORY);
    }
    let (mut fired, mut last) = (0, vec![i64::MIN; KEYS as usize]);
    let mut seen = vec![false; TIMERS as usize];
    for step in 1..=10 {
        // Event time comes in steps, so heads are left half full as well.
        let watermark = if step == 10 { i64::MAX } else { (step * 100 * TIMERS).cast_signed() };
        world.task.advance_watermark(Timestamp(watermark));
        loop {
            let (due, more) = world.task.take_due_timers(TimeDomain::EventTime, AT_ONCE).unwrap();
            assert!(world.task.timers_in_memory() <= IN_MEMORY + AT_ONCE);
            if due.is_empty() {
                if !more {
                    break;
                }
                world.poll();
                world.wait();
                world.poll();
            }
            let due = Rc::new(due);
            for index in 0..due.len() {
                let key = u64::decode_key(due.get(index).unwrap().key).unwrap() as usize;
                let ctx = Context::new(Rc::clone(&world.task), Rc::clone(&due), index, RecordSlot(0));
                let time = ctx.begin_timer().unwrap().unwrap().time().0;
                ctx.end_timer().unwrap();
                assert!(last[key] < time && time <= watermark, "{key}: {time} after {}", last[key]);
                last[key] = time;
                let number = (time.cast_unsigned() % TIMERS) as usize;
                assert!(!std::mem::replace(&mut seen[number], true), "{number} fires twice");
                fired += 1;
            }
            world.settle();
        }
    }
    assert_eq!(fired, TIMERS);
    assert_eq!(world.task.timers_in_memory(), 0);
}
