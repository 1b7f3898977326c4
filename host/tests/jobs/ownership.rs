//! Whose state it is: other inputs, other jobs, and two jobs at once are refused, and nothing is overwritten.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use alluvium_checkpoint::{Origin, RestoreMode, Transfer};
use alluvium_env::{ErrorKind, IoRuntime, Result, spawn_thread};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::{JobControl, JobSettings, Operator, Outcome, ReadOutcome, Restore, World};
use alluvium_state_api::{BackendFactory, HeapBackendFactory, MaxParallelism, States};
use object_store::ObjectStore;

use crate::operators::{Add, TwoSteps};
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

/// Words of which a reader goes no further than the middle, and whoever is told when one is there.
fn idle_halfway(words: &Words) -> (Words, Receiver<()>) {
    let (idle, is_idle) = channel();
    let source = words.clone().hooked(move |_, position| {
        if position == 250 {
            let _ = idle.send(());
            return Ok(ReadOutcome::Idle);
        }
        Ok(ReadOutcome::More)
    });
    (source, is_idle)
}

#[test]
fn a_job_that_does_not_fit_fences_nobody_in_place_or_by_a_claim() {
    let store = memory();
    let words = Words::new(1, 500, 30);
    let (source, is_idle) = idle_halfway(&words);
    let run = |settings: JobSettings| {
        let (control, job) = (JobControl::new(), job(&source, settings, world(&store, HeapBackendFactory)));
        let theirs = control.clone();
        let thread = spawn_thread("owner", move || job.run(Add::open, &theirs, |_| Ok(()))).unwrap();
        is_idle.recv().unwrap();
        (thread, control)
    };
    let (first, control) = run(settings(1, 1, None));
    control.stop();
    first.join().unwrap().unwrap();

    let (owner, control) = run(settings(1, 1, None));
    let renamed = JobSettings { job: "letters".to_owned(), ..settings(1, 1, None) };
    let wider = JobSettings { max_parallelism: MaxParallelism::new(64).unwrap(), ..settings(1, 1, None) };
    let missing = JobSettings { restore: Restore::Id(99), ..settings(1, 1, None) };
    let refused = |words: &Words, settings: JobSettings, store: &Arc<dyn ObjectStore>| {
        let run = job(words, settings, world(store, HeapBackendFactory));
        let error = run.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    };
    refused(&words, missing, &store);
    let longer = Words::new(1, 501, 30);
    for (words, settings) in [(&words, renamed), (&words, wider), (&longer, settings(1, 1, None))] {
        refused(words, settings.clone(), &store);
        let to = memory();
        let transfer = Transfer { from: Arc::clone(&store), to: Arc::clone(&to), shared: None };
        let claimed = Arc::new(Origin::new(transfer, "mem:///origin", None, RestoreMode::Claim));
        refused(words, JobSettings { restore: Restore::From(claimed), ..settings }, &to);
    }
    control.stop();
    assert_eq!(owner.join().unwrap().unwrap().outcome, Outcome::Stopped);
}

/// Of a job whose states are not those of the checkpoint: it is refused by what they are, and the owner goes on.
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something fails")]
fn states_that_do_not_fit_fence_nobody(factory: impl Fn(&Arc<dyn ObjectStore>) -> Arc<dyn BackendFactory>) {
    let store = memory();
    let (source, is_idle) = idle_halfway(&Words::new(1, 500, 30));
    let world =
        |store: &Arc<dyn ObjectStore>| World { backend: factory(store), ..world(store, HeapBackendFactory) };
    let begin = || {
        let (control, job) = (JobControl::new(), job(&source, settings(1, 1, None), world(&store)));
        let theirs = control.clone();
        let thread = spawn_thread("owner", move || job.run(Add::open, &theirs, |_| Ok(()))).unwrap();
        is_idle.recv().unwrap();
        (thread, control)
    };
    let (first, control) = begin();
    control.stop();
    first.join().unwrap().unwrap();
    let (owner, control) = begin();
    let to = memory();
    let transfer = Transfer { from: Arc::clone(&store), to: Arc::clone(&to), shared: None };
    let claimed = Arc::new(Origin::new(transfer, "mem:///origin", None, RestoreMode::Claim));
    let claiming = JobSettings { restore: Restore::From(claimed), ..settings(2, 1, None) };
    for (settings, store) in [(settings(2, 1, None), &store), (claiming, &to)] {
        let opened = Arc::new(AtomicUsize::new(0));
        let opens = Arc::clone(&opened);
        let other = move |states: &States<'_>| {
            opens.fetch_add(1, Ordering::SeqCst);
            TwoSteps::open(states)
        };
        let refused = job(&source, settings.clone(), world(store)).run(other, &JobControl::new(), |_| Ok(()));
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("state count is not opened"), "{error}");
        assert_eq!(opened.load(Ordering::SeqCst), 1, "no task began");
        let panics = |_: &States<'_>| -> Result<Operator<Add>> { panic!("on purpose") };
        let error =
            job(&source, settings, world(store)).run(panics, &JobControl::new(), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("panicked while it was opened"), "{error}");
    }
    control.stop();
    assert_eq!(owner.join().unwrap().unwrap().outcome, Outcome::Stopped);
}

#[test]
fn a_job_whose_states_do_not_fit_fences_nobody_on_the_heap() {
    states_that_do_not_fit_fence_nobody(|_| Arc::new(HeapBackendFactory));
}

#[test]
fn a_job_whose_states_do_not_fit_fences_nobody_in_forst() {
    states_that_do_not_fit_fence_nobody(|store| {
        let settings =
            ForstSettings { memory_bytes: ForstSettings::MIN_MEMORY_BYTES, ..ForstSettings::default() };
        Arc::new(ForstBackendFactory::new(settings, Arc::clone(store), IoRuntime::new(2).unwrap()).unwrap())
    });
}

#[test]
fn a_job_whose_state_was_taken_over_ends_fenced() {
    let store = memory();
    let words = Words::new(2, 500, 30);
    let (source, is_idle) = idle_halfway(&words);
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
