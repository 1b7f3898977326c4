//! A record costs no allocation: none at all when its state is resident, and none of its own when it is suspended.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::measure;
use alluvium_async_exec::{AsyncExecutionController, ControllerSettings, StartRecord, controller};
use alluvium_env::{Error, Result};
use alluvium_state_api::{
    Answered, BackendStats, CheckpointId, Context, KeyedProcess, KeyedStateBackend, Lookup, MapState,
    MaxParallelism, PageRequest, ReadBatch, ReadId, RecordBatch, RecordBatchBuilder, ReducingState,
    SnapshotTask, StateDescriptor, StateFutureExt as _, StateId, StateScan, Sum, TaskContext, ValueState,
};

/// Overwrites in place and copies no key, so that what is counted is the controller's.
#[derive(Default)]
struct InPlace {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    misses: Rc<Cell<bool>>,
    pending: Vec<ReadId>,
}

impl KeyedStateBackend for InPlace {
    fn register(&mut self, _: &StateDescriptor) -> Result<StateId> {
        Ok(StateId(0))
    }

    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        if self.misses.get() {
            return Ok(Lookup::Miss);
        }
        Ok(self.values.get(key).map_or(Lookup::Absent, |value| Lookup::Hit(Cow::Borrowed(value))))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self.values.get_mut(key) {
            Some(place) => value.clone_into(place),
            None => drop(self.values.insert(key.to_vec(), value.to_vec())),
        }
        Ok(())
    }

    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.put(key, operand)
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.values.remove(key);
        Ok(())
    }

    fn delete_prefix(&mut self, _: &[u8]) -> Result<()> {
        Err(Error::internal("not called"))
    }

    fn try_page(&self, _: PageRequest<'_>) -> Result<Lookup<'_>> {
        Err(Error::internal("not called"))
    }

    fn submit(&mut self, batch: ReadBatch) {
        self.pending.extend(batch.iter().map(|(id, _)| id));
    }

    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        self.pending.drain(..).for_each(|id| answered(id, Ok(Some(&7_u64.to_le_bytes()))));
        Ok(())
    }

    fn admits(&self) -> bool {
        true
    }

    fn snapshot(&mut self, _: CheckpointId) -> Result<SnapshotTask> {
        Err(Error::internal("not called"))
    }

    fn scan(&mut self, _: StateId) -> Result<Box<dyn StateScan>> {
        Err(Error::internal("not called"))
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}

struct Count {
    seen: ValueState<u64>,
}

impl KeyedProcess for Count {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        let seen = self.seen.get(ctx).await?.unwrap_or(0);
        self.seen.put(ctx, &(seen + times))
    }
}

/// What else states do without growing: entries of maps, namespaces, adds, combinators.
struct Wide {
    latest: MapState<u32, u64>,
    in_rounds: ValueState<u64, u32>,
    sums: ReducingState<Sum<u64>, u32>,
}

impl KeyedProcess for Wide {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        let round = ctx.in_namespace(&1);
        let latest = self.latest.get(ctx, &0).then_combine(self.in_rounds.get(round), |a, b| Ok(a.or(b)));
        let next = latest.then_apply(|latest| Ok(latest.unwrap_or(0) + times)).await?;
        self.latest.put(ctx, &0, &next)?;
        self.in_rounds.put(round, &next)?;
        self.sums.add(ctx.in_namespace(&2), &times)
    }
}

const RECORDS: usize = 10_000;

fn batches() -> Vec<Rc<RecordBatch>> {
    let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
    let batch = |start: usize| {
        (start..start + 500)
            .for_each(|record| builder.push(format!("key-{}", record % 2000).as_str(), &1_u64));
        Rc::new(builder.finish())
    };
    (0..RECORDS).step_by(500).map(batch).collect()
}

/// The allocations of running all batches.
fn allocations<P: KeyedProcess, S: StartRecord<P>>(
    controller: &mut AsyncExecutionController<P, S>,
    batches: &[Rc<RecordBatch>],
) -> usize {
    // Of this thread only: the test harness has threads of its own.
    let counted = measure(|| {
        for batch in batches {
            assert_eq!(controller.run_batch(batch, 0).unwrap(), batch.len());
            controller.poll().unwrap();
        }
        while controller.in_flight() > 0 {
            controller.flush();
            controller.poll().unwrap();
        }
    });
    counted.count_total as usize
}

#[test]
fn resident_records_allocate_nothing_and_suspended_ones_only_by_the_batch() {
    let misses = Rc::new(Cell::new(false));
    let backend = InPlace { misses: Rc::clone(&misses), ..InPlace::default() };
    let task = Rc::new(TaskContext::new(Box::new(backend)));
    let count = Rc::new(Count { seen: task.states().value("seen").unwrap() });
    let mut controller = controller(count, task, ControllerSettings::default(), Arc::new(|| ()));
    let batches = batches();

    assert!(allocations(&mut controller, &batches) > 0, "the allocator counts");
    assert_eq!(allocations(&mut controller, &batches), 0, "resident");
    assert_eq!(controller.stats().suspended, 0);

    misses.set(true);
    allocations(&mut controller, &batches);
    let (before, count) = (controller.stats(), allocations(&mut controller, &batches));
    assert_eq!(controller.stats().suspended - before.suspended, RECORDS as u64, "every record is suspended");
    let read_batches = (controller.stats().batches - before.batches) as usize;
    // A read batch is handed over with its two buffers, which have grown by doubling.
    assert!(count <= read_batches * 32, "{count} allocations for {read_batches} batches");
    assert!(count * 20 < RECORDS, "{count} allocations for {RECORDS} records");
}

#[test]
fn records_with_maps_namespaces_adds_and_combinators_allocate_nothing() {
    let task = Rc::new(TaskContext::new(Box::new(InPlace::default())));
    let (states, apart) = (task.states(), task.states().in_namespaces());
    let wide = Rc::new(Wide {
        latest: states.map("latest").unwrap(),
        in_rounds: apart.value("in rounds").unwrap(),
        sums: apart.reducing("sums").unwrap(),
    });
    let mut controller = controller(wide, Rc::clone(&task), ControllerSettings::default(), Arc::new(|| ()));
    let batches = batches();
    assert!(allocations(&mut controller, &batches) > 0, "the allocator counts");
    assert_eq!(allocations(&mut controller, &batches), 0);
}
