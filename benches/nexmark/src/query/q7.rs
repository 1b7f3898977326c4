//! Query 7, highest bid: the bids of the highest price in every 10 seconds.
//!
//! ```sql
//! SELECT auction, bidder, price, dateTime, extra FROM bid B
//! JOIN (SELECT max(price) AS maxprice, window_end AS dateTime
//!       FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND)) GROUP BY window_start, window_end) B1
//! ON B.price = B1.maxprice WHERE B.dateTime BETWEEN B1.dateTime - INTERVAL '10' SECOND AND B1.dateTime
//! ```
//!
//! `BETWEEN` would also take a bid of the next window's first millisecond if it had the very same price; here a bid is in one
//! window.
//!
//! **Key**: the auction, so that a window is spread over all subtasks. **State**: the highest bids of an auction's window, in the
//! namespace of its start, by adds that do not read. **Timers**: one an auction and window, at its end.
//!
//! **In the sink**: the highest of all auctions of a window, since that is a stage of another key.
use std::cmp::Ordering;
use std::collections::BTreeMap;

use alluvium_state_api::{
    Aggregate, AggregatingState, Context, KeyedProcess, Result, States, Timer, Timestamp, codec_by_serde,
};
use nexmark::event::Event;
use serde::{Deserialize, Serialize};

use super::{Query, RowOf, SECOND, window_start};
use crate::answer::{Change, Rows, Stage};
use crate::events::Stream;
use crate::oracle;

/// How long a window is.
pub(crate) const WINDOW: i64 = 10 * SECOND;

/// What the query needs of a bid, but for the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    bidder: u64,
    price: u64,
    time: i64,
    extra: String,
}
codec_by_serde!(Offer, id = "q7 offer");

/// A bid with the highest price of its window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HighestBid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) time: i64,
    pub(crate) extra: String,
}

/// See the module.
pub(crate) struct Q7;

impl Query for Q7 {
    const NAME: &'static str = "q7";
    type Process = HighestByAuction;
    type Key = u64;
    type Stage = HighestByWindow;

    fn project(_: u64, event: Event) -> Option<(u64, Offer)> {
        let Event::Bid(bid) = event else { return None };
        let (bidder, price, time) = (bid.bidder as u64, bid.price as u64, bid.date_time.cast_signed());
        Some((bid.auction as u64, Offer { bidder, price, time, extra: bid.extra }))
    }

    fn open(states: &States<'_>) -> Result<HighestByAuction> {
        Ok(HighestByAuction { windows: states.in_namespaces().aggregating("windows")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q7(stream, rows);
    }
}

/// Keeps the offers of the highest price.
struct Highest;

impl Aggregate for Highest {
    type In = Offer;
    type Accumulator = Vec<Offer>;
    type Out = Vec<Offer>;

    fn lift(offer: &Offer) -> Vec<Offer> {
        vec![offer.clone()]
    }

    fn merge(mut a: Vec<Offer>, mut b: Vec<Offer>) -> Vec<Offer> {
        match price(&a).cmp(&price(&b)) {
            Ordering::Less => b,
            Ordering::Equal => {
                a.append(&mut b);
                a
            }
            Ordering::Greater => a,
        }
    }

    fn result(highest: Vec<Offer>) -> Vec<Offer> {
        highest
    }
}

/// The price that all of them have.
fn price(offers: &[Offer]) -> Option<u64> {
    offers.first().map(|offer| offer.price)
}

/// The operator.
pub(crate) struct HighestByAuction {
    windows: AggregatingState<Highest, i64>,
}

impl KeyedProcess for HighestByAuction {
    type In = Offer;
    type Out = HighestBid;
    const USES_TIMERS: bool = true;

    async fn process(&self, offer: Offer, auction: &Context<HighestBid>) -> Result<()> {
        let start = window_start(offer.time, WINDOW);
        let window = auction.in_namespace(&start);
        self.windows.add(window, &offer)?;
        window.register_event_timer(Timestamp(start + WINDOW - 1))
    }

    async fn on_timer(&self, timer: Timer, auction: &Context<HighestBid>) -> Result<()> {
        let start = timer.namespace::<i64>()?;
        let (window, key) = (auction.in_namespace(&start), auction.key::<u64>()?);
        for Offer { bidder, price, time, extra } in self.windows.get(window).await?.unwrap_or_default() {
            auction.emit(HighestBid { auction: key, bidder, price, time, extra });
        }
        self.windows.clear(window)
    }
}

/// The highest bids of each window so far.
#[derive(Default)]
pub(crate) struct HighestByWindow(BTreeMap<i64, Vec<HighestBid>>);

impl Stage for HighestByWindow {
    type In = HighestBid;
    type Row = HighestBid;

    fn take(&mut self, bid: HighestBid, _: &mut dyn Rows<HighestBid>) {
        let highest = self.0.entry(window_start(bid.time, WINDOW)).or_default();
        match highest.first().map_or(Ordering::Less, |other| other.price.cmp(&bid.price)) {
            Ordering::Less => *highest = vec![bid],
            Ordering::Equal => highest.push(bid),
            Ordering::Greater => {}
        }
    }

    fn end(&mut self, rows: &mut dyn Rows<HighestBid>) {
        let highest = std::mem::take(&mut self.0).into_values().flatten();
        highest.for_each(|bid| rows.change(Change::Insert(bid)));
    }
}
