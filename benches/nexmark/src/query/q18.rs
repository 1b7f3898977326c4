//! Query 18, find last bid: the last bid of each bidder on each auction.
//!
//! ```sql
//! SELECT auction, bidder, price, channel, url, dateTime, extra
//! FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC) AS rank_number FROM bid)
//! WHERE rank_number <= 1
//! ```
//!
//! Which of two bids of one millisecond is the last, the SQL leaves open; here it is the one that comes later in the stream.
//!
//! **Key**: bidder and auction. **State**: the last bid, as a value, for ever: it grows with the stream. **Timers**: none. A bid
//! that is later than the one before takes that one back.
use alluvium_state_api::{Context, KeyedProcess, Result, States, ValueState};
use nexmark::event::Event;

use super::bid::Bid;
use super::{Query, RowOf};
use crate::answer::{Change, Emitted, Rows};
use crate::events::Stream;
use crate::oracle;

/// See the module.
pub(crate) struct Q18;

impl Query for Q18 {
    const NAME: &'static str = "q18";
    type Process = LastBids;
    type Key = (u64, u64);
    type Stage = Emitted<Bid>;

    fn project(number: u64, event: Event) -> Option<((u64, u64), Bid)> {
        let Event::Bid(bid) = event else { return None };
        Some(((bid.bidder as u64, bid.auction as u64), Bid::new(number, bid)))
    }

    fn open(states: &States<'_>) -> Result<LastBids> {
        Ok(LastBids { last: states.value("last")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q18(stream, rows);
    }
}

/// The operator.
pub(crate) struct LastBids {
    last: ValueState<Bid>,
}

impl KeyedProcess for LastBids {
    type In = Bid;
    type Out = Change<Bid>;

    async fn process(&self, bid: Bid, pair: &Context<Self::Out>) -> Result<()> {
        if let Some(last) = self.last.get(pair).await? {
            if (bid.time, bid.number) < (last.time, last.number) {
                return Ok(());
            }
            pair.emit(Change::Retract(last));
        }
        self.last.put(pair, &bid)?;
        pair.emit(Change::Insert(bid));
        Ok(())
    }
}
