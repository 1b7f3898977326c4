//! The warm-up of a restored store: fetches what a hotness hint names, in the background, until memory is full of it.
//!
//! ```text
//!  restored ─► first record done ─► hint read, portions planned ─► a few portions at a time ─► over
//!                                                     ▲ hottest first           │ blocks
//!                                                     └──────── next ◄── cache ◄┘
//! ```
//!
//! **Invariants**: no block leaves memory for one that it brings unasked. What is under way has room in the cache, and its requests a
//! small share of the buffers; there are at most [`LANES`] of them, and one while reads that somebody waits for are many. No block
//! is read twice of a table whose index is in memory: what reads wait for already is left to them, and a read that wants what is on its
//! way waits for it.
//!
//! **Threads**: the task thread says what is next; planning and reading run on the I/O runtime.
//!
//! **Failure**: a hint that cannot be read or says what is not so, and blocks that do not come, are done without; what a read waits
//! for is fetched for it then. A store that is closed takes what is under way with it.
pub(super) mod hints;

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tracing::{Instrument as _, debug, info_span};

use super::inbox::{Event, Inbox};
use super::reads::Part;
use super::reads::walk::{Need, Object};
use super::{Answered, Store};
use crate::block::Block;
use crate::fetch::Fetcher;
use crate::hint::{Heat, HotRun, Portion, decode, plan, point_at};
use crate::table::FileId;
use crate::version::Version;
use hints::StoredHint;

/// Portions under way.
const LANES: usize = 4;
/// What a portion spans, in parts of the store's memory: with all lanes taken one part in 32.
const SPAN_SHARE: u64 = 128;
/// From there on the time that bytes take hides the request's.
const MAX_SPAN_BYTES: u64 = 1 << 20;
/// What decoding may bring beside a block's bytes: its lookup, and its account.
const BLOCK_OVERHEAD_BYTES: u64 = 256;
/// Portions that are looked at in one go, of which nothing is missing or the table has gone.
const MOST_SKIPPED: usize = 64;
/// Memory is full when less than one part in so many is free.
const FULL_SHARE: usize = 64;

/// What runs ends with whoever waits for it.
pub(super) struct UnderWay(pub(super) JoinHandle<()>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Blocks of a portion that came.
pub(super) struct Warmed {
    lane: usize,
    blocks: Vec<(u32, Block)>,
}

/// Where a store is with it.
#[derive(Default)]
pub(super) enum WarmUp {
    /// Nothing to do, or nothing left.
    #[default]
    Over,
    /// It waits for the first record.
    Awaiting,
    /// The hint is being read.
    Planning {
        _task: UnderWay,
    },
    Going(Box<Going>),
}

/// Portions to fetch, and those that are being fetched.
#[derive(Default)]
pub(super) struct Going {
    portions: VecDeque<Portion>,
    lanes: [Option<Lane>; LANES],
    blocks: u64,
}

pub(super) struct Lane {
    _task: UnderWay,
    id: FileId,
    runs: Arc<[HotRun]>,
    /// What its blocks will take of the cache.
    bytes: u64,
    /// Blocks of it that reads wait for.
    joined: Vec<Need>,
}

impl Lane {
    /// The heat of a block, if it is on its way.
    fn heat_of(&self, block: u32) -> Option<Heat> {
        let run = self.runs.get(self.runs.partition_point(|run| run.end() <= block))?;
        (run.first <= block).then_some(run.heat)
    }

    /// Whether a read may wait for this one. While the tail is being read as well, its block would be a round trip later than by
    /// itself.
    fn brings(&self, need: &Need) -> bool {
        let Object::Table(file) = &need.object else { return false };
        self.id == file.id && !need.leads && file.whole().is_some() && self.heat_of(need.part).is_some()
    }
}

impl WarmUp {
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }

    /// Goes on with the tables of this version: they may have other tails.
    pub(super) fn point_at(&mut self, version: &Version) {
        if let Self::Going(going) = self {
            point_at(version, going.portions.iter_mut());
        }
    }

    /// Has reads wait for what is on its way; returns what is not.
    #[inline]
    pub(super) fn join(&mut self, needs: Vec<Need>) -> Vec<Need> {
        match self {
            Self::Going(going) => going.join(needs),
            Self::Over | Self::Awaiting | Self::Planning { .. } => needs,
        }
    }
}

