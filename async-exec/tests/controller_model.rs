//! The controller against its specification, on random records, delays and schedules: effects of a key in arrival
//! order, nothing lost, limits kept, and a checkpoint at any moment from which a second job ends in the same state.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod fake;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use alluvium_async_exec::{AsyncExecutionController, ControllerSettings, Kept, StartRecord, controller};
use alluvium_state_api::{
    Context, KeyedProcess, MaxParallelism, RecordBatch, RecordBatchBuilder, ReducingState, Result, Sum,
    TaskContext, ValueState,
};
use fake::{Store, Values, silent};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use proptest::prelude::*;

/// Which records have done something, and which have ended.
#[derive(Default)]
struct Log {
    touched: BTreeSet<u64>,
    ended: BTreeSet<u64>,
}

struct Model {
    /// The ids of the key's records, in the order of their effects.
    order: ValueState<Vec<u8>>,
    adds: ReducingState<Sum<u64>>,
    log: Rc<RefCell<Log>>,
}

const KINDS: u8 = 6;

impl Model {
    fn touch(&self, id: u64) {
        self.log.borrow_mut().touched.insert(id);
    }

    async fn append(&self, id: u64, ctx: &Context<u64>) -> Result<()> {
        let mut order = self.order.get(ctx).await?.unwrap_or_default();
        order.extend_from_slice(&id.to_le_bytes());
        self.touch(id);
        self.order.put(ctx, &order)
    }
}

impl KeyedProcess for Model {
    type In = u64;
    type Out = u64;

    async fn process(&self, record: u64, ctx: &Context<u64>) -> Result<()> {
        let (id, kind) = (record >> 8, record as u8 % KINDS);
        match kind {
            // Emits, then may suspend: unsettled meanwhile.
            1 => {
                self.touch(id);
                ctx.emit(id);
            }
            // Reads together, polled by somebody else's waker.
            2 => {
                let mut reads = FuturesUnordered::<LocalBoxFuture<'_, Result<()>>>::new();
                for _ in 0..3 {
                    reads.push(Box::pin(async { self.order.get(ctx).await.map(drop) }));
                    reads.push(Box::pin(async { self.adds.get(ctx).await.map(drop) }));
                }
                while let Some(read) = reads.next().await {
                    read?;
                }
            }
            // Waits for something that is no state, and wakes itself during its own poll.
            3 => {
                let mut times = 2;
                poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    times -= 1;
                    if times == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
            }
            // Gives a read up.
            4 => drop(self.order.get(ctx)),
            // Writes without reading, then may suspend.
            5 => {
                self.touch(id);
                self.adds.add(ctx, &1)?;
            }
            _ => {}
        }
        self.append(id, ctx).await?;
        self.log.borrow_mut().ended.insert(id);
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Case {
    records: Vec<(u8, u8)>,
    batch_len: usize,
    settings: ControllerSettings,
    miss_percent: u64,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let settings = (1..20_usize, 1..8_usize, 1..8000_usize).prop_map(
        |(max_in_flight, batch_reads, max_in_flight_bytes)| ControllerSettings {
            max_in_flight,
            batch_reads,
            max_in_flight_bytes,
            ..ControllerSettings::default()
        },
    );
    let records = proptest::collection::vec((0..6_u8, 0..KINDS), 0..120);
    let rest = (1..10_usize, settings, prop_oneof![Just(0_u64), Just(30), Just(100)], any::<u64>());
    (records, rest).prop_map(|(records, (batch_len, settings, miss_percent, seed))| Case {
        records,
        batch_len,
        settings,
        miss_percent,
        seed,
    })
}

/// Records as key and value, both encoded.
type Encoded = Vec<(Vec<u8>, Vec<u8>)>;

fn encode(records: &[(u8, u8)]) -> Encoded {
    let value = |id: usize, kind: u8| ((id as u64) << 8 | u64::from(kind)).to_le_bytes().to_vec();
    records.iter().enumerate().map(|(id, (key, kind))| (vec![b'k', *key, 0, 0], value(id, *kind))).collect()
}

fn id_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap()) >> 8
}

fn batches(records: &[(Vec<u8>, Vec<u8>)], batch_len: usize) -> Vec<Rc<RecordBatch>> {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    let chunks = records.chunks(batch_len).map(|chunk| {
        for (key, value) in chunk {
            builder.push_encoded(key, value);
        }
        Rc::new(builder.finish())
    });
    chunks.collect()
}

