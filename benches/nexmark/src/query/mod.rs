//! The queries: each a projection of events to keyed records, a keyed operator over them, and what its sink does with the
//! outputs. `nexmark-flink` has the SQL.
pub(crate) mod bid;
pub(crate) mod q11;
pub(crate) mod q18;
pub(crate) mod q19;
pub(crate) mod q20;
pub(crate) mod q5;
pub(crate) mod q7;
pub(crate) mod q8;

use std::hash::Hash;

use alluvium_state_api::{Codec, KeyCodec, KeyedProcess, Result, States};
use nexmark::event::Event;

use crate::answer::{Rows, Stage};
use crate::events::Stream;

/// A query as a job.
pub(crate) trait Query: 'static {
    /// What people call it.
    const NAME: &'static str;
    /// What the stream is keyed by.
    type Key: KeyCodec + Hash + Eq;
    /// The keyed operator.
    type Process: KeyedProcess<In: Codec>;
    /// What comes behind it, in the sink.
    type Stage: Stage<In = <Self::Process as KeyedProcess>::Out>;

    /// What the query needs of an event, as a planner would see to it: no column more, and no event that cannot matter.
    /// `number` is the event's place in the stream, for those queries in which two rows may be equally good.
    fn project(number: u64, event: Event) -> Option<(Self::Key, InOf<Self>)>;

    /// Opens the operator of a subtask.
    ///
    /// # Errors
    /// The state's.
    fn open(states: &States<'_>) -> Result<Self::Process>;

    /// The answer, computed in plain memory.
    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>);
}

/// A record of a query, without its key.
pub(crate) type InOf<Q> = <<Q as Query>::Process as KeyedProcess>::In;

/// A row of a query's answer.
pub(crate) type RowOf<Q> = <<Q as Query>::Stage as Stage>::Row;

/// Does something with each query; its name is found by [`of_name`].
pub(crate) trait WithQuery {
    /// What it makes.
    type Done;
    /// Does it.
    fn with<Q: Query>(self) -> Self::Done;
}

/// The names of all queries.
pub(crate) const NAMES: [&str; 7] = [
    q5::Q5::NAME,
    q7::Q7::NAME,
    q8::Q8::NAME,
    q11::Q11::NAME,
    q18::Q18::NAME,
    q19::Q19::NAME,
    q20::Q20::NAME,
];

/// Does something with the query of a name; `None` if there is none.
pub(crate) fn of_name<W: WithQuery>(name: &str, act: W) -> Option<W::Done> {
    Some(match name {
        q5::Q5::NAME => act.with::<q5::Q5>(),
        q7::Q7::NAME => act.with::<q7::Q7>(),
        q8::Q8::NAME => act.with::<q8::Q8>(),
        q11::Q11::NAME => act.with::<q11::Q11>(),
        q18::Q18::NAME => act.with::<q18::Q18>(),
        q19::Q19::NAME => act.with::<q19::Q19>(),
        q20::Q20::NAME => act.with::<q20::Q20>(),
        _ => return None,
    })
}

/// Seconds of event time.
pub(crate) const SECOND: i64 = 1_000;

/// The beginning of the window that a moment is in, of those that follow each other without a gap.
pub(crate) fn window_start(time: i64, length: i64) -> i64 {
    time - time.rem_euclid(length)
}
