//! What of the tails of live tables is in memory: all of them while they take less than their share, else less of the bottom run's.
//!
//! What is given up first is what is missed least. The bottom run has nearly all keys, so most of what is asked of it is there and
//! its filters deny little: they go first, and all of them once reads have shown that they find their keys (`worth.rs`). Where
//! reads find nothing, indexes go before its filters, and filters that were given up are read again as far as there is room. Last
//! come indexes and filters of what is above it, a tenth of all, whose filters spare each read a request a run.
//!
//! **Invariants**: a tail that has been made slim stays so until its table is rewritten, and one that a pass reads where there is no
//! room is kept slim at once. A read that has waited for a whole tail goes on with that. Filters return up to what tails are cut
//! down to, so that they are not cut again.
mod account;
mod worth;

use std::sync::Arc;

use alluvium_env::HashMap;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tracing::{Instrument as _, debug, debug_span};

pub(super) use worth::Lookups;

use super::Store;
use super::inbox::{Event, Inbox};
use super::warm_up::UnderWay;
use crate::table::{FileId, Filter, TableFile, Tail};
use account::{Account, Count};
use worth::{FilterWorth, Worth};

/// Filters that are read again together.
const FILTERS_AT_ONCE: usize = 64;

/// Of what blocks and tails share.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// What tails may take.
    most: usize,
    /// What they are cut down to if they take more.
    left: usize,
}

impl Share {
    /// Half where reads find their keys. Where filters deny, a byte of them spares some hundred times the reads that a byte of blocks
    /// does: an eighth is left for what is read again and again.
    fn of(worth: Worth, resident_bytes: usize) -> Self {
        let eighth = resident_bytes / 8;
        let (most, left) = if worth == Worth::Much { (7, 6) } else { (4, 3) };
        Self { most: most * eighth, left: left * eighth }
    }

    fn at_most(self, bytes: usize) -> Self {
        Self { most: self.most.min(bytes), left: self.left.min(bytes) }
    }
}

/// What a store knows of its tails together.
#[derive(Default)]
pub(super) struct Tails {
    /// Behind this key the next ones are made slim.
    hand: Vec<u8>,
    account: Account,
    worth: FilterWorth,
    /// How many of the bottom run's filters there is room for, as [`FilterWorth::judge`] takes it.
    fit: u64,
    /// Filters on their way back.
    returning: Option<UnderWay>,
}

/// What is given up of a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Index,
    Filter,
    Both,
}

impl Step {
    /// What is left of a tail; `None` if it has nothing of that to give.
    fn apply(self, tail: &Tail) -> Option<Tail> {
        match (self, tail) {
            (Self::Index, Tail::Whole(tail)) => Tail::slim(tail, true),
            (Self::Both, Tail::Whole(tail)) if tail.top.parts() > 0 => Tail::slim(tail, false),
            (Self::Filter | Self::Both, tail) if tail.filter().is_some() => {
                Some(tail.with_filter(Filter::default()))
            }
            _ => None,
        }
    }
}

/// Which tails take a step, those of the bottom run or the others, and until all tails take how much.
type Cut = (bool, Step, usize);

/// What to give up, in this order.
fn cuts(count: &Count, worth: Worth, share: Share) -> Vec<Cut> {
    let Share { most, left: least } = share;
    let left = if count.bytes > most { least } else { usize::MAX };
    let (bottom, above) = (true, false);
    let mut cuts = match worth {
        // Its indexes do not fit anyway: by the block they take half the room, and what is read of them stays.
        Worth::Little if count.indexes_outgrow(most) => vec![(bottom, Step::Both, 0)],
        Worth::Little if count.stored_bytes > most as u64 => {
            vec![(bottom, Step::Filter, 0), (bottom, Step::Index, left)]
        }
        Worth::Unknown | Worth::Little => vec![(bottom, Step::Filter, left), (bottom, Step::Index, left)],
        // No index is asked for what a filter denies.
        Worth::Much => {
            let returning = if count.lacking_bytes == 0 { left } else { least };
            let room = returning.saturating_sub(count.lacking_bytes);
            vec![(bottom, Step::Index, room), (above, Step::Index, room), (bottom, Step::Filter, left)]
        }
    };
    cuts.extend([(above, Step::Index, left), (above, Step::Filter, left)]);
    cuts
}