/// What a checkpoint holds.
struct Checkpoint {
    values: Values,
    kept: Encoded,
    position: usize,
}

/// A job in the middle of its records.
struct Job<'a, S: StartRecord<Model>> {
    case: &'a Case,
    controller: AsyncExecutionController<Model, S>,
    store: Rc<Store>,
    log: Rc<RefCell<Log>>,
    records: &'a [(Vec<u8>, Vec<u8>)],
    batches: Vec<Rc<RecordBatch>>,
    admitted: usize,
}

impl<S: StartRecord<Model>> Job<'_, S> {
    fn run_batch(&mut self) {
        let len = self.case.batch_len;
        let from = self.admitted % len;
        let Some(batch) = self.batches.get(self.admitted / len).filter(|batch| from < batch.len()) else {
            return;
        };
        let (admits, before) = (self.controller.admits(), self.store.batches.borrow().len());
        let next = self.controller.run_batch(batch, from).unwrap();
        assert!(next > from || !admits, "a controller that admits takes a record");
        self.admitted += next - from;
        // What is worth it goes with the records that asked.
        let submitted = self.store.batches.borrow().len();
        self.check(before..submitted.saturating_sub(1));
    }

    fn poll(&mut self) {
        let before = self.store.batches.borrow().len();
        self.controller.poll().unwrap();
        let submitted = self.store.batches.borrow().len();
        self.check(before..submitted);
    }

    /// What holds after every step; none of the batches named may be partial.
    fn check(&self, full_batches: std::ops::Range<usize>) {
        let mut of_key = BTreeMap::<&[u8], usize>::new();
        let log = self.log.borrow();
        for (key, value) in &self.records[..self.admitted] {
            *of_key.entry(key).or_default() += usize::from(!log.ended.contains(&id_of(value)));
        }
        let ControllerSettings { max_in_flight, max_in_flight_bytes, .. } = self.case.settings;
        let share = max_in_flight.div_ceil(ControllerSettings::KEY_SHARE);
        let counted: usize = of_key.values().map(|records| (*records).min(1 + share)).sum();
        assert!(counted <= max_in_flight, "{counted} in flight count");
        let load = self.controller.load();
        let blocked: Vec<_> = of_key.values().map(|records| records.saturating_sub(1)).collect();
        let blocked_keys = blocked.iter().filter(|waiting| **waiting > 0).count();
        assert_eq!((load.blocked, load.blocked_keys), (blocked.iter().sum(), blocked_keys));
        assert_eq!(load.active + load.blocked, self.controller.in_flight());
        let held = self.batches.iter().filter(|batch| Rc::strong_count(batch) > 1);
        let held: Vec<_> = held.map(|batch| batch.size_bytes() + 32 * batch.len()).collect();
        let least = held.iter().sum::<usize>() + load.active * size_of::<Model>();
        assert!(load.bytes >= least, "{} bytes, at least {least}", load.bytes);
        // The record that reaches the limit may be the first of its batch.
        let largest = held.iter().max().map_or(0, |batch| batch + 4000);
        assert!(load.bytes < max_in_flight_bytes + largest, "{} bytes in flight", load.bytes);
        let full = |size: &usize| *size >= self.case.settings.batch_reads;
        let batches = self.store.batches.borrow();
        let named = batches.get(full_batches).unwrap_or_default();
        assert!(named.iter().all(full), "a partial batch without a flush");
        assert_eq!(self.controller.in_flight(), self.admitted - log.ended.len());
        assert_eq!(self.controller.unsettled(), log.touched.difference(&log.ended).count());
        assert_eq!(self.controller.stats().records, log.ended.len() as u64);
    }

    fn barrier(&mut self) -> Checkpoint {
        self.controller.begin_barrier();
        let admitted = self.admitted;
        let touched = self.log.borrow().touched.clone();
        while !self.controller.barrier_reached() {
            self.controller.flush();
            self.run_batch();
            self.poll();
            assert_eq!(self.log.borrow().touched, touched, "a clean record ran at a barrier");
        }
        assert_eq!(self.admitted, admitted, "a barrier admits nothing");
        let mut kept = Vec::new();
        self.controller.keep(|input| match input {
            Kept::Record(record) => kept.push((record.key.to_vec(), record.value.to_vec())),
            Kept::Timer(_) | Kept::Event(_) => unreachable!("there is neither"),
        });
        let in_flight = |(_, value): &&(Vec<u8>, Vec<u8>)| !self.log.borrow().ended.contains(&id_of(value));
        let expected: Encoded = self.records[..self.admitted].iter().filter(in_flight).cloned().collect();
        assert_eq!(kept, expected, "the inputs are the records in flight, in arrival order");
        assert!(kept.iter().all(|(_, value)| !self.log.borrow().touched.contains(&id_of(value))));
        self.controller.end_barrier();
        Checkpoint { values: self.store.values.borrow().clone(), kept, position: self.admitted }
    }

    /// Runs to the end, with a checkpoint somewhere on the way.
    fn run(&mut self) -> Checkpoint {
        let (mut checkpoint, mut steps) = (None, 0);
        let barrier_after = self.store.below(self.records.len() + 1);
        while self.admitted < self.records.len() || self.controller.in_flight() > 0 || checkpoint.is_none() {
            if checkpoint.is_none() && self.admitted >= barrier_after {
                checkpoint = Some(self.barrier());
            }
            steps += 1;
            assert!(steps < 100_000, "{} records are stuck", self.controller.in_flight());
            match self.store.below(8) {
                0..3 => self.run_batch(),
                3..7 => self.poll(),
                _ => self.controller.flush(),
            }
        }
        assert!(self.batches.iter().all(|batch| Rc::strong_count(batch) == 1), "an ended job holds no batch");
        checkpoint.unwrap()
    }
}

