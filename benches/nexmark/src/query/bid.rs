//! A bid with all its columns, as the queries keep it that hand it on.
use alluvium_state_api::codec_by_serde;
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Bid {
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    pub(crate) price: u64,
    pub(crate) channel: String,
    pub(crate) url: String,
    pub(crate) time: i64,
    pub(crate) extra: String,
    /// Its place in the stream: which of two bids came first where their times do not tell.
    pub(crate) number: u64,
}
codec_by_serde!(Bid, id = "nexmark bid");

impl Bid {
    pub(crate) fn new(number: u64, bid: nexmark::event::Bid) -> Self {
        Self {
            auction: bid.auction as u64,
            bidder: bid.bidder as u64,
            price: bid.price as u64,
            channel: bid.channel,
            url: bid.url,
            time: bid.date_time.cast_signed(),
            extra: bid.extra,
            number,
        }
    }
}