impl Store {
    /// Gives the blocks what the tails of live tables leave of the budget, and makes tails slim that leave too little.
    pub(super) fn account_tails(&mut self) {
        // They are counted with the others.
        self.fetcher.take_kept_tails();
        let (count, worth) = (Count::of(&self.version), self.tails.worth.get());
        let share = self.share_of_tails();
        self.tails.fit = count.fit(Share::of(Worth::Much, self.budget.resident_bytes).left);
        let bytes = self.cut_tails(count.bytes, cuts(&count, worth, share));
        // Where it is enough to give up filters, a tail comes whole, and the next account takes its filter.
        let slim = worth == Worth::Much || count.indexes_outgrow(share.most);
        let slim = slim && count.stored_bytes > share.most as u64;
        self.fetcher.keep_tails(slim, worth == Worth::Much, share.most.saturating_sub(bytes));
        self.tails.account.counted(bytes);
        self.cache.make_room(bytes);
        self.return_filters(share.left.saturating_sub(bytes));
    }

    /// What a job may borrow until it ends without any tail having to leave for it: what the most that tails may take and the least
    /// that blocks have leave.
    pub(super) fn lendable_bytes(&self) -> usize {
        let most = Share::of(self.tails.worth.get(), self.budget.resident_bytes).most;
        self.beside_least_blocks().saturating_sub(most)
    }

    /// If filters come to be worth more while a job has borrowed something they wait for its end.
    fn share_of_tails(&self) -> Share {
        let unlent = self.beside_least_blocks().saturating_sub(self.jobs.borrowed_bytes);
        Share::of(self.tails.worth.get(), self.budget.resident_bytes).at_most(unlent)
    }

    /// What the least that blocks have leaves.
    fn beside_least_blocks(&self) -> usize {
        self.budget.resident_bytes - self.budget.resident_bytes / 8
    }

    /// Accounts for tails that have arrived, and at times for all of them.
    pub(super) fn account_arrived(&mut self, bytes: usize) {
        let resident_bytes = self.budget.resident_bytes;
        let most = self.share_of_tails().most;
        if self.tails.account.arrived(bytes, most, resident_bytes) {
            self.account_tails();
        } else {
            self.cache.make_room(self.tails.account.bytes());
        }
    }

    /// Accounts for tails that jobs, scans and warm-ups have kept.
    pub(super) fn account_kept(&mut self) {
        let bytes = self.fetcher.take_kept_tails();
        if bytes > 0 {
            self.account_arrived(bytes);
        }
    }

    /// Looks, once a batch, whether reads say something else of the bottom run's filters than they did.
    pub(super) fn weigh_filters(&mut self) {
        if self.tails.worth.judge(self.counters.lookups(), self.tails.fit) {
            debug!(worth = ?self.tails.worth.get(), "judges the bottom run's filters");
            self.account_tails();
        }
    }

    /// Makes cuts; returns what tails take then.
    fn cut_tails(&mut self, mut bytes: usize, cuts: Vec<Cut>) -> usize {
        let mut slim = HashMap::default();
        for (bottom, step, most) in cuts {
            if bytes > most {
                bytes = self.give_up(bottom, step, (bytes, most), &mut slim);
            }
        }
        if !slim.is_empty() {
            self.replace_tails(&slim);
        }
        bytes
    }

    fn replace_tails(&mut self, tails: &HashMap<FileId, Tail>) {
        self.version = Arc::new(self.version.with_tails(tails));
        self.warming.point_at(&self.version);
    }

