//! Query 20, expand bid with auction: every bid with its auction's columns, where the category is 10.
//!
//! ```sql
//! SELECT auction, bidder, price, channel, url, B.dateTime, B.extra,
//!        itemName, description, initialBid, reserve, A.dateTime, expires, seller, category, A.extra
//! FROM bid AS B INNER JOIN auction AS A ON B.auction = A.id WHERE A.category = 10
//! ```
//!
//! **Key**: the auction. **State**: both sides of the join, for ever, as two lists: the bids, which are appended without being
//! read, and the auctions of the category, of which a key has at most one. It grows with the stream. **Timers**: none. A bid
//! reads the auctions, an auction reads the bids that came before it.
//!
//! Auctions of other categories do not leave the source, as a planner sees to it; their bids wait in vain.
use alluvium_state_api::{Context, KeyedProcess, ListState, Result, States, codec_by_serde};
use nexmark::event::Event;
use serde::{Deserialize, Serialize};

use super::bid::Bid;
use super::{Query, RowOf};
use crate::answer::{Change, Emitted, Rows};
use crate::events::Stream;
use crate::oracle;

/// The category whose auctions count.
pub(crate) const CATEGORY: u64 = 10;

/// An auction with all its columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Auction {
    pub(crate) id: u64,
    pub(crate) item_name: String,
    pub(crate) description: String,
    pub(crate) initial_bid: u64,
    pub(crate) reserve: u64,
    pub(crate) time: i64,
    pub(crate) expires: i64,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: String,
}
codec_by_serde!(Auction, id = "nexmark auction");

impl Auction {
    pub(crate) fn new(auction: nexmark::event::Auction) -> Self {
        Self {
            id: auction.id as u64,
            item_name: auction.item_name,
            description: auction.description,
            initial_bid: auction.initial_bid as u64,
            reserve: auction.reserve as u64,
            time: auction.date_time.cast_signed(),
            expires: auction.expires.cast_signed(),
            seller: auction.seller as u64,
            category: auction.category as u64,
            extra: auction.extra,
        }
    }
}

/// A record of either side.
#[derive(Serialize, Deserialize)]
pub(crate) enum Side {
    Bid(Bid),
    Auction(Auction),
}
codec_by_serde!(Side, id = "q20 side");

/// See the module.
pub(crate) struct Q20;

impl Query for Q20 {
    const NAME: &'static str = "q20";
    type Process = Join;
    type Key = u64;
    type Stage = Emitted<(Bid, Auction)>;

    fn project(number: u64, event: Event) -> Option<(u64, Side)> {
        match event {
            Event::Bid(bid) => Some((bid.auction as u64, Side::Bid(Bid::new(number, bid)))),
            Event::Auction(auction) if auction.category as u64 == CATEGORY => {
                Some((auction.id as u64, Side::Auction(Auction::new(auction))))
            }
            _ => None,
        }
    }

    fn open(states: &States<'_>) -> Result<Join> {
        Ok(Join { bids: states.list("bids")?, auctions: states.list("auctions")? })
    }

    fn expected(stream: Stream, rows: &mut dyn Rows<RowOf<Self>>) {
        oracle::q20(stream, rows);
    }
}

/// The operator.
pub(crate) struct Join {
    bids: ListState<Bid>,
    auctions: ListState<Auction>,
}

impl KeyedProcess for Join {
    type In = Side;
    type Out = Change<(Bid, Auction)>;

    async fn process(&self, side: Side, auction: &Context<Self::Out>) -> Result<()> {
        match side {
            Side::Bid(bid) => {
                for sold in self.auctions.get(auction).await? {
                    auction.emit(Change::Insert((bid.clone(), sold)));
                }
                self.bids.add(auction, &bid)
            }
            Side::Auction(sold) => {
                for bid in self.bids.get(auction).await? {
                    auction.emit(Change::Insert((bid, sold.clone())));
                }
                self.auctions.add(auction, &sold)
            }
        }
    }
}
