//! Whatever fails ends the job with one sentence that says where, and leaves no thread behind.
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alluvium_env::{Error, ErrorKind, Result};
use alluvium_host::{Job, JobControl, JobSettings, Operator, ReadOutcome, SplitReader, SplitSource};
use alluvium_state_api::{
    BackendFactory, Context, HeapBackendFactory, KeyedProcess, KeyedStateBackend, OpenRequest, States,
};

use crate::faulty_backend::FaultyFactory;
use crate::operators::Add;
use crate::words::{Words, job, memory, settings, world};

/// Runs a job with an operator that does `act` on one word, and returns its error.
fn fails_with(source: &Words, act: fn() -> Result<()>) -> Error {
    let token = Arc::new(());
    let (opened, hook) = (Arc::clone(&token), Arc::clone(&source.hook));
    let open = move |_: &States<'_>| {
        let _ = &opened;
        Ok(Operator::new(Fussy { act }))
    };
    let before = Arc::strong_count(&hook);
    let result = job(source, settings(2, 2, None), world(&memory(), HeapBackendFactory)).run(
        open,
        &JobControl::new(),
        |_| Ok(()),
    );
    let error = result.expect_err("the job fails");
    assert_eq!(Arc::strong_count(&token), 1, "no task thread is left");
    assert_eq!(Arc::strong_count(&hook), before, "no source thread is left");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

struct Fussy {
    act: fn() -> Result<()>,
}

impl KeyedProcess for Fussy {
    type In = u64;
    type Out = ();
    async fn process(&self, _: u64, ctx: &Context<()>) -> Result<()> {
        if ctx.key::<str>()? == "word-7" { (self.act)() } else { Ok(()) }
    }
}

#[test]
fn an_operator_error_names_operator_and_subtask() {
    let error = fails_with(&Words::new(4, 5_000, 20), || Err(Error::invalid("seven is not allowed")));
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.starts_with("operator words, subtask ") && text.contains("seven is not allowed"), "{text}");
}

#[test]
fn an_operator_panic_is_an_error_with_its_message() {
    let error = fails_with(&Words::new(4, 5_000, 20), || panic!("seven broke it"));
    assert_eq!(error.kind(), ErrorKind::Internal);
    let text = error.to_string();
    assert!(
        text.starts_with("operator words, subtask ")
            && text.contains(": key group ")
            && text.ends_with(": panicked: seven broke it"),
        "{text}"
    );
}

#[test]
fn a_source_error_and_a_source_panic_name_source_and_split() {
    let words = Words::new(4, 5_000, 20);
    let failing = words.clone().hooked(|split, position| match (split, position) {
        (2, 1_000) => Err(Error::unavailable("the disk is gone")),
        _ => Ok(ReadOutcome::More),
    });
    let error = fails_with(&failing, || Ok(()));
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(
        text.starts_with("source of words, subtask ") && text.ends_with("split 2: the disk is gone"),
        "{text}"
    );

    let panicking =
        words.hooked(|split, _| if split == 3 { panic!("split 3 broke it") } else { Ok(ReadOutcome::More) });
    let error = fails_with(&panicking, || Ok(()));
    assert!(error.to_string().contains("panicked: split 3 broke it"), "{error}");
}

#[test]
fn errors_at_the_start_and_at_the_end_are_the_jobs() {
    struct Broken;
    impl BackendFactory for Broken {
        fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
            Err(Error::corruption(format!("the state of subtask {} is unreadable", request.subtask)))
        }
    }
    let words = Words::new(4, 5_000, 20);
    let broken = job(&words, settings(1, 2, None), world(&memory(), Broken));
    let error = broken.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap_err();
    assert_eq!(error.to_string(), "operator words, subtask 0: the state of subtask 0 is unreadable");

    let finishing = job(&words, settings(2, 2, None), world(&memory(), HeapBackendFactory));
    let error =
        finishing.run(Add::open, &JobControl::new(), |_| Err(Error::unavailable("disk full"))).unwrap_err();
    assert_eq!(error.to_string(), "disk full");

    let sinking = job(&words, settings(2, 2, None), world(&memory(), HeapBackendFactory));
    let open =
        |_: &States<'_>| Ok(Operator::new(Loud).with_sink(|_| Err(Error::unavailable("the sink is full"))));
    let error = sinking.run(open, &JobControl::new(), |_| Ok(())).unwrap_err();
    assert!(error.to_string().ends_with("the sink is full"), "{error}");
}

struct Loud;

impl KeyedProcess for Loud {
    type In = u64;
    type Out = ();
    async fn process(&self, _: u64, ctx: &Context<()>) -> Result<()> {
        ctx.emit(());
        Ok(())
    }
}

#[test]
fn impossible_settings_are_refused_before_anything_is_written() {
    let changes: [fn(&mut JobSettings); 4] = [
        |s| s.parallelism = 0,
        |s| s.parallelism = 129,
        |s| s.sources = 0,
        |s| s.controller.max_in_flight = 0,
    ];
    for change in changes {
        let (mut settings, store) = (settings(1, 1, None), memory());
        change(&mut settings);
        let (store, requests) = alluvium_host::storage::MeteredStore::new(store, "memory");
        let store: Arc<dyn object_store::ObjectStore> = Arc::new(store);
        let job = job(&Words::new(1, 1, 1), settings, world(&store, HeapBackendFactory));
        let error = job.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert_eq!(requests.snapshot().puts, 0);
    }
}

#[test]
fn an_empty_input_finishes() {
    struct Nothing;
    impl SplitSource for Nothing {
        fn splits(&self) -> u64 {
            0
        }
        fn fingerprint(&self) -> String {
            String::new()
        }
        fn open(&self, split: u64, _: u64) -> Result<Box<dyn SplitReader>> {
            Err(Error::internal(format!("there is no split {split}")))
        }
    }
    let job =
        Job { source: Nothing, settings: settings(3, 2, None), world: world(&memory(), HeapBackendFactory) };
    let report = job.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap();
    assert_eq!((report.records, report.restore.millis_to_first_record), (0, None));
}

#[test]
fn a_last_checkpoint_that_fails_is_taken_again_within_tolerance() {
    let words = Words::new(2, 500, 20);
    let run = |failures: u64| {
        let faulty = FaultyFactory::Uploads(Arc::new(AtomicU64::new(failures)));
        job(&words, settings(1, 1, Some(Duration::from_hours(1))), world(&memory(), faulty)).run(
            Add::open,
            &JobControl::new(),
            |_| Ok(()),
        )
    };
    let report = run(3).unwrap();
    assert_eq!((report.checkpoints.failed, report.checkpoints.completed), (3, 1));
    let note = report.notes.last().unwrap();
    assert!(note.contains("given up: 3") && note.contains("the store does not answer"), "{note}");
    let error = run(1_000).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("the store does not answer"), "{error}");
}

#[test]
fn a_panic_in_an_upload_ends_the_job() {
    let words = Words::new(2, 500, 20);
    let panicking =
        job(&words, settings(2, 1, Some(Duration::from_hours(1))), world(&memory(), FaultyFactory::Panics));
    let error = panicking.run(Add::open, &JobControl::new(), |_| Ok(())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("panicked: the upload broke"), "{error}");
}
