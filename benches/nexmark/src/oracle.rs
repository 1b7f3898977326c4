//! The answers, computed in plain memory: all events are looked at at once, nothing is windowed, timed or updated. Shares with
//! the operators the types of rows and nothing else.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use nexmark::event::{Bid, Event};

use crate::answer::{Change, Rows};
use crate::events::Stream;
use crate::query::bid::Bid as FullBid;
use crate::query::{q5, q7, q8, q11, q19, q20};

fn bids(stream: Stream) -> impl Iterator<Item = (u64, Bid)> {
    stream.all().filter_map(|(number, event)| match event {
        Event::Bid(bid) => Some((number, bid)),
        _ => None,
    })
}

fn insert<T>(rows: &mut dyn Rows<T>, inserted: impl IntoIterator<Item = T>) {
    inserted.into_iter().for_each(|row| rows.change(Change::Insert(row)));
}

pub(crate) fn q5(stream: Stream, rows: &mut dyn Rows<q5::HotItem>) {
    let mut windows: BTreeMap<i64, BTreeMap<u64, u64>> = BTreeMap::new();
    for (_, bid) in bids(stream) {
        let slice = bid.date_time.cast_signed().div_euclid(q5::SLIDE);
        for end in slice + 1..=slice + q5::OVERLAP {
            *windows.entry(end * q5::SLIDE).or_default().entry(bid.auction as u64).or_default() += 1;
        }
    }
    for (end, counts) in windows {
        let most = counts.values().copied().max();
        let hot = counts.into_iter().filter(|(_, bids)| Some(*bids) == most);
        insert(rows, hot.map(|(auction, bids)| q5::HotItem { end, auction, bids }));
    }
}

pub(crate) fn q7(stream: Stream, rows: &mut dyn Rows<q7::HighestBid>) {
    let mut windows: BTreeMap<i64, Vec<q7::HighestBid>> = BTreeMap::new();
    for (_, bid) in bids(stream) {
        let (time, extra) = (bid.date_time.cast_signed(), bid.extra);
        let [auction, bidder, price] = [bid.auction, bid.bidder, bid.price].map(|number| number as u64);
        let window = windows.entry(time.div_euclid(q7::WINDOW)).or_default();
        // Only bids that may still be the highest, since this is computed for very long streams too.
        window.retain(|other| other.price >= price);
        if window.iter().all(|other| other.price == price) {
            window.push(q7::HighestBid { auction, bidder, price, time, extra });
        }
    }
    insert(rows, windows.into_values().flatten());
}

pub(crate) fn q8(stream: Stream, rows: &mut dyn Rows<q8::NewSeller>) {
    let window = |millis: u64| millis.cast_signed().div_euclid(q8::WINDOW) * q8::WINDOW;
    let (mut entered, mut sold) = (BTreeMap::new(), BTreeSet::new());
    for (_, event) in stream.all() {
        match event {
            Event::Person(person) => {
                entered.insert((person.id as u64, window(person.date_time)), person.name);
            }
            Event::Auction(auction) => {
                sold.insert((auction.seller as u64, window(auction.date_time)));
            }
            Event::Bid(_) => {}
        }
    }
    let both = entered.into_iter().filter(|(entry, _)| sold.contains(entry));
    insert(rows, both.map(|((id, start), name)| q8::NewSeller { id, name, start }));
}

pub(crate) fn q11(stream: Stream, rows: &mut dyn Rows<q11::Session>) {
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (_, bid) in bids(stream) {
        times.entry(bid.bidder as u64).or_default().push(bid.date_time.cast_signed());
    }
    for (bidder, mut times) in times {
        times.sort_unstable();
        for session in times.chunk_by(|one, next| next - one <= q11::GAP) {
            let (Some(start), Some(last)) = (session.first(), session.last()) else { continue };
            let (start, end) = (*start, last + q11::GAP);
            insert(rows, [q11::Session { bidder, bids: session.len() as u64, start, end }]);
        }
    }
}

pub(crate) fn q18(stream: Stream, rows: &mut dyn Rows<FullBid>) {
    // Later events are never of an earlier time.
    let last: BTreeMap<_, _> =
        bids(stream).map(|(number, bid)| ((bid.bidder, bid.auction), FullBid::new(number, bid))).collect();
    insert(rows, last.into_values());
}

pub(crate) fn q19(stream: Stream, rows: &mut dyn Rows<q19::Ranked>) {
    let mut auctions: BTreeMap<usize, Vec<FullBid>> = BTreeMap::new();
    for (number, bid) in bids(stream) {
        let top = auctions.entry(bid.auction).or_default();
        top.push(FullBid::new(number, bid));
        // The earlier of two equal ones stays in front.
        top.sort_by_key(|bid| Reverse(bid.price));
        top.truncate(q19::RANKS);
    }
    for top in auctions.into_values() {
        insert(rows, top.into_iter().zip(1..));
    }
}

pub(crate) fn q20(stream: Stream, rows: &mut dyn Rows<(FullBid, q20::Auction)>) {
    let auctions = stream.all().filter_map(|(_, event)| match event {
        Event::Auction(auction) => Some((auction.id, q20::Auction::new(auction))),
        _ => None,
    });
    let auctions: BTreeMap<_, _> =
        auctions.filter(|(_, auction)| auction.category == q20::CATEGORY).collect();
    for (number, bid) in bids(stream) {
        let sold = auctions.get(&bid.auction).cloned();
        insert(rows, sold.map(|sold| (FullBid::new(number, bid), sold)));
    }
}
