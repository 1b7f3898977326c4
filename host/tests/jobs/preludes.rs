//! Functions that ask a service first: exact through stops at changing parallelism, with preludes under way at every checkpoint.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use alluvium_async_exec::{ControllerSettings, EpochMode};
use alluvium_env::{Error, ErrorKind, Result, spawn_thread};
use alluvium_host::{JobControl, JobReport, JobSettings, Operator, Outcome, ReadOutcome};
use alluvium_state_api::{Context, KeyedProcess, Prepared, PreparedProcess, RecordKey, States, ValueState};

use crate::slow_backend::SlowFactory;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

/// A question, and who waits for its answer.
struct Question {
    answered: Arc<AtomicBool>,
    waker: Waker,
}

/// Answers from a thread of its own once nobody has asked for a millisecond, in an order that is nobody's.
fn answer(questions: &Receiver<Question>, most: &AtomicU64) {
    let mut asked: BTreeMap<usize, Question> = BTreeMap::new();
    loop {
        match questions.recv_timeout(Duration::from_millis(1)) {
            // Whoever is polled again has another waker.
            Ok(question) => drop(asked.insert(Arc::as_ptr(&question.answered).addr(), question)),
            Err(RecvTimeoutError::Timeout) => {
                // Of a job that was stopped nobody waits any more.
                let waiting = asked.values().filter(|question| Arc::strong_count(&question.answered) > 1);
                most.fetch_max(waiting.count() as u64, Ordering::SeqCst);
                for question in std::mem::take(&mut asked).into_values() {
                    question.answered.store(true, Ordering::SeqCst);
                    question.waker.wake();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Counts words by get and put, after it has asked for each.
struct Asks {
    service: Sender<Question>,
    asked: Arc<AtomicU64>,
    counts: ValueState<u64>,
}

const UNKNOWN: &str = "word-0";

impl KeyedProcess for Asks {
    type In = (u64, String);
    type Out = ();
    async fn process(&self, (times, word): Self::In, ctx: &Context<()>) -> Result<()> {
        assert_eq!(word, ctx.key::<str>()?, "a record got another one's prelude");
        let count = self.counts.get(ctx).await?.unwrap_or(0) + times;
        self.counts.put(ctx, &count)
    }
}

impl PreparedProcess for Asks {
    type Raw = u64;
    async fn prepare(&self, times: u64, key: RecordKey<'_>) -> Result<Self::In> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answered = Arc::new(AtomicBool::new(false));
        poll_fn(|cx| {
            if answered.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(()));
            }
            let question = Question { answered: Arc::clone(&answered), waker: cx.waker().clone() };
            match self.service.send(question) {
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(Err(Error::internal("the service is gone"))),
            }
        })
        .await?;
        Ok((times, key.get::<str>()?))
    }
}

/// A service, the questions that were asked, and how many waited together.
fn service() -> (Mutex<Sender<Question>>, [Arc<AtomicU64>; 2]) {
    let (sender, questions) = channel();
    let [asked, most] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&most);
    spawn_thread("service", move || answer(&questions, &counted)).unwrap();
    (Mutex::new(sender), [asked, most])
}

fn exact_in_pieces(epoch_mode: EpochMode) {
    let words = Words::new(6, 2_000, 6);
    let (sender, [asked, most]) = service();
    let (sender, store) = (Arc::new(sender), memory());
    let (mut pieces, mut kept) = (0_u16, 0);
    loop {
        pieces += 1;
        assert!(pieces < 200, "the job makes progress");
        let control = JobControl::new();
        let (reads, hooked) = (AtomicU64::new(0), control.clone());
        let source = words.clone().hooked(move |_, _| {
            if reads.fetch_add(1, Ordering::SeqCst) < 40 {
                return Ok(ReadOutcome::More);
            }
            hooked.stop();
            Ok(ReadOutcome::Idle)
        });
        let (sender, asked) = (Arc::clone(&sender), Arc::clone(&asked));
        let open = move |states: &States<'_>| {
            let counts = states.value("counts")?;
            let id = counts.id();
            let service = sender.lock().unwrap().clone();
            Ok(Operator::prepared(Asks { service, asked: Arc::clone(&asked), counts }).with_result(id))
        };
        let controller = ControllerSettings { epoch_mode, ..ControllerSettings::default() };
        let settings = JobSettings { controller, ..settings(1 + pieces % 3, 2, None) };
        let mut counts = Counts::new();
        let job = job(&source, settings, world(&store, SlowFactory::heap(3)));
        let report: JobReport = job.run(open, &control, |scans| collect(scans, &mut counts)).unwrap();
        if report.outcome == Outcome::Finished {
            assert_eq!(counts, words.counts());
            break;
        }
        kept += report.checkpoints.last.map_or(0, |last| last.inputs_kept);
    }
    assert!(pieces > 3 && kept > 0, "{pieces} pieces, {kept} kept inputs");
    let (asked, most) = (asked.load(Ordering::SeqCst), most.load(Ordering::SeqCst));
    assert!(asked > words.total(), "{asked} questions: those of kept inputs are asked again");
    let keys = words.counts().len() as u64;
    assert!(most > keys, "{most} questions waited together, of {keys} keys");
}

#[test]
fn preludes_overlap_in_a_job_and_are_asked_again_after_a_stop() {
    exact_in_pieces(EpochMode::SerialBetweenEpochs);
    exact_in_pieces(EpochMode::ParallelBetweenEpochs);
}

/// Knows all words but one.
struct Knows;

impl KeyedProcess for Knows {
    type In = ();
    type Out = ();
    async fn process(&self, (): (), _: &Context<()>) -> Result<()> {
        Ok(())
    }
}

impl PreparedProcess for Knows {
    type Raw = u64;
    async fn prepare(&self, _: u64, key: RecordKey<'_>) -> Result<()> {
        let word = key.get::<str>()?;
        if word == UNKNOWN { Err(Error::invalid(format!("nobody knows {word}"))) } else { Ok(()) }
    }
}

#[test]
fn an_error_of_a_prelude_is_the_job_s_with_operator_and_key_group() {
    let job = job(&Words::new(2, 100, 6), settings(2, 1, None), world(&memory(), SlowFactory::heap(1)));
    let open = |_: &States<'_>| Ok(Operator::new(Prepared::new(Knows)));
    let error = job.run(open, &JobControl::new(), |_| Ok(())).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(text.contains("words") && text.contains(": prelude: nobody knows word-0"), "{text}");
    assert!(text.contains("key group "), "{text}");
}
