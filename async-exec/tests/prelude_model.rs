//! Records with preludes against a sequential run, on random schedules of answers of a service and of state: effects of a key in
//! arrival order, each record in its epoch, limits kept, and a checkpoint at any moment from which a second job ends the same.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod fake;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use alluvium_async_exec::{
    AsyncExecutionController, ControllerSettings, EpochMode, Kept, StartRecord, controller_with_events,
};
use alluvium_state_api::{
    Context, KeyedProcess, MaxParallelism, Prepared, PreparedProcess, RecordBatch, RecordBatchBuilder,
    RecordKey, Result, TaskContext, ValueState,
};
use fake::service::Service;
use fake::{Store, Values, silent};
use proptest::prelude::*;

/// How far each record has come.
#[derive(Default)]
struct Log {
    begun: BTreeSet<u64>,
    entered: BTreeSet<u64>,
    touched: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    /// Keys with a record beyond its prelude.
    running: BTreeSet<String>,
}

struct Model {
    service: Rc<Service>,
    /// The ids of the key's records, in the order of their effects.
    order: ValueState<Vec<u8>>,
    log: Rc<RefCell<Log>>,
}

const KINDS: u8 = 4;

impl PreparedProcess for Model {
    type Raw = u64;

    /// Asks the service not at all, once or twice.
    async fn prepare(&self, record: u64, key: RecordKey<'_>) -> Result<Self::In> {
        let (id, kind) = (record >> 8, record as u8 % KINDS);
        assert!(self.log.borrow_mut().begun.insert(id), "a prelude began twice");
        for _ in 0..kind.min(2) {
            self.service.ask().await;
        }
        Ok((key.get::<str>()?, id, kind))
    }
}

impl KeyedProcess for Model {
    type In = (String, u64, u8);
    type Out = u64;

    async fn process(&self, (key, id, kind): Self::In, ctx: &Context<u64>) -> Result<()> {
        self.log.borrow_mut().entered.insert(id);
        assert!(self.log.borrow_mut().running.insert(key.clone()), "two records of key {key} run");
        if kind == 3 {
            self.log.borrow_mut().touched.insert(id);
            ctx.emit(id);
            self.service.ask().await;
        }
        let mut order = self.order.get(ctx).await?.unwrap_or_default();
        order.extend_from_slice(&id.to_le_bytes());
        self.log.borrow_mut().touched.insert(id);
        self.order.put(ctx, &order)?;
        self.order.get(ctx).await?;
        let mut log = self.log.borrow_mut();
        log.running.remove(&key);
        log.ended.insert(id);
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
    let settings = (1..80_usize, 1..8_usize, 1..20_000_usize, any::<bool>()).prop_map(
        |(max_in_flight, batch_reads, max_in_flight_bytes, is_parallel)| ControllerSettings {
            max_in_flight,
            batch_reads,
            max_in_flight_bytes,
            epoch_mode: if is_parallel {
                EpochMode::ParallelBetweenEpochs
            } else {
                EpochMode::SerialBetweenEpochs
            },
            ..ControllerSettings::default()
        },
    );
    let records = proptest::collection::vec((0..4_u8, 0..KINDS), 0..120);
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
    records
        .iter()
        .enumerate()
        .map(|(id, (key, kind))| (vec![b'k', b'0' + key, 0, 0], value(id, *kind)))
        .collect()
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

/// A job in the middle of its records. An event is where it stands among them.
struct Job<'a, S: StartRecord<Prepared<Model>>> {
    case: &'a Case,
    controller: AsyncExecutionController<Prepared<Model>, S, usize>,
    store: Rc<Store>,
    service: Rc<Service>,
    log: Rc<RefCell<Log>>,
    records: &'a [(Vec<u8>, Vec<u8>)],
    batches: Vec<Rc<RecordBatch>>,
    admitted: usize,
    /// Preludes that a barrier kept from beginning do so when the line moves again.
    had_barrier: bool,
}

impl<S: StartRecord<Prepared<Model>>> Job<'_, S> {
    fn run_batch(&mut self) {
        let len = self.case.batch_len;
        let from = self.admitted % len;
        let Some(batch) = self.batches.get(self.admitted / len).filter(|batch| from < batch.len()) else {
            return;
        };
        let admits = self.controller.admits();
        let next = self.controller.run_batch(batch, from).unwrap();
        assert!(next > from || !admits, "a controller that admits takes a record");
        self.admitted += next - from;
    }

