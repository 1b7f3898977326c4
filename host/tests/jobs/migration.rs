//! Restores into a job whose function has changed: its states have come, gone, or got other names, its timers are gone.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_checkpoint::{Savepoint, SavepointRequest, Transfer, create_canonical_savepoint};
use alluvium_env::{Entropy, ErrorKind, IoRuntime, Result};
use alluvium_forst::{ForstBackendFactory, ForstSettings, SubtaskEntries};
use alluvium_host::{JobControl, JobReport, Operator, Outcome, ReadOutcome, World};
use alluvium_state_api::{
    BackendFactory, Codec, Context, HeapBackendFactory, HeapEntries, KeyedProcess, MapState,
    OperatorListState, ReducingState, RestoredPart, StateEntries, StateScan, States, Sum, Timestamp,
    ValueState,
};
use object_store::ObjectStore;

use crate::words::{Counts, Words, collect, job, memory, settings, world};

/// Counts words, and remembers more of them than it will need.
struct Old {
    count: ReducingState<Sum<u64>>,
    last: ValueState<u64>,
    notes: MapState<u64, u64>,
    records: OperatorListState<u64>,
}

impl Old {
    fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let (count, last, notes) = (states.reducing("count")?, states.value("last")?, states.map("notes")?);
        let id = count.id();
        let records = states.operator_list("records")?;
        states.operator_list::<u64>("empty")?;
        Ok(Operator::new(Self { count, last, notes, records }).with_result(id))
    }
}

impl KeyedProcess for Old {
    type In = u64;
    type Out = ();
    const USES_TIMERS: bool = true;
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.count.add(ctx, &times)?;
        let last = self.last.get(ctx).await?.unwrap_or(0);
        self.last.put(ctx, &(last + times))?;
        self.notes.put(ctx, &last, &times)?;
        self.records.update(ctx, [&(self.records.get()?.iter().sum::<u64>() + 1)])?;
        ctx.register_event_timer(Timestamp(i64::MAX - 1))
    }
}

/// Its successor: `count` is a `total` now, `last`, `notes` and the timers are gone, `recent` and `twice` have come.
struct New {
    total: ReducingState<Sum<u64>>,
    recent: ValueState<u64>,
    twice: ValueState<u64>,
    records: OperatorListState<u64>,
}

impl New {
    fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let total = states.formerly("count").reducing("total")?;
        let (recent, twice) = (states.value("recent")?, states.value("twice")?);
        let id = total.id();
        let records = states.formerly("records").operator_list("done")?;
        Ok(Operator::new(Self { total, recent, twice, records }).with_result(id))
    }

    /// With permission to drop what it does not need.
    fn dropping(states: &States<'_>) -> Result<Operator<Self>> {
        states.drop_state("last");
        states.drop_state("notes");
        states.drop_operator_state("empty");
        states.drop_timers();
        Self::open(states)
    }

    /// Names the same states otherwise.
    fn naming(states: &States<'_>) -> Result<Operator<Self>> {
        let (recent, twice) = (states.value("notes")?, states.value("twice")?);
        let (total, records) = (states.reducing("total")?, states.operator_list("done")?);
        Ok(Operator::new(Self { total, recent, twice, records }))
    }
}

impl KeyedProcess for New {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.total.add(ctx, &times)?;
        let (recent, twice) = (self.recent.get(ctx).await?, self.twice.get(ctx).await?);
        assert_eq!(recent, twice, "both have come at once");
        self.recent.put(ctx, &(recent.unwrap_or(0) + times))?;
        self.twice.put(ctx, &(recent.unwrap_or(0) + times))?;
        self.records.add(ctx, &1)
    }
}

