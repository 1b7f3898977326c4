//! The stream: the generator's events by number, and the source that cuts them into splits.
//!
//! An event is a pure function of its number, so a split is a range of numbers and its position is how many of them are
//! emitted: it can be opened again anywhere. Event time grows with the number. Source threads read neighbouring splits at the
//! same time, so records of a job come out of order by a split or two, and never behind their thread's watermark.
use std::marker::PhantomData;

use alluvium_host::{Collector, ReadOutcome, SplitReader, SplitSource};
use alluvium_state_api::{KeyedProcess, Result, Timestamp};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::Event;

use crate::query::Query;

/// When the first event happens: a multiple of every window's length, as of Beam's generator.
pub(crate) const BASE_TIME_MILLIS: u64 = 1_436_918_400_000;
/// Events of one read: about 64 KiB of them.
const READ_EVENTS: u64 = 512;
/// Event time between two watermarks of a reader. Records behind a watermark wait for those before it, so one a read would cost
/// a store that is far away a round trip a read.
const WATERMARK_MILLIS: i64 = 1_000;

/// A finite stream of events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// How many: one in fifty is a person, three are auctions, the others bids.
    pub(crate) events: u64,
    /// How many in a second of event time. More of them share a window; how fast they are read is another matter.
    pub(crate) rate: u64,
    /// How many a split has.
    pub(crate) split_events: u64,
}

impl Stream {
    /// All events from one on, without end, with their numbers.
    fn from(&self, first: u64) -> impl Iterator<Item = (u64, Event)> + Send + use<> {
        let rate = self.rate as usize;
        let config = NexmarkConfig {
            base_time: BASE_TIME_MILLIS,
            first_rate: rate,
            next_rate: rate,
            ..NexmarkConfig::default()
        };
        (first..).zip(EventGenerator::new(config).with_offset(first))
    }

    /// The whole stream.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, Event)> + use<> {
        let end = self.events;
        self.from(0).take_while(move |(number, _)| *number < end)
    }
}

/// When an event happened.
pub(crate) fn time_of(event: &Event) -> i64 {
    event.timestamp().cast_signed()
}

/// The stream as the source of a query.
pub(crate) struct Source<Q> {
    stream: Stream,
    query: PhantomData<fn() -> Q>,
}

impl<Q> Source<Q> {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, query: PhantomData }
    }
}

impl<Q: Query> SplitSource for Source<Q> {
    fn splits(&self) -> u64 {
        self.stream.events.div_ceil(self.stream.split_events)
    }

    fn fingerprint(&self) -> String {
        let Stream { events, rate, split_events } = self.stream;
        format!("{events} events of nexmark by {split_events}, {rate} a second")
    }

    fn open(&self, split: u64, position: u64) -> Result<Box<dyn SplitReader>> {
        let start = split * self.stream.split_events;
        let next = start + position;
        Ok(Box::new(Reader::<_, Q> {
            events: self.stream.from(next),
            start,
            next,
            end: self.stream.events.min(start + self.stream.split_events),
            watermark: i64::MIN,
            query: PhantomData,
        }))
    }
}

struct Reader<E, Q> {
    events: E,
    start: u64,
    next: u64,
    end: u64,
    watermark: i64,
    query: PhantomData<fn() -> Q>,
}

impl<E: Iterator<Item = (u64, Event)> + Send, Q: Query> SplitReader for Reader<E, Q> {
    fn read(&mut self, out: &mut Collector) -> Result<ReadOutcome> {
        let count = READ_EVENTS.min(self.end - self.next);
        let mut time = i64::MIN;
        for (number, event) in self.events.by_ref().take(count as usize) {
            time = time_of(&event);
            if let Some((key, record)) = Q::project(number, event) {
                out.emit(&key, &record);
            }
        }
        self.next += count;
        // The next event may be of the same millisecond. Who has no timers does not care what time it is.
        if Q::Process::USES_TIMERS && time.saturating_sub(WATERMARK_MILLIS) > self.watermark {
            self.watermark = time - 1;
            out.emit_watermark(Timestamp(self.watermark));
        }
        Ok(if self.next == self.end { ReadOutcome::End } else { ReadOutcome::More })
    }

    fn position(&self) -> u64 {
        self.next - self.start
    }
}