    /// Takes one step with the tables of the bottom run, or with the others, in the order of their keys, from where it was left.
    fn give_up(
        &mut self,
        bottom: bool,
        step: Step,
        (mut bytes, most): (usize, usize),
        slim: &mut HashMap<FileId, Tail>,
    ) -> usize {
        let runs = self.version.runs_from_top().filter(|(_, is_bottom)| *is_bottom == bottom);
        let mut files: Vec<&Arc<TableFile>> = runs.flat_map(|(run, _)| run).collect();
        files.sort_by(|a, b| a.keys().start.cmp(&b.keys().start));
        let next = files.partition_point(|file| file.keys().start <= self.tails.hand);
        files.rotate_left(next);
        let mut hand = None;
        for file in files {
            if bytes <= most {
                break;
            }
            let slimmer = slim.get(&file.id).or(file.tail()).and_then(|tail| {
                let slimmer = step.apply(tail)?;
                bytes = (bytes + slimmer.size_bytes()).saturating_sub(tail.size_bytes());
                Some(slimmer)
            });
            let Some(slimmer) = slimmer else { continue };
            if self.fetcher.has_disk() {
                // Its copy there is read by them.
                file.offsets();
            }
            slim.insert(file.id, slimmer);
            hand = Some(file.keys().start.clone());
        }
        if let Some(hand) = hand {
            self.tails.hand = hand;
        }
        bytes
    }

    /// Reads filters again that were given up and are missed, as far as there is room: of the bottom run where they are worth much,
    /// of a run above it wherever one lacks.
    fn return_filters(&mut self, mut room: usize) {
        if self.tails.returning.is_some() {
            return;
        }
        let bottom_too = self.tails.worth.get() == Worth::Much;
        let mut files: Vec<Arc<TableFile>> = Vec::new();
        let runs = self.version.runs_from_top().filter(|(_, is_bottom)| bottom_too || !is_bottom);
        for file in runs.flat_map(|(run, _)| run).filter(|file| file.lacks_filter()) {
            let (bytes, known) = (file.filter_bytes(), files.iter().any(|other| other.id == file.id));
            if files.len() < FILTERS_AT_ONCE && bytes <= room && !known {
                room -= bytes;
                files.push(Arc::clone(file));
            }
        }
        if files.is_empty() {
            return;
        }
        let span = debug_span!("return_filters", tables = files.len());
        let (fetcher, inbox): (_, Arc<Inbox>) = (Arc::clone(&self.fetcher), Arc::clone(&self.inbox));
        let reading = async move {
            let read = async |file: Arc<TableFile>| match fetcher.filter(&file).await {
                Ok(filter) => Some((file.id, filter)),
                Err(error) => {
                    debug!(%error, table = file.name(), "goes on without a filter");
                    None
                }
            };
            let came = files.into_iter().map(read).collect::<FuturesUnordered<_>>();
            inbox.push(Event::Filters(came.filter_map(async |came| came).collect().await));
        };
        self.tails.returning = Some(UnderWay(self.fetcher.io().spawn(reading.instrument(span))));
    }

    /// Keeps filters that were read again; those that could not be are left until tails are accounted for the next time.
    pub(super) fn take_filters(&mut self, filters: Vec<(FileId, Filter)>) {
        self.tails.returning = None;
        let deny = filters.into_iter().filter(|(_, filter)| filter.is_some());
        let mut filters: HashMap<FileId, Filter> = deny.collect();
        let with = |(_, file): (_, &Arc<TableFile>)| {
            let tail = file.tail()?;
            Some((file.id, tail.with_filter(filters.remove(&file.id)?)))
        };
        let tails: HashMap<FileId, Tail> = self.version.files().filter_map(with).collect();
        if !tails.is_empty() {
            self.replace_tails(&tails);
            self.account_tails();
        }
    }
}
