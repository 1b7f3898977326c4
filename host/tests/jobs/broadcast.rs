//! Operator state of whole jobs: rules that are broadcast, lists and unions, exact through stops, restores and rescales.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, EpochMode};
use alluvium_env::{Entropy, Error, ErrorKind, Result};
use alluvium_host::{
    Collector, Job, JobControl, JobSettings, Operator, Outcome, ReadOutcome, SplitReader, SplitSource,
};
use alluvium_state_api::{
    BackendFactory, BroadcastContext, BroadcastProcess, BroadcastState, Context, HeapBackendFactory,
    KeyedProcess, OperatorListState, ReducingState, States, Sum, UnionListState, ValueState,
};

use crate::slow_backend::SlowFactory;
use crate::words::{Counts, Hook, collect, memory, settings, world};

/// Sales of some shops, one a split. From sale to sale a shop's price changes; the price is broadcast before the sale.
#[derive(Clone)]
struct Sales {
    shops: u64,
    of_each: u64,
    hook: Hook,
    /// Sales that were emitted, in all runs.
    emitted: Arc<AtomicU64>,
}

/// Sales of one read, and between two changes of a price.
const READ: u64 = 20;
const CHANGE: u64 = 7;
const KEYS: u64 = 13;

fn key_of(shop: u64, sale: u64) -> String {
    format!("key-{}", (shop * 31 + sale * 5) % KEYS)
}

fn price_of(sale: u64) -> u64 {
    sale / CHANGE + 1
}

impl Sales {
    fn new(shops: u64, of_each: u64) -> Self {
        Self { shops, of_each, hook: Arc::new(|_, _| Ok(ReadOutcome::More)), emitted: Arc::default() }
    }

    fn hooked(&self, hook: impl Fn(u64, u64) -> Result<ReadOutcome> + Send + Sync + 'static) -> Self {
        Self { hook: Arc::new(hook), ..self.clone() }
    }

    /// What every key has paid.
    fn paid(&self) -> Counts {
        let mut paid = Counts::new();
        for (shop, sale) in (0..self.shops).flat_map(|shop| (0..self.of_each).map(move |sale| (shop, sale))) {
            *paid.entry(key_of(shop, sale)).or_default() += price_of(sale);
        }
        paid
    }
}

impl SplitSource for Sales {
    fn splits(&self) -> u64 {
        self.shops
    }
    fn fingerprint(&self) -> String {
        "sales".to_owned()
    }
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(SaleReader { sales: self.clone(), shop: split, position }))
    }
}

struct SaleReader {
    sales: Sales,
    shop: u64,
    position: u64,
}

impl SplitReader for SaleReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        if (self.sales.hook)(self.shop, self.position)? == ReadOutcome::Idle {
            return Ok(ReadOutcome::Idle);
        }
        let end = self.sales.of_each.min(self.position + READ);
        for sale in self.position..end {
            if sale.is_multiple_of(CHANGE) {
                out.emit_broadcast(&(self.shop, price_of(sale)));
            }
            out.emit(key_of(self.shop, sale).as_str(), &(self.shop, price_of(sale)));
        }
        self.sales.emitted.fetch_add(end - self.position, Ordering::SeqCst);
        self.position = end;
        Ok(if end == self.sales.of_each { ReadOutcome::End } else { ReadOutcome::More })
    }
    fn position(&self) -> u64 {
        self.position
    }
}

/// Adds up what each key has paid, by the prices that were broadcast.
struct Till {
    prices: BroadcastState<u64, u64>,
    last: ValueState<u64>,
    paid: ReducingState<Sum<u64>>,
    /// Sales of the subtask; after a rescale those of all subtasks add up as before.
    sales: OperatorListState<u64>,
    /// One element a subtask that has ever been.
    tills: UnionListState<String>,
    in_order: bool,
}

impl Till {
    fn open(states: &States<'_>, in_order: bool) -> Result<Self> {
        Ok(Self {
            prices: states.broadcast("prices")?,
            last: states.value("last")?,
            paid: states.reducing("paid")?,
            sales: states.operator_list("sales")?,
            tills: states.union_list("tills")?,
            in_order,
        })
    }
}

impl KeyedProcess for Till {
    type In = (u64, u64);
    type Out = ();
    async fn process(&self, (shop, price): Self::In, ctx: &Context<()>) -> Result<()> {
        self.last.get(ctx).await?;
        let told = self.prices.get(&shop).map_or(0, |price| *price);
        if told > price || (self.in_order && told < price) {
            return Err(Error::internal(format!("shop {shop} sold for {price} and has told {told}")));
        }
        let sales = self.sales.get()?.into_iter().sum::<u64>() + 1;
        self.sales.update(ctx, [&sales])?;
        // A barrier may come here: the sale is counted, so no checkpoint may keep it as an input.
        self.last.get(ctx).await?;
        self.last.put(ctx, &price)?;
        self.paid.add(ctx, &price)
    }
}