    fn answer(&self) {
        let waiting = self.service.waiting();
        if waiting > 0 {
            self.service.answer(self.store.below(waiting));
        }
    }

    fn has_ended(&self, ids: std::ops::Range<usize>) -> bool {
        let log = self.log.borrow();
        self.records[ids].iter().all(|(_, value)| log.ended.contains(&id_of(value)))
    }

    /// What holds after every step.
    fn check(&self) {
        let mut waiting = BTreeMap::<&[u8], Vec<u64>>::new();
        let log = self.log.borrow();
        for (key, value) in &self.records[..self.admitted] {
            let id = id_of(value);
            let of_key = waiting.entry(key).or_default();
            if !log.ended.contains(&id) {
                of_key.push(id);
            }
        }
        let ControllerSettings { max_in_flight, max_in_flight_bytes, .. } = self.case.settings;
        let share = max_in_flight.div_ceil(ControllerSettings::KEY_SHARE);
        let load = self.controller.load();
        let lines: Vec<&[u64]> = waiting.values().filter_map(|ids| ids.get(1..)).collect();
        assert_eq!(load.blocked, lines.iter().map(|line| line.len()).sum::<usize>());
        let begun = |line: &&[u64]| line.iter().filter(|id| log.begun.contains(id)).count();
        let most: usize = lines.iter().map(|line| line.len().min(share)).sum();
        assert_eq!(load.preludes, lines.iter().map(begun).sum::<usize>());
        assert!(load.preludes == most || self.had_barrier && load.preludes < most);
        assert!(load.active + load.preludes <= max_in_flight, "more slots than records that count");
        let counted: usize = waiting.values().map(|ids| ids.len().min(1 + share)).sum();
        let has_room = counted < max_in_flight && load.bytes < max_in_flight_bytes;
        assert!(self.controller.admits() == has_room || self.controller.pending_events() > 0);
        for line in lines {
            assert!(
                line[..begun(&line)].iter().all(|id| log.begun.contains(id)),
                "the first of a line begin"
            );
            assert!(!line.iter().any(|id| log.entered.contains(id)), "a record has overtaken one of its key");
        }
        assert_eq!(self.controller.unsettled(), log.touched.difference(&log.ended).count());
        assert_eq!(self.controller.stats().records, log.ended.len() as u64);
    }

    /// Takes events that are done.
    fn take_events(&mut self) {
        while let Some(behind) = self.controller.take_ended() {
            assert!(self.has_ended(0..behind), "an event has overtaken a record");
            let is_serial = self.case.settings.epoch_mode == EpochMode::SerialBetweenEpochs;
            let begun = &self.log.borrow().begun;
            let early = self.records[behind..].iter().any(|(_, value)| begun.contains(&id_of(value)));
            assert!(!(is_serial && early), "a prelude has overtaken an event");
        }
    }

    fn barrier(&mut self) -> (Values, Encoded, usize) {
        self.controller.begin_barrier();
        self.had_barrier = true;
        let (touched, begun) = (self.log.borrow().touched.clone(), self.log.borrow().begun.clone());
        while !self.controller.barrier_reached() {
            self.controller.flush();
            // Only what has been touched may wait for the service; nobody need answer the others.
            self.answer();
            self.controller.poll().unwrap();
        }
        assert_eq!(self.log.borrow().touched, touched, "a clean record ran at a barrier");
        assert_eq!(self.log.borrow().begun, begun, "a prelude began at a barrier");
        let mut kept = Vec::new();
        self.controller.keep(|input| match input {
            Kept::Record(record) => kept.push((record.key.to_vec(), record.value.to_vec())),
            Kept::Timer(_) => unreachable!("there is none"),
            Kept::Event(_) => {}
        });
        let in_flight = |(_, value): &&(Vec<u8>, Vec<u8>)| !self.log.borrow().ended.contains(&id_of(value));
        let expected: Encoded = self.records[..self.admitted].iter().filter(in_flight).cloned().collect();
        assert_eq!(kept, expected, "the inputs are the records in flight, in arrival order");
        self.controller.end_barrier();
        (self.store.values.borrow().clone(), kept, self.admitted)
    }

