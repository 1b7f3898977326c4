//! Whose state it is: other inputs, other jobs, and two jobs at once are refused, and nothing is overwritten.
use std::sync::Mutex;
use std::sync::mpsc::channel;

use alluvium_env::{ErrorKind, spawn_thread};
use alluvium_host::{JobControl, JobSettings, Outcome, ReadOutcome, Restore};
use alluvium_state_api::{HeapBackendFactory, MaxParallelism};

use crate::operators::Add;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

#[test]
fn a_checkpoint_of_another_input_or_job_is_refused_and_stays() {
    let store = memory();
    let words = Words::new(2, 500, 30);
    let often = Some(std::time::Duration::from_secs(1));
    let run = |words: &Words, settings: JobSettings| {
        let mut counts = Counts::new();
        job(words, settings, world(&store, HeapBackendFactory))
            .run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts))
            .map(|report| (report.restore.checkpoint, counts))
    };
    let first = run(&words, settings(1, 1, often)).unwrap();
    assert_eq!(first, (None, words.counts()));

    let other = run(&Words::new(2, 501, 30), settings(1, 1, often)).unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Invalid);
    let text = other.to_string();
    assert!(
        text.contains("1000 words") && text.contains("1002 words") && text.contains("checkpoint 1"),
        "{text}"
    );

    let renamed = JobSettings { job: "letters".to_owned(), ..settings(1, 1, often) };
    assert_eq!(run(&words, renamed.clone()).unwrap_err().kind(), ErrorKind::Invalid);
    let both = run(&Words::new(2, 501, 30), renamed).unwrap_err();
    assert!(both.kind() == ErrorKind::Invalid && both.to_string().contains("not to \"letters\""), "{both}");
    assert!(both.to_string().contains("1002 words"), "all that differs is told: {both}");
    let wider = JobSettings { max_parallelism: MaxParallelism::new(64).unwrap(), ..settings(1, 1, often) };
    assert_eq!(run(&words, wider).unwrap_err().kind(), ErrorKind::Invalid);
    let missing = JobSettings { restore: Restore::Id(99), ..settings(1, 1, often) };
    let missing = run(&words, missing).unwrap_err();
    assert!(missing.kind() == ErrorKind::Invalid && missing.to_string().contains("99"), "{missing}");

    let by_id = JobSettings { restore: Restore::Id(1), ..settings(2, 1, often) };
    assert_eq!(run(&words, by_id).unwrap(), (Some(1), words.counts()));
}

#[test]
fn a_job_whose_state_was_taken_over_ends_fenced() {
    let store = memory();
    let words = Words::new(2, 500, 30);
    let (idle, is_idle) = channel();
    let idle = Mutex::new(idle);
    let source = words.clone().hooked(move |_, position| {
        if position == 250 {
            let _ = idle.lock().unwrap().send(());
            return Ok(ReadOutcome::Idle);
        }
        Ok(ReadOutcome::More)
    });
    let control = JobControl::new();
    let (first, first_control) =
        (job(&source, settings(2, 1, None), world(&store, HeapBackendFactory)), control.clone());
    let first = spawn_thread("first", move || first.run(Add::open, &first_control, |_| Ok(()))).unwrap();
    is_idle.recv().unwrap();

    let mut counts = Counts::new();
    let often = Some(std::time::Duration::from_secs(1));
    let report = job(&words, settings(1, 1, often), world(&store, HeapBackendFactory))
        .run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts))
        .unwrap();
    assert_eq!((report.outcome, counts), (Outcome::Finished, words.counts()));

    control.stop();
    let fenced = first.join().unwrap().unwrap_err();
    assert_eq!(fenced.kind(), ErrorKind::Fenced, "{fenced}");

    let again = job(&words, settings(2, 1, often), world(&store, HeapBackendFactory));
    let report = again.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap();
    assert_eq!(
        (report.restore.checkpoint, report.records),
        (Some(1), 0),
        "the winner's checkpoint is untouched"
    );
}
