//! Stopping and cancelling: never a hang, whatever the job waits for.
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{ErrorKind, spawn_thread};
use alluvium_host::{JobControl, Outcome, ReadOutcome};
use alluvium_state_api::HeapBackendFactory;
use object_store::ObjectStore;

use crate::dying_store::{DyingStore, Life};
use crate::faulty_backend::FaultyFactory;
use crate::operators::Add;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

#[test]
fn an_idle_source_takes_its_last_checkpoint_when_stopped_and_goes_on_later() {
    let store = memory();
    let words = Words::new(2, 600, 40);
    let control = JobControl::new();
    let hooked = control.clone();
    let source = words.clone().hooked(move |split, position| {
        if split == 1 && position == 300 {
            hooked.stop();
            return Ok(ReadOutcome::Idle);
        }
        Ok(ReadOutcome::More)
    });
    let report = job(&source, settings(2, 2, None), world(&store, HeapBackendFactory))
        .run(Add::open, &control, |_| unreachable!("a stopped job has no result"))
        .unwrap();
    assert_eq!((report.outcome, report.checkpoints.completed), (Outcome::Stopped, 1));
    let mut counts = Counts::new();
    let report = job(&words, settings(3, 1, None), world(&store, HeapBackendFactory))
        .run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts))
        .unwrap();
    assert_eq!(counts, words.counts());
    assert_eq!(report.restore.checkpoint, Some(1));
    assert_eq!(report.checkpoints.completed, 0, "without an interval a finished job takes no checkpoint");
}

#[test]
fn a_job_says_how_much_it_could_not_delete() {
    let store = memory();
    let run = |store: &Arc<dyn ObjectStore>| {
        let control = JobControl::new();
        let hooked = control.clone();
        let source = Words::new(1, 600, 40).hooked(move |_, position| {
            if position > 0 {
                hooked.stop();
                return Ok(ReadOutcome::Idle);
            }
            Ok(ReadOutcome::More)
        });
        let mut settings = settings(1, 1, None);
        settings.checkpoints.retained = 1;
        let job = job(&source, settings, world(store, HeapBackendFactory));
        job.run(Add::open, &control, |_| Ok(())).unwrap().notes
    };
    let notes = run(&store);
    assert!(!notes.iter().any(|note| note.contains("not deleted")), "{notes:?}");
    let refuses = DyingStore { inner: Arc::clone(&store), life: Life::that_deletes_nothing() };
    let notes = run(&(Arc::new(refuses) as Arc<dyn ObjectStore>));
    let said = notes.iter().any(|note| {
        note.starts_with("objects that nobody needs and that are not deleted yet: ")
            && note.contains("deletes failed (cannot delete ledger/00000000000000000002 in ")
            && note.contains("; check the keys and their rights), so look whether the store permits them")
    });
    assert!(said, "{notes:?}");
}

#[test]
fn an_idle_reader_is_read_again_when_it_wakes() {
    use alluvium_host::{Collector, Job, SplitReader, SplitSource};
    use alluvium_state_api::Notify;

    struct Late;
    struct Reader(Option<Notify>, u32);
    impl SplitSource for Late {
        fn splits(&self) -> u64 {
            1
        }
        fn fingerprint(&self) -> String {
            "late".to_owned()
        }
        fn open(&self, _: u64, _: u64) -> alluvium_env::Result<Box<dyn SplitReader>> {
            Ok(Box::new(Reader(None, 0)))
        }
    }
    impl SplitReader for Reader {
        fn read(&mut self, out: &mut Collector) -> alluvium_env::Result<ReadOutcome> {
            self.1 += 1;
            if self.1 == 10 {
                return Ok(ReadOutcome::End);
            }
            out.emit("word", &1_u64);
            let wake = self.0.clone().unwrap();
            spawn_thread("waker", move || wake())?;
            Ok(ReadOutcome::Idle)
        }
        fn position(&self) -> u64 {
            0
        }
        fn set_wake(&mut self, wake: Notify) {
            self.0 = Some(wake);
        }
    }
    let job =
        Job { source: Late, settings: settings(1, 1, None), world: world(&memory(), HeapBackendFactory) };
    let mut counts = Counts::new();
    job.run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts)).unwrap();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("word".to_owned(), 9)]);
}

#[test]
fn cancelling_ends_a_job_that_nothing_else_would_end() {
    // The backend admits nothing, so the task sleeps, its lanes fill, and the source is stuck in a send.
    let words = Words::new(1, 1_000_000, 1_000);
    let (reads, read) = channel();
    let reads = Mutex::new(reads);
    let source = words.hooked(move |_, position| {
        let _ = reads.lock().unwrap().send(position);
        Ok(ReadOutcome::More)
    });
    let control = JobControl::new();
    let canceller = control.clone();
    let watcher = spawn_thread("canceller", move || {
        // As soon as the source does not come back for more.
        while read.recv_timeout(Duration::from_millis(100)).is_ok() {}
        canceller.cancel();
    })
    .unwrap();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let open = move |states: &alluvium_state_api::States<'_>| {
        let _ = &held;
        Add::open(states)
    };
    let result =
        job(&source, settings(2, 1, Some(Duration::from_millis(1))), world(&memory(), FaultyFactory::Shut))
            .run(open, &control, |_| Ok(()));
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    watcher.join().unwrap();
    assert_eq!(Arc::strong_count(&token), 1, "no thread of the job is left");
}

#[test]
fn a_job_cancelled_or_stopped_before_it_begins_ends() {
    let words = Words::new(1, 100, 10);
    let idle = words.hooked(|_, _| Ok(ReadOutcome::Idle));
    let control = JobControl::new();
    control.cancel();
    let result = job(&idle, settings(1, 2, None), world(&memory(), HeapBackendFactory)).run(
        Add::open,
        &control,
        |_| Ok(()),
    );
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    let control = JobControl::new();
    control.stop();
    let report = job(&idle, settings(1, 2, None), world(&memory(), HeapBackendFactory))
        .run(Add::open, &control, |_| Ok(()))
        .unwrap();
    assert_eq!(report.outcome, Outcome::Stopped);
}