impl BroadcastProcess for Till {
    type Broadcast = (u64, u64);
    fn process_broadcast(
        &self,
        (shop, price): Self::Broadcast,
        ctx: &BroadcastContext<'_, ()>,
    ) -> Result<()> {
        if self.prices.get(&shop).map_or(0, |before| *before) + 1 != price {
            return Err(Error::internal(format!("shop {shop} skips a price before {price}")));
        }
        self.prices.put(ctx, &shop, price)
    }
}

/// What the subtasks of a run have found when they were opened.
#[derive(Default)]
struct Found {
    sales: u64,
    tills: Vec<Vec<String>>,
    prices: Vec<Vec<(u64, u64)>>,
}

fn opening(
    piece: u64,
    in_order: bool,
    found: &Arc<Mutex<Found>>,
) -> impl Fn(&States<'_>) -> Result<Operator<Till>> + Send + Sync + 'static {
    let found = Arc::clone(found);
    move |states| {
        let till = Till::open(states, in_order)?;
        if states.is_rehearsal() {
            return Ok(Operator::new(till));
        }
        let mut found = found.lock().expect("nobody panics");
        found.sales += till.sales.get()?.into_iter().sum::<u64>();
        let mut tills = till.tills.restored()?;
        tills.retain(|till| found.tills.is_empty() || till.is_empty());
        tills.push(format!("{piece}-{}", found.tills.len()));
        till.tills.update(states, &tills)?;
        found.tills.push(till.tills.restored()?);
        found.prices.push(till.prices.entries()?.into_iter().map(|(shop, price)| (shop, *price)).collect());
        let paid = till.paid.id();
        Ok(Operator::new(till).with_broadcast().with_result(paid))
    }
}

/// Runs until the input has ended; all runs before are stopped after a random number of reads, at changing parallelisms.
fn run_in_pieces(backend: impl BackendFactory + Copy + 'static, epoch_mode: EpochMode) -> u64 {
    let (store, entropy, sales) = (memory(), Entropy::from_seed(5), Sales::new(5, 1_000));
    let (mut piece, mut counted, mut tills) = (0, 0, 0);
    loop {
        let control = JobControl::new();
        let (reads, enough, hooked) = (AtomicU64::new(0), 10 + entropy.next_u64() % 60, control.clone());
        let source = sales.hooked(move |_, _| {
            if reads.fetch_add(1, Ordering::SeqCst) < enough {
                return Ok(ReadOutcome::More);
            }
            hooked.stop();
            Ok(ReadOutcome::Idle)
        });
        let parallelism = 1 + entropy.next_u64() as u16 % 4;
        let settings = JobSettings {
            controller: ControllerSettings { epoch_mode, ..ControllerSettings::default() },
            ..settings(parallelism, 1 + piece as usize % 3, None)
        };
        let (found, mut paid) = (Arc::<Mutex<Found>>::default(), Counts::new());
        let job = Job { source, settings, world: world(&store, backend) };
        let in_order = epoch_mode == EpochMode::SerialBetweenEpochs;
        let report = job
            .run(opening(piece, in_order, &found), &control, |scans| collect(scans, &mut paid))
            .expect("it runs");
        let found = found.lock().expect("nobody panics");
        assert_eq!(found.sales, counted, "elements of lists go to one subtask each");
        assert!(found.tills.iter().all(|found| found.len() == tills), "unions go to all: {:?}", found.tills);
        assert!(found.prices.iter().all(|prices| Some(prices) == found.prices.first()), "{:?}", found.prices);
        let kept = report.checkpoints.last.map_or(0, |last| last.inputs_kept);
        counted = sales.emitted.load(Ordering::SeqCst) - kept;
        tills += usize::from(parallelism);
        piece += 1;
        if report.outcome == Outcome::Finished {
            assert_eq!(paid, sales.paid());
            return piece;
        }
        assert!(piece < 200, "the job makes progress");
    }
}

#[test]
fn records_see_what_was_broadcast_before_them_through_stops_and_rescales() {
    assert!(run_in_pieces(SlowFactory::heap(3), EpochMode::SerialBetweenEpochs) > 3);
}

#[test]
fn in_parallel_epochs_no_record_sees_what_was_broadcast_behind_it() {
    assert!(run_in_pieces(SlowFactory::heap(3), EpochMode::ParallelBetweenEpochs) > 3);
}

#[test]
fn records_in_memory_see_what_was_broadcast_before_them() {
    assert!(run_in_pieces(HeapBackendFactory, EpochMode::SerialBetweenEpochs) > 3);
}

fn run(operator: impl Fn(&States<'_>) -> Result<Operator<Till>> + Send + Sync + 'static) -> Error {
    let job = Job {
        source: Sales::new(2, 100),
        settings: settings(2, 2, None),
        world: world(&memory(), HeapBackendFactory),
    };
    job.run(operator, &JobControl::new(), |_| Ok(())).expect_err("it cannot run")
}

#[test]
fn an_operator_without_a_broadcast_side_says_how_to_get_one() {
    let error = run(|states| Ok(Operator::new(Till::open(states, true)?)));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("Operator::with_broadcast"), "{error}");
}

#[test]
fn operator_states_may_take_what_the_job_has_for_them() {
    let job = Job {
        source: Sales::new(2, 100),
        settings: JobSettings { operator_state_bytes: 1, ..settings(2, 1, None) },
        world: world(&memory(), HeapBackendFactory),
    };
    let error = job.run(opening(0, true, &Arc::default()), &JobControl::new(), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("they may have 1: raise the job's `operator_state_bytes`"), "{error}");
}

#[test]
fn state_that_is_not_opened_any_more_is_named_until_it_is_dropped() {
    let (store, found) = (memory(), Arc::<Mutex<Found>>::default());
    let job = || Job {
        source: Sales::new(2, 100),
        settings: settings(2, 1, Some(Duration::from_mins(1))),
        world: world(&store, HeapBackendFactory),
    };
    job().run(opening(0, true, &found), &JobControl::new(), |_| Ok(())).unwrap();
    let without = |drops: bool| {
        move |states: &States<'_>| {
            if drops {
                states.drop_operator_state("tills");
                states.drop_operator_state("prices");
                states.drop_state("last");
                states.drop_state("paid");
            }
            states.operator_list::<u64>("sales")?;
            Ok(Operator::new(Idle))
        }
    };
    let error = job().run(without(false), &JobControl::new(), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let left = "state last is not opened; state paid is not opened; operator state prices is not opened; operator state tills is not opened. ";
    assert!(error.to_string().contains(left), "{error}");
    job().run(without(true), &JobControl::new(), |_| Ok(())).unwrap();
}

struct Idle;
impl KeyedProcess for Idle {
    type In = (u64, u64);
    type Out = ();
    async fn process(&self, _: Self::In, _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

/// Keeps what came last of all shops, so what it holds depends on the order of their elements.
struct Last(BroadcastState<u64, u64>, Arc<AtomicU64>);
impl KeyedProcess for Last {
    type In = (u64, u64);
    type Out = ();
    async fn process(&self, _: Self::In, _: &Context<()>) -> Result<()> {
        Ok(())
    }
}
impl BroadcastProcess for Last {
    type Broadcast = (u64, u64);
    fn process_broadcast(&self, _: Self::Broadcast, ctx: &BroadcastContext<'_, ()>) -> Result<()> {
        self.0.put(ctx, &0, self.1.fetch_add(1, Ordering::SeqCst))
    }
}

#[test]
fn broadcast_states_that_differ_between_subtasks_end_the_job_at_a_checkpoint() {
    // A stop takes one. A job without an interval that reads its input to the end takes none, and ends all the same.
    for (stops, at) in [(true, "at checkpoint 1"), (false, "at the end of the input")] {
        let (clock, control) = (Arc::new(AtomicU64::new(0)), JobControl::new());
        let hooked = control.clone();
        let source = Sales::new(1, 100).hooked(move |_, position| {
            if stops && position > 50 {
                hooked.stop();
                return Ok(ReadOutcome::Idle);
            }
            Ok(ReadOutcome::More)
        });
        let job = Job { source, settings: settings(2, 1, None), world: world(&memory(), HeapBackendFactory) };
        let open = move |states: &States<'_>| {
            Ok(Operator::new(Last(states.broadcast("last")?, Arc::clone(&clock))).with_broadcast())
        };
        let error = job.run(open, &control, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(
            text.contains("broadcast state last differs between subtasks") && text.contains(at),
            "{text}"
        );
    }
}

/// Folds all prices into one number, in the order in which they come, or by one that does not depend on it.
struct Folded {
    state: BroadcastState<u64, u64>,
    in_any_order: bool,
}
impl KeyedProcess for Folded {
    type In = (u64, u64);
    type Out = ();
    async fn process(&self, _: Self::In, _: &Context<()>) -> Result<()> {
        Ok(())
    }
}
impl BroadcastProcess for Folded {
    type Broadcast = (u64, u64);
    fn process_broadcast(
        &self,
        (shop, price): Self::Broadcast,
        ctx: &BroadcastContext<'_, ()>,
    ) -> Result<()> {
        let before = self.state.get(&0).map_or(0, |before| *before);
        let each = price * 2 + shop;
        let factor = if self.in_any_order { 1 } else { 31 };
        self.state.put(ctx, &0, before.wrapping_mul(factor).wrapping_add(each))
    }
}

#[test]
fn elements_of_several_sources_that_depend_on_their_order_are_an_error_and_others_are_not() {
    let run = |in_any_order: bool| {
        let job = Job {
            source: Sales::new(2, 2_000),
            settings: settings(2, 2, None),
            world: world(&memory(), HeapBackendFactory),
        };
        let open = move |states: &States<'_>| {
            Ok(Operator::new(Folded { state: states.broadcast("folded")?, in_any_order }).with_broadcast())
        };
        job.run(open, &JobControl::new(), |_| Ok(())).map(|report| report.outcome)
    };
    // Two threads may happen to see hundreds of elements in the same order.
    let error = (0..20).find_map(|_| run(false).err()).expect("two tasks never saw another order");
    assert!(error.to_string().contains("whatever the order of those from several sources"), "{error}");
    for _ in 0..5 {
        assert_eq!(run(true).expect("sums have no order"), Outcome::Finished);
    }
}
