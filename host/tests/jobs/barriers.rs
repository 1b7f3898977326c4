//! A barrier waits for no read: neither for those of records that have done nothing yet, nor for the store at all.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use alluvium_async_exec::ControllerSettings;
use alluvium_env::Result;
use alluvium_host::{JobControl, JobSettings, Outcome, ReadOutcome};
use alluvium_state_api::{
    Answered, BackendFactory, BackendStats, CheckpointId, HeapBackendFactory, KeyedStateBackend, Lookup,
    Notify, OpenRequest, PageRequest, ReadBatch, SnapshotTask, StateDescriptor, StateId, StateScan,
};

use crate::operators::TwoSteps;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

/// Answers nothing before `answers` says so.
#[derive(Clone, Default)]
struct Silent {
    answers: Arc<AtomicBool>,
    bells: Arc<Mutex<Vec<Notify>>>,
}

impl Silent {
    fn speak(&self) {
        self.answers.store(true, Ordering::SeqCst);
        self.bells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().for_each(|bell| bell());
    }
}

impl BackendFactory for Silent {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        let bell = Arc::clone(&request.notify);
        self.bells.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(bell);
        let heap = HeapBackendFactory.open(request)?;
        Ok(Box::new(SilentBackend { heap, factory: self.clone(), held: Vec::new() }))
    }
}

struct SilentBackend {
    heap: Box<dyn KeyedStateBackend>,
    factory: Silent,
    held: Vec<ReadBatch>,
}

impl KeyedStateBackend for SilentBackend {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.heap.register(descriptor)
    }
    fn try_get(&self, _: &[u8]) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.heap.put(key, value)
    }
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.heap.merge(key, operand)
    }
    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.heap.delete(key)
    }
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        self.heap.delete_prefix(prefix)
    }
    fn try_page(&self, _: PageRequest<'_>) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }
    fn submit(&mut self, batch: ReadBatch) {
        self.held.push(batch);
        if self.factory.answers.load(Ordering::SeqCst) {
            self.factory.speak();
        }
    }
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        if self.factory.answers.load(Ordering::SeqCst) {
            self.held.drain(..).for_each(|batch| self.heap.submit(batch));
        }
        self.heap.poll(answered)
    }
    fn admits(&self) -> bool {
        self.heap.admits()
    }
    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask> {
        self.heap.snapshot(id)
    }
    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        self.heap.scan(state)
    }
    fn stats(&self) -> BackendStats {
        self.heap.stats()
    }
}

/// Stops once every record has been sent; returns the inputs that the last checkpoint kept.
fn stop_with_everything_in_flight(keep_inputs: bool) -> u64 {
    const RECORDS: u64 = 6_000;
    let (store, silent) = (memory(), Silent::default());
    let words = Words::new(1, RECORDS, 3_000);
    let control = JobControl::new();
    let (stopping, speaking) = (control.clone(), silent.clone());
    let source = words.clone().hooked(move |_, position| {
        if position == RECORDS - 50 {
            if !keep_inputs {
                speaking.speak();
            }
            stopping.stop();
            return Ok(ReadOutcome::Idle);
        }
        Ok(ReadOutcome::More)
    });
    let controller = ControllerSettings { keep_inputs, ..ControllerSettings::default() };
    let settings = JobSettings { controller, ..settings(1, 1, None) };
    let stopped = job(&source, settings, world(&store, silent))
        .run(TwoSteps::open, &control, |_| unreachable!("a stopped job has no result"));
    let last = stopped.map(|report| {
        assert_eq!(report.outcome, Outcome::Stopped);
        report.checkpoints.last.map_or(0, |last| last.inputs_kept)
    });
    let mut counts = Counts::new();
    let rest = job(&words, self::settings(2, 1, None), world(&store, HeapBackendFactory));
    let done = rest.run(TwoSteps::open, &JobControl::new(), |scans| collect(scans, &mut counts));
    assert!(done.is_ok() && counts == words.counts());
    last.unwrap_or_default()
}

#[test]
fn a_barrier_with_thousands_in_flight_waits_for_no_read() {
    // No read is answered in the first run: a barrier that waited for one would wait for ever.
    assert!(stop_with_everything_in_flight(true) >= 5_950);
}

#[test]
fn a_barrier_that_keeps_no_inputs_waits_for_every_read() {
    assert_eq!(stop_with_everything_in_flight(false), 0);
}