/// Runs until `reads` reads were made, or to the end.
fn run<P: KeyedProcess<In: Codec>>(
    (words, reads): (&Words, u64),
    (parallelism, world): (u16, World),
    open: fn(&States<'_>) -> Result<Operator<P>>,
    finish: impl FnOnce(Vec<Box<dyn StateScan>>) -> Result<()>,
) -> Result<JobReport> {
    let control = JobControl::new();
    let (made, hooked) = (AtomicU64::new(0), control.clone());
    let source = words.clone().hooked(move |_, _| {
        if made.fetch_add(1, Ordering::SeqCst) < reads {
            return Ok(ReadOutcome::More);
        }
        hooked.stop();
        Ok(ReadOutcome::Idle)
    });
    job(&source, settings(parallelism, 2, None), world).run(open, &control, finish)
}

fn forst(store: &Arc<dyn ObjectStore>) -> ForstBackendFactory {
    let settings =
        ForstSettings { memory_bytes: ForstSettings::MIN_MEMORY_BYTES, ..ForstSettings::default() };
    ForstBackendFactory::new(settings, Arc::clone(store), IoRuntime::new(2).expect("threads"))
        .expect("it opens")
}

/// Where the old job has stopped, the new one goes on, exactly, at another parallelism; and again after a stop.
fn migrates(
    (before, old): (&Arc<dyn ObjectStore>, impl BackendFactory + 'static),
    between: impl FnOnce(&Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    new: impl Fn(&Arc<dyn ObjectStore>) -> Box<dyn Fn() -> World>,
) {
    let words = Words::new(3, 2_000, 40);
    run((&words, 40), (3, world(before, old)), Old::open, |_| Ok(())).expect("it runs");
    let store = between(before);
    let new = new(&store);

    let error = run((&words, 40), (2, new()), New::naming, |_| Ok(())).expect_err("it differs");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let all = "in 6 ways: state notes was stored as map and cannot be opened as value; state count is not opened; state last \
               is not opened; its timers would never fire, as the function does not say `const USES_TIMERS: bool = true`; \
               operator state empty is not opened; operator state records is not opened. ";
    assert!(error.to_string().contains(all), "{error}");

    let report = run((&words, 20), (2, new()), New::dropping, |_| Ok(())).expect("it runs");
    assert_eq!(report.outcome, Outcome::Stopped);
    let mut counts = Counts::new();
    let report = run((&words, u64::MAX), (1, new()), New::dropping, |scans| collect(scans, &mut counts));
    assert_eq!(report.expect("it ends").outcome, Outcome::Finished);
    assert_eq!(counts, words.counts());
    // Nothing is left to drop.
    run((&words, u64::MAX), (2, new()), New::open, |_| Ok(())).expect("it runs");
}

#[test]
fn a_job_goes_on_with_renamed_added_and_dropped_states_on_the_heap() {
    let store = memory();
    migrates((&store, HeapBackendFactory), Arc::clone, |store| {
        let store = Arc::clone(store);
        Box::new(move || world(&store, HeapBackendFactory))
    });
}

#[test]
fn a_job_goes_on_with_renamed_added_and_dropped_states_in_forst() {
    let store = memory();
    migrates((&store, forst(&store)), Arc::clone, |store| {
        let store = Arc::clone(store);
        Box::new(move || world(&store, forst(&store)))
    });
}

#[test]
fn a_job_goes_on_with_renamed_added_and_dropped_states_from_a_canonical_savepoint() {
    let store = memory();
    let savepoint = |from: &Arc<dyn ObjectStore>| {
        let to = memory();
        let transfer = Transfer { from: Arc::clone(from), to: Arc::clone(&to), shared: None };
        let url = "memory:///".to_owned();
        let request = SavepointRequest { transfer, url, checkpoint: None, copied: &|_| () };
        let (io, entropy) = (IoRuntime::new(2).unwrap(), Entropy::from_seed(2));
        let open = |part: &RestoredPart| -> Result<Box<dyn StateEntries>> {
            if part.backend == "heap" {
                return Ok(Box::new(HeapEntries::open(part)?));
            }
            Ok(Box::new(SubtaskEntries::open(part, Arc::clone(from), io.clone(), &entropy)?))
        };
        let Savepoint { .. } = create_canonical_savepoint(&request, &open, &io, &entropy).unwrap();
        to
    };
    migrates((&store, forst(&store)), savepoint, |store| {
        let store = Arc::clone(store);
        Box::new(move || world(&store, HeapBackendFactory))
    });
}