impl Going {
    fn join(&mut self, mut needs: Vec<Need>) -> Vec<Need> {
        for lane in self.lanes.iter_mut().flatten() {
            let mut joined: Vec<_> = needs.extract_if(.., |need| lane.brings(need)).collect();
            lane.joined.append(&mut joined);
        }
        needs
    }
}

/// Reads hints and says what to fetch.
async fn planned(
    fetcher: &Fetcher,
    hints: Vec<StoredHint>,
    plan_of: impl Fn(&[u8]) -> Vec<Portion>,
) -> Vec<Portion> {
    let reads = hints.iter().map(|hint| async move {
        let range = hint.record().range()?;
        let read = fetcher.read_range(hint.place.object.name(), range).await;
        read.inspect_err(|error| debug!(%error, "goes on without a hotness hint")).ok()
    });
    let read = join_all(reads).await;
    // What is hottest of each former subtask comes before what is less so of any: portions of several are in turn.
    let mut plans: Vec<_> = read.iter().flatten().map(|bytes| plan_of(bytes).into_iter()).collect();
    let mut all = Vec::new();
    while !plans.is_empty() {
        plans.retain_mut(|plan| {
            plan.next().is_some_and(|portion| {
                all.push(portion);
                true
            })
        });
    }
    all
}

impl Store {
    /// Begins it, or goes on with it.
    #[inline]
    pub(super) fn warm_up(&mut self) {
        match self.warming {
            WarmUp::Over | WarmUp::Planning { .. } => {}
            WarmUp::Awaiting => self.begin_warm_up(),
            WarmUp::Going(_) => self.fill_lanes(),
        }
    }

    /// What comes up behind the first record does not delay it.
    fn begin_warm_up(&mut self) {
        let has_served = self.writes > 0 || self.counters.has_answered(self.reads_under_way() as u64);
        if !has_served {
            return;
        }
        let (fetcher, inbox) = (Arc::clone(&self.fetcher), Arc::clone(&self.inbox));
        let (hints, version) = (self.hints.kept().to_vec(), Arc::clone(&self.version));
        let block_bytes = self.settings.block_size_bytes as u64;
        let span_bytes = (self.settings.memory_bytes / SPAN_SHARE).min(MAX_SPAN_BYTES);
        let span_blocks = u32::try_from(span_bytes / block_bytes).unwrap_or(u32::MAX);
        let most_blocks = self.cache.capacity_bytes() as u64 / block_bytes;
        let planning = async move {
            let plan_of = |bytes: &[u8]| match decode(bytes) {
                Ok(tables) => plan(&tables, &version, span_blocks, most_blocks),
                Err(error) => {
                    debug!(%error, "goes on without a hotness hint");
                    Vec::new()
                }
            };
            inbox.push(Event::Planned(planned(&fetcher, hints, plan_of).await));
        };
        let task = self.fetcher.io().spawn(planning.instrument(info_span!("warm_up")));
        self.warming = WarmUp::Planning { _task: UnderWay(task) };
    }

    pub(super) fn take_planned(&mut self, portions: Vec<Portion>) {
        debug!(portions = portions.len(), "warms up");
        self.warming = WarmUp::Going(Box::new(Going { portions: portions.into(), ..Going::default() }));
        self.warming.point_at(&self.version);
    }

    /// Has portions fetched as long as there is room for them.
    fn fill_lanes(&mut self) {
        let WarmUp::Going(mut going) = std::mem::take(&mut self.warming) else { return };
        let under_way = |going: &Going| going.lanes.iter().flatten().count();
        let most = if self.fetcher.is_busy() { 1 } else { LANES };
        while under_way(&going) < most
            && let Some(portion) = self.next_portion(&mut going)
        {
            self.fetch_portion(&mut going, portion);
        }
        if under_way(&going) == 0 && going.portions.is_empty() {
            debug!(blocks = going.blocks, "is as warm as it was");
            return;
        }
        self.warming = WarmUp::Going(going);
    }