/// Runs records on values; returns the values at the end, the checkpoint, and what was emitted.
fn job(case: &Case, records: &[(Vec<u8>, Vec<u8>)], values: Values) -> (Values, Checkpoint, Vec<u64>) {
    let store = Store::new(case.seed, case.miss_percent, values);
    let task = Rc::new(TaskContext::new(store.backend()));
    let log = Rc::default();
    let states = task.states();
    let (order, adds) = (states.value("order").unwrap(), states.reducing("adds").unwrap());
    let model = Rc::new(Model { order, adds, log: Rc::clone(&log) });
    let controller = controller(model, Rc::clone(&task), case.settings.clone(), silent());
    let batches = batches(records, case.batch_len);
    let mut job = Job { case, controller, store: Rc::clone(&store), log, records, batches, admitted: 0 };
    let checkpoint = job.run();
    let values = store.values.borrow().clone();
    (values, checkpoint, task.take_outputs())
}

/// What the values must be: one record after the other.
fn sequential(records: &[(u8, u8)]) -> (BTreeMap<u8, Vec<u8>>, BTreeMap<u8, u64>) {
    let (mut order, mut adds) = (BTreeMap::<u8, Vec<u8>>::new(), BTreeMap::new());
    for (id, (key, kind)) in records.iter().enumerate() {
        order.entry(*key).or_default().extend_from_slice(&(id as u64).to_le_bytes());
        if *kind == 5 {
            *adds.entry(*key).or_default() += 1;
        }
    }
    (order, adds)
}

/// State keys are `group group 0 state k key 0 0`.
fn by_state(values: &Values) -> (BTreeMap<u8, Vec<u8>>, BTreeMap<u8, u64>) {
    let (mut order, mut adds) = (BTreeMap::new(), BTreeMap::new());
    for (key, value) in values {
        match key[3] {
            0 => drop(order.insert(key[5], value.clone())),
            _ => drop(adds.insert(key[5], u64::from_le_bytes(value.as_slice().try_into().unwrap()))),
        }
    }
    (order, adds)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_equals_the_sequential_run_and_so_does_a_restore(case in cases()) {
        let records = encode(&case.records);
        let (values, checkpoint, emitted) = job(&case, &records, Values::default());
        let expected = sequential(&case.records);
        prop_assert_eq!(&by_state(&values), &expected);
        let early = (0_u64..).zip(&case.records).filter(|(_, (_, kind))| *kind == 1).map(|(id, _)| id);
        prop_assert_eq!(emitted.into_iter().collect::<BTreeSet<_>>(), early.collect::<BTreeSet<_>>());

        let mut rest = checkpoint.kept;
        rest.extend_from_slice(&records[checkpoint.position..]);
        let again = Case { seed: !case.seed, ..case.clone() };
        let (restored, _, _) = job(&again, &rest, checkpoint.values);
        prop_assert_eq!(by_state(&restored), expected, "restored from a checkpoint");
    }
}
