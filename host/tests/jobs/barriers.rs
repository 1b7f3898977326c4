//! A barrier waits for no read: neither for those of records that have done nothing yet, nor for the store at all.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use alluvium_async_exec::ControllerSettings;
use alluvium_env::Result;
use alluvium_host::{JobControl, JobSettings, Outcome, ReadOutcome};
use alluvium_state_api::{
    BackendFactory, HeapBackendFactory, KeyedStateBackend, Notify, OpenRequest, ReadBatch,
};

use crate::held_backend::{HeldBackend, Hold};
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
        let rule = UntilSpoken { factory: self.clone(), held: Vec::new() };
        Ok(Box::new(HeldBackend { heap, rule }))
    }
}

struct UntilSpoken {
    factory: Silent,
    held: Vec<ReadBatch>,
}

impl Hold for UntilSpoken {
    fn hold(&mut self, batch: ReadBatch) {
        self.held.push(batch);
        if self.factory.answers.load(Ordering::SeqCst) {
            self.factory.speak();
        }
    }

    fn due(&mut self) -> Vec<ReadBatch> {
        if self.factory.answers.load(Ordering::SeqCst) { std::mem::take(&mut self.held) } else { Vec::new() }
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
