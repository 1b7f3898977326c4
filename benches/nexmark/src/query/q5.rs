//! Query 5, hot items: the auctions with the most bids of the last 10 seconds, every 2 seconds.
//!
//! ```sql
//! SELECT auction, num FROM
//!   (SELECT auction, count(*) AS num, window_start, window_end
//!    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
//!    GROUP BY auction, window_start, window_end)
//! WHERE num = max(num) of its window -- the SQL joins it with itself for that
//! ```
//!
//! **Key**: the auction. **State**: the bids of each slice of 2 seconds, in its namespace, so that a bid is one add and not one
//! for each of the five windows it is in. **Timers**: one an auction and slice, at its end; it reads the five slices that end
//! there, together, forgets the oldest, and comes again as long as there is a later one.
//!
//! **In the sink**: the most of all auctions of a window, since that is a stage of another key.
use std::cmp::Ordering;
use std::collections::BTreeMap;

use alluvium_state_api::{
    Context, KeyedProcess, ReducingState, Result, States, Sum, Timer, Timestamp, combine_all,
};
use nexmark::event::Event;

use super::{Query, RowOf, SECOND, window_start};
use crate::answer::{Change, Rows, Stage};
use crate::events::Stream;
use crate::oracle;

/// From one window's beginning to the next one's.
pub(crate) const SLIDE: i64 = 2 * SECOND;
/// Windows that a moment is in.
pub(crate) const OVERLAP: i64 = 5;

/// An auction with the most bids of a window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HotItem {
    /// The window's end.
    pub(crate) end: i64,
    pub(crate) auction: u64,
    pub(crate) bids: u64,
}

/// See the module.
pub(crate) struct Q5;

impl Query for Q5 {
    const NAME: &'static str = "q5";
    type Process = BidsByWindow;
    type Key = u64;
    type Stage = Hottest;

    fn project(_: u64, event: Event) -> Option<(u64, i64)> {
        let Event::Bid(bid) = event else { return None };
        Some((bid.auction as u64, bid.date_time.cast_signed()))
    }

    fn open(states: &States<'_>) -> Result<BidsByWindow> {
        Ok(BidsByWindow { slices: states.in_namespaces().reducing("slices")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q5(stream, rows);
    }
}

/// The operator.
pub(crate) struct BidsByWindow {
    slices: ReducingState<Sum<u64>, i64>,
}

impl KeyedProcess for BidsByWindow {
    type In = i64;
    type Out = HotItem;
    const USES_TIMERS: bool = true;

    async fn process(&self, time: i64, auction: &Context<HotItem>) -> Result<()> {
        let slice = window_start(time, SLIDE);
        self.slices.add(auction.in_namespace(&slice), &1)?;
        auction.register_event_timer(Timestamp(slice + SLIDE - 1))
    }

    async fn on_timer(&self, timer: Timer, auction: &Context<HotItem>) -> Result<()> {
        let end = timer.time().0 + 1;
        let oldest = end - OVERLAP * SLIDE;
        let slices = (0..OVERLAP).map(|slice| oldest + slice * SLIDE);
        let counts = combine_all(slices.map(|slice| self.slices.get(auction.in_namespace(&slice)))).await?;
        let bids = counts.iter().flatten().sum();
        auction.emit(HotItem { end, auction: auction.key::<u64>()?, bids });
        let Some((first, later)) = counts.split_first() else { return Ok(()) };
        if first.is_some() {
            self.slices.clear(auction.in_namespace(&oldest))?;
        }
        if later.iter().any(Option::is_some) {
            auction.register_event_timer(Timestamp(end + SLIDE - 1))?;
        }
        Ok(())
    }
}

/// The most of each window so far, and who has so many.
#[derive(Default)]
pub(crate) struct Hottest(BTreeMap<i64, (u64, Vec<u64>)>);

impl Stage for Hottest {
    type In = HotItem;
    type Row = HotItem;

    fn take(&mut self, HotItem { end, auction, bids }: HotItem, _: &mut dyn Rows<HotItem>) {
        let (most, auctions) = self.0.entry(end).or_default();
        match bids.cmp(most) {
            Ordering::Less => {}
            Ordering::Equal => auctions.push(auction),
            Ordering::Greater => (*most, *auctions) = (bids, vec![auction]),
        }
    }

    fn end(&mut self, rows: &mut dyn Rows<HotItem>) {
        for (end, (bids, auctions)) in std::mem::take(&mut self.0) {
            let items = auctions.into_iter().map(|auction| HotItem { end, auction, bids });
            items.for_each(|item| rows.change(Change::Insert(item)));
        }
    }
}