    /// The next portion of which something is missing, as far as it has room; none if memory is full.
    fn next_portion(&self, going: &mut Going) -> Option<Portion> {
        let taken: u64 = going.lanes.iter().flatten().map(|lane| lane.bytes).sum();
        let free = (self.cache.free_bytes() as u64).saturating_sub(taken);
        if free < (self.budget.resident_bytes / FULL_SHARE) as u64 {
            if taken == 0 {
                going.portions.clear();
            }
            return None;
        }
        for _ in 0..MOST_SKIPPED {
            let mut portion = going.portions.pop_front()?;
            let id = portion.id;
            let is_missing =
                |block| self.cache.peek(id, block).is_none() && !self.reads.is_fetched(id, block);
            portion.keep(free / self.block_bytes(), is_missing);
            if portion.file.strong_count() > 0 && !portion.runs.is_empty() {
                return Some(portion);
            }
        }
        // The task has other things to do as well.
        self.inbox.ring();
        None
    }

    /// What a block takes in memory, about.
    fn block_bytes(&self) -> u64 {
        self.settings.block_size_bytes as u64 + BLOCK_OVERHEAD_BYTES
    }

    fn fetch_portion(&self, going: &mut Going, portion: Portion) {
        let free = going.lanes.iter_mut().enumerate().find(|(_, lane)| lane.is_none());
        let (Some((lane, place)), Some(file)) = (free, portion.file.upgrade()) else { return };
        let bytes = portion.blocks() * self.block_bytes();
        let (fetcher, inbox): (_, Arc<Inbox>) = (Arc::clone(&self.fetcher), Arc::clone(&self.inbox));
        let (id, runs): (_, Arc<[HotRun]>) = (portion.id, portion.runs.into());
        let wanted = Arc::clone(&runs);
        let fetching = async move {
            let blocks = fetcher.warm(&file, &wanted).await.unwrap_or_else(|error| {
                debug!(%error, table = file.name(), "goes on without some blocks");
                Vec::new()
            });
            drop(file);
            inbox.push(Event::Warmed(Warmed { lane, blocks }));
        };
        let task = UnderWay(self.fetcher.io().spawn(fetching));
        *place = Some(Lane { _task: task, id, runs, bytes, joined: Vec::new() });
    }

    /// Keeps what came, as far as there is room, and lets the reads that wait for it go on.
    pub(super) fn take_warmed(&mut self, Warmed { lane, blocks }: Warmed, answered: &mut Answered<'_>) {
        let WarmUp::Going(going) = &mut self.warming else { return };
        let Some(mut lane) = going.lanes.get_mut(lane).and_then(Option::take) else { return };
        let (mut needs, mut joined) = (Vec::new(), std::mem::take(&mut lane.joined));
        for (number, block) in blocks {
            let waiting = joined.iter().position(|need| need.part == number);
            self.keep_warmed(&lane, (number, &block), waiting.is_some());
            if let Some(waiting) = waiting {
                joined.swap_remove(waiting);
                self.hand_out(
                    (lane.id, number),
                    Ok(Part::Block(lane.id, number, &block)),
                    &mut needs,
                    answered,
                );
            }
        }
        if let WarmUp::Going(going) = &mut self.warming {
            going.blocks = self.counters.warmed;
        }
        // What did not come is fetched for those who wait for it, and they are told if it cannot be.
        needs.append(&mut joined);
        self.fetch(needs);
    }

    /// Nothing leaves memory for a block that nobody waits for: what was asked for meanwhile goes first.
    fn keep_warmed(&mut self, lane: &Lane, (number, block): (u32, &Block), is_waited_for: bool) {
        let takes = block.size_bytes() + BLOCK_OVERHEAD_BYTES as usize;
        if !is_waited_for && takes > self.cache.free_bytes() {
            return;
        }
        self.counters.warmed += 1;
        let is_warm = lane.heat_of(number).is_some_and(|heat| heat > Heat::Seen);
        self.keep_fetched(lane.id, number, block.clone(), is_warm);
    }
}
