//! Every query gives the answer that plain memory gives: with state in memory and with more than fits, at any parallelism,
//! through stops and restores.
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::{Entropy, IoRuntime, SystemClock};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::storage::{self, Link, Storage};
use alluvium_host::{
    Collector, JobControl, JobReport, JobSettings, Outcome, ReadOutcome, Restore, SplitReader, SplitSource,
    World,
};
use alluvium_state_api::{BackendFactory, HeapBackendFactory, Result};

use crate::events::{Source, Stream};
use crate::job::{Sink, expected};
use crate::query::{NAMES, Query, RowOf, WithQuery, of_name, q18, q19, q20};
use table::{Answer, Known, Table, difference};

/// A minute of event time: six windows of ten seconds, sessions with gaps between them, splits of three seconds.
const STREAM: Stream = Stream { events: 12_000, rate: 200, split_events: 600 };

/// Twenty events in each millisecond: what is equally late or dear is told apart by its place in the stream.
const CROWDED: Stream = Stream { rate: 20_000, ..STREAM };

/// The queries that keep state for ever.
const GROWING: [&str; 3] = [q18::Q18::NAME, q19::Q19::NAME, q20::Q20::NAME];

/// Where state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Heap,
    Resident,
    /// In the least memory that a store takes, and the rest a millisecond away.
    Far,
}

fn storage(place: Place) -> Storage {
    let storage = storage::open("memory:///").unwrap();
    match place {
        Place::Far => {
            let link = Link { latency: Duration::from_millis(1), ..Link::default() };
            storage.behind(link).unwrap()
        }
        _ => storage,
    }
}

fn world(storage: &Storage, place: Place) -> World {
    let io = IoRuntime::new(2).unwrap();
    let forst = |memory_bytes| -> Arc<dyn BackendFactory> {
        let settings = ForstSettings { memory_bytes, ..ForstSettings::default() };
        Arc::new(ForstBackendFactory::new(settings, Arc::clone(&storage.store), io.clone()).unwrap())
    };
    World {
        store: Arc::clone(&storage.store),
        state_url: storage.url().to_owned(),
        backend: match place {
            Place::Heap => Arc::new(HeapBackendFactory),
            Place::Resident => forst(64 << 20),
            Place::Far => forst(ForstSettings::MIN_MEMORY_BYTES),
        },
        io,
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(Entropy::from_os()),
    }
}

fn settings(parallelism: u16) -> JobSettings {
    let mut settings = JobSettings {
        job: "nexmark".to_owned(),
        parallelism,
        sources: usize::from(parallelism).div_ceil(2),
        ..JobSettings::default()
    };
    settings.checkpoints.interval = None;
    settings
}

/// Runs a query to its end, and checks its answer.
struct Whole(Stream, Place, u16);

impl WithQuery for Whole {
    type Done = JobReport;
    fn with<Q: Query>(self) -> JobReport {
        let Self(stream, place, parallelism) = self;
        let (storage, sink) = (storage(place), Sink::<Q, Table<RowOf<Q>>>::new());
        let source = Source::<Q>::new(stream);
        let (world, control) = (world(&storage, place), JobControl::new());
        let report = sink.run(source, settings(parallelism), world, &control).unwrap();
        compare(sink, stream, &format!("{place:?}, {parallelism} subtasks"));
        report
    }
}

fn compare<Q: Query, A: Answer<RowOf<Q>>>(sink: Sink<Q, A>, stream: Stream, how: &str) {
    let (found, expected) = (sink.into_rows(), expected::<Q, A>(stream));
    assert!(expected.rows().count() > 5, "{} shows too little", Q::NAME);
    assert!(found == expected, "{}, {how}: {}", Q::NAME, difference(&found, &expected));
}

#[test]
fn every_query_answers_as_plain_memory_does_wherever_its_state_is() {
    for name in NAMES {
        for place in [Place::Heap, Place::Resident, Place::Far] {
            for parallelism in [1, 3] {
                let report = of_name(name, Whole(STREAM, place, parallelism)).unwrap();
                assert_eq!(report.outcome, Outcome::Finished);
            }
        }
    }
}

#[test]
fn whatever_comes_first_of_two_equals_the_answer_is_one() {
    for name in GROWING {
        of_name(name, Whole(CROWDED, Place::Heap, 3)).unwrap();
    }
}

#[test]
fn state_that_grows_with_the_stream_does_not_fit_into_the_least_memory() {
    let mut misses = 0;
    for name in GROWING {
        let backend = of_name(name, Whole(STREAM, Place::Far, 1)).unwrap().backend;
        assert!(backend.flushes > 0 && backend.memory_hits + backend.misses > 0, "{name}: {backend:?}");
        misses += backend.misses;
    }
    // Which blocks a flush leaves in memory hangs on when it ends: one query that asks for few may find them all.
    assert!(misses > 0, "no query had to read from afar");
}

/// A source that stops its job after so many reads of all splits.
struct Stopping<S> {
    source: S,
    left: Arc<AtomicU64>,
    control: JobControl,
}

struct StoppingReader {
    reader: Box<dyn SplitReader>,
    left: Arc<AtomicU64>,
    control: JobControl,
}

impl<S: SplitSource> SplitSource for Stopping<S> {
    fn splits(&self) -> u64 {
        self.source.splits()
    }
    fn fingerprint(&self) -> String {
        self.source.fingerprint()
    }
    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        let reader = self.source.open(split, position)?;
        Ok(Box::new(StoppingReader { reader, left: Arc::clone(&self.left), control: self.control.clone() }))
    }
}

impl SplitReader for StoppingReader {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.control.stop();
            return Ok(ReadOutcome::Idle);
        }
        self.reader.read(out)
    }
    fn position(&self) -> u64 {
        self.reader.position()
    }
}

/// Runs a query in pieces, at changing parallelisms, and checks its answer. Says in how many.
struct Pieces(Place);

impl WithQuery for Pieces {
    type Done = u16;
    fn with<Q: Query>(self) -> u16 {
        let Self(place) = self;
        let (storage, sink) = (storage(place), Sink::<Q, Known<RowOf<Q>>>::new());
        let world = world(&storage, place);
        for piece in 0..100 {
            let control = JobControl::new();
            let left = Arc::new(AtomicU64::new(7 + 3 * u64::from(piece)));
            let source = Stopping { source: Source::<Q>::new(STREAM), left, control: control.clone() };
            let settings = JobSettings { restore: Restore::Latest, ..settings(1 + (piece + 2) % 3) };
            let report = sink.run(source, settings, world.clone(), &control).unwrap();
            if report.outcome == Outcome::Finished {
                compare(sink, STREAM, "in pieces");
                return piece;
            }
        }
        panic!("{} makes no progress", Q::NAME)
    }
}

#[test]
fn every_query_goes_on_where_it_was_stopped_at_another_parallelism() {
    for name in NAMES {
        assert!(of_name(name, Pieces(Place::Heap)).unwrap() > 1);
        assert!(of_name(name, Pieces(Place::Far)).unwrap() > 1);
    }
}