    /// Runs to the end, with a checkpoint somewhere on the way: its values, its inputs, its position.
    fn run(&mut self) -> (Values, Encoded, usize) {
        let (mut checkpoint, mut steps) = (None, 0);
        let barrier_after = self.store.below(self.records.len() + 1);
        while self.admitted < self.records.len()
            || self.controller.in_flight() + self.controller.pending_events() > 0
            || checkpoint.is_none()
        {
            if checkpoint.is_none() && self.admitted >= barrier_after {
                checkpoint = Some(self.barrier());
            }
            steps += 1;
            assert!(steps < 100_000, "{} records are stuck", self.controller.in_flight());
            match self.store.below(16) {
                0..5 => self.run_batch(),
                5..9 => self.controller.poll().unwrap(),
                9..11 => self.controller.flush(),
                11..15 => self.answer(),
                _ if self.admitted < self.records.len() => self.controller.close_epoch(self.admitted),
                _ => {}
            }
            self.take_events();
            self.check();
        }
        assert_eq!(self.service.waiting(), 0, "an ended job waits for nobody");
        assert!(self.batches.iter().all(|batch| Rc::strong_count(batch) == 1), "an ended job holds no batch");
        checkpoint.unwrap()
    }
}

/// Runs records on values; returns the values at the end and the checkpoint.
fn job(case: &Case, records: &[(Vec<u8>, Vec<u8>)], values: Values) -> (Values, (Values, Encoded, usize)) {
    let (store, service) = (Store::new(case.seed, case.miss_percent, values), Rc::new(Service::default()));
    let task = Rc::new(TaskContext::new(store.backend()));
    let log = Rc::default();
    let order = task.states().value("order").unwrap();
    let model = Model { service: Rc::clone(&service), order, log: Rc::clone(&log) };
    let process = Rc::new(Prepared::new(model));
    let controller = controller_with_events(process, task, case.settings.clone(), silent());
    let batches = batches(records, case.batch_len);
    let store_of_job = Rc::clone(&store);
    let (admitted, had_barrier) = (0, false);
    let mut job =
        Job { case, controller, store: store_of_job, service, log, records, batches, admitted, had_barrier };
    let checkpoint = job.run();
    let values = store.values.borrow().clone();
    (values, checkpoint)
}

/// What the values must be, by key: one record after the other.
fn sequential(records: &[(u8, u8)]) -> BTreeMap<u8, Vec<u8>> {
    let mut order = BTreeMap::<u8, Vec<u8>>::new();
    for (id, (key, _)) in records.iter().enumerate() {
        order.entry(b'0' + key).or_default().extend_from_slice(&(id as u64).to_le_bytes());
    }
    order
}

/// State keys are `group group 0 state k key 0 0`.
fn by_key(values: &Values) -> BTreeMap<u8, Vec<u8>> {
    values.iter().map(|(key, value)| (key[5], value.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn preludes_on_any_schedule_equal_the_sequential_run_and_so_does_a_restore(case in cases()) {
        let records = encode(&case.records);
        let (values, (at, kept, position)) = job(&case, &records, Values::default());
        let expected = sequential(&case.records);
        prop_assert_eq!(&by_key(&values), &expected);

        let mut rest = kept;
        rest.extend_from_slice(&records[position..]);
        let again = Case { seed: !case.seed, ..case.clone() };
        let (restored, _) = job(&again, &rest, at);
        prop_assert_eq!(by_key(&restored), expected, "restored from a checkpoint");
    }
}
