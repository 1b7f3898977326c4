//! Query 19, auction top-10 price: the ten highest bids of each auction, with their ranks.
//!
//! ```sql
//! SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid)
//! WHERE rank_number <= 10
//! ```
//!
//! Which of two bids of one price ranks higher, the SQL leaves open; here it is the earlier one.
//!
//! **Key**: the auction. **State**: the ten bids, as entries of a map whose order is the ranks; and, apart from it, the place of
//! the tenth. Most bids are below that one: they read it, and neither the map nor anything larger. **Timers**: none. A bid that
//! gets in moves those below it: each is taken back with its old rank and comes with its new one, as in Flink.
use alluvium_state_api::{Context, KeyedProcess, MapState, Result, States, ValueState};
use nexmark::event::Event;

use super::bid::Bid;
use super::{Query, RowOf};
use crate::answer::{Change, Emitted, Rows};
use crate::events::Stream;
use crate::oracle;

/// How many ranks there are.
pub(crate) const RANKS: usize = 10;

/// What bids are ranked by: the price upside down, the time, and what tells two of one millisecond apart.
type Place = (u64, i64, u64);

/// A bid and its rank, from 1.
pub(crate) type Ranked = (Bid, usize);

/// See the module.
pub(crate) struct Q19;

impl Query for Q19 {
    const NAME: &'static str = "q19";
    type Process = TopBids;
    type Key = u64;
    type Stage = Emitted<Ranked>;

    fn project(number: u64, event: Event) -> Option<(u64, Bid)> {
        let Event::Bid(bid) = event else { return None };
        Some((bid.auction as u64, Bid::new(number, bid)))
    }

    fn open(states: &States<'_>) -> Result<TopBids> {
        Ok(TopBids { top: states.map("top")?, tenth: states.value("tenth")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q19(stream, rows);
    }
}

/// The operator.
pub(crate) struct TopBids {
    top: MapState<Place, Bid>,
    /// Nothing until there are ten.
    tenth: ValueState<Place>,
}

impl KeyedProcess for TopBids {
    type In = Bid;
    type Out = Change<Ranked>;

    async fn process(&self, bid: Bid, auction: &Context<Self::Out>) -> Result<()> {
        let place = (u64::MAX - bid.price, bid.time, bid.number);
        if self.tenth.get(auction).await?.is_some_and(|tenth| tenth < place) {
            return Ok(());
        }
        let (mut above, mut below) = (0, Vec::new());
        let mut last = place;
        let mut top = self.top.entries(auction);
        while let Some((other, ranked)) = top.next().await? {
            if other < place {
                above += 1;
            } else if above + 1 + below.len() == RANKS {
                // It was the tenth.
                self.top.remove(auction, &other)?;
                auction.emit(Change::Retract((ranked, RANKS)));
                break;
            } else {
                last = other;
                below.push(ranked);
            }
        }
        self.top.put(auction, &place, &bid)?;
        if above + 1 + below.len() == RANKS {
            self.tenth.put(auction, &last)?;
        }
        auction.emit(Change::Insert((bid, above + 1)));
        for (rank, ranked) in (above + 1..).zip(below) {
            auction.emit(Change::Retract((ranked.clone(), rank)));
            auction.emit(Change::Insert((ranked, rank + 1)));
        }
        Ok(())
    }
}
