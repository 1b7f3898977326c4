//! Query 11, user sessions: how many bids a user made in each session; one ends where no bid comes for 10 seconds.
//!
//! ```sql
//! SELECT bidder, count(*), SESSION_START(dateTime, INTERVAL '10' SECOND), SESSION_END(dateTime, INTERVAL '10' SECOND)
//! FROM bid GROUP BY bidder, SESSION(dateTime, INTERVAL '10' SECOND)
//! ```
//!
//! **Key**: the bidder. **State**: its open sessions, nearly always one, as a value; the count of each in the namespace of the
//! session's start. A bid that closes the gap between two sessions merges their namespaces. **Timers**: one a session, in its
//! namespace. Later bids do not move it: it looks when it fires, and goes on to where the session now ends.
//!
//! Two sessions that touch are one, as in Flink: a bid 10 seconds after the last one still belongs. So the timer fires at the
//! end itself, when no bid of that millisecond is to come.
use alluvium_state_api::{
    Context, KeyedProcess, ReducingState, Result, States, Sum, Timer, Timestamp, ValueState,
};
use nexmark::event::Event;

use super::{Query, RowOf, SECOND};
use crate::answer::{Change, Emitted, Rows};
use crate::events::Stream;
use crate::oracle;

/// How long nothing comes before a session ends.
pub(crate) const GAP: i64 = 10 * SECOND;

/// A session that is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Session {
    pub(crate) bidder: u64,
    pub(crate) bids: u64,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// See the module.
pub(crate) struct Q11;

impl Query for Q11 {
    const NAME: &'static str = "q11";
    type Process = Sessions;
    type Key = u64;
    type Stage = Emitted<Session>;

    fn project(_: u64, event: Event) -> Option<(u64, i64)> {
        let Event::Bid(bid) = event else { return None };
        Some((bid.bidder as u64, bid.date_time.cast_signed()))
    }

    fn open(states: &States<'_>) -> Result<Sessions> {
        Ok(Sessions { open: states.value("open")?, bids: states.in_namespaces().reducing("bids")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q11(stream, rows);
    }
}

/// The operator.
pub(crate) struct Sessions {
    /// Starts and ends; no two touch.
    open: ValueState<Vec<(i64, i64)>>,
    bids: ReducingState<Sum<u64>, i64>,
}

impl KeyedProcess for Sessions {
    type In = i64;
    type Out = Change<Session>;
    const USES_TIMERS: bool = true;

    async fn process(&self, time: i64, bidder: &Context<Self::Out>) -> Result<()> {
        let mut open = self.open.get(bidder).await?.unwrap_or_default();
        let (mut start, mut end) = (time, time + GAP);
        let touches = |session: &mut (i64, i64)| session.0 <= time + GAP && time <= session.1;
        let met: Vec<_> = open.extract_if(.., touches).collect();
        for session in &met {
            (start, end) = (start.min(session.0), end.max(session.1));
        }
        self.bids.add(bidder.in_namespace(&start), &1)?;
        if met == [(start, end)] {
            return Ok(());
        }
        open.push((start, end));
        self.open.put(bidder, &open)?;
        if met.iter().all(|session| session.0 != start) {
            bidder.in_namespace(&start).register_event_timer(Timestamp(end))?;
        }
        self.bids.merge_namespaces(bidder, &start, met.iter().map(|session| &session.0)).await
    }

    async fn on_timer(&self, timer: Timer, bidder: &Context<Self::Out>) -> Result<()> {
        let start = timer.namespace::<i64>()?;
        let session = bidder.in_namespace(&start);
        let (open, bids) = (self.open.get(bidder), self.bids.get(session));
        let (mut open, bids) = (open.await?.unwrap_or_default(), bids.await?.unwrap_or_default());
        // One that has become part of an earlier one has its timer there.
        let Some(at) = open.iter().position(|session| session.0 == start) else { return Ok(()) };
        let (_, end) = open.swap_remove(at);
        if timer.time() < Timestamp(end) {
            return session.register_event_timer(Timestamp(end));
        }
        bidder.emit(Change::Insert(Session { bidder: bidder.key::<u64>()?, bids, start, end }));
        self.bids.clear(session)?;
        if open.is_empty() { self.open.clear(bidder) } else { self.open.put(bidder, &open) }
    }
}
