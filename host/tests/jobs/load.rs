//! What a job shows of its records in flight, and of where its tasks' time goes.
use std::sync::{Arc, Mutex};

use alluvium_env::{Clock, SystemClock};
use alluvium_host::{JobControl, exposition};
use alluvium_state_api::States;
use prometheus_client::registry::Registry;

use crate::operators::TwoSteps;
use crate::slow_backend::SlowFactory;
use crate::words::{Words, job, memory, settings, world};

/// Not a number if it is not there.
fn value(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN)
}

#[test]
fn what_is_in_flight_is_shown_and_taken_back_and_the_tasks_time_is_all_accounted_for() {
    const SHOWN: [&str; 4] = ["active_records", "blocked_records", "blocked_keys", "in_flight_bytes"];
    let (control, clock) = (JobControl::new(), SystemClock::new());
    let registry = Arc::new(Mutex::new(Registry::default()));
    control.register(&mut registry.lock().unwrap());
    let (most, seen) = (Arc::new(Mutex::new([0_f64; SHOWN.len()])), Arc::clone(&registry));
    let shown = Arc::clone(&most);
    let open = move |states: &States<'_>| {
        let (most, registry) = (Arc::clone(&most), Arc::clone(&seen));
        Ok(TwoSteps::open(states)?.with_sink(move |_| {
            let text = exposition(&registry.lock().unwrap())?;
            for (most, name) in most.lock().unwrap().iter_mut().zip(SHOWN) {
                *most = most.max(value(&text, &format!("job_{name}")));
            }
            Ok(())
        }))
    };
    let begun = clock.monotonic();
    let words = Words::new(3, 500, 10);
    job(&words, settings(2, 1, None), world(&memory(), SlowFactory::heap(3)))
        .run(open, &control, |_| Ok(()))
        .unwrap();
    let took = clock.monotonic().saturating_sub(begun).as_secs_f64();
    let text = exposition(&registry.lock().unwrap()).unwrap();
    for (most, name) in shown.lock().unwrap().iter().zip(SHOWN) {
        assert!(*most > 0.0, "{name} was never shown");
        let left = value(&text, &format!("job_{name}"));
        assert!(left.abs() < 0.5, "{name} stays behind: {left}");
    }
    let spent = |spent| value(&text, &format!("job_task_seconds_total{{spent=\"{spent}\"}}"));
    let all = ["busy", "idle", "state", "backpressure"].map(spent);
    assert!(all[0] > 0.0 && all[2] > 0.0 && all[3] <= 0.0, "{all:?}");
    assert!(all.iter().sum::<f64>() <= 2.0 * took, "{all:?} in {took}");
    let batches: f64 = ["1", "2-9", "10-99", "100-999", "1000+"]
        .map(|reads| value(&text, &format!("job_read_batches_total{{reads=\"{reads}\"}}")))
        .iter()
        .sum();
    assert!(batches > 0.0 && batches <= value(&text, "job_reads_total"));
}
