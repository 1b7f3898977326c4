//! Batched reads: planned on the task thread, fetched on the I/O runtime or, from near, by whoever has time, answered in one hand-off (FLIP-426).
//!
//! A batch is sorted by key, so the walk goes through filters and indexes in their order. A part that is being
//! fetched is not fetched again: later reads wait for it too.
pub(crate) mod pages;
mod prefetch;
pub(crate) mod walk;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use alluvium_env::{Error, HashMap, Result};
use hashbrown::hash_map::Entry;

use super::inbox::{Event, Inbox};
use super::{Answered, Resident, Store};
use crate::block::Block;
use crate::entry::EntryKind;
use crate::fetch::{FetchParts, FetchRequest, Fetched, FetchedPart, ValueRequest, Wanted};
use crate::table::{FileId, Tail, filter_hash, head};
use pages::{Page, PageQuery, PageRead, Paged};
use walk::{Got, GotBlock, GotTail, Need, Object, TAIL};

#[cfg(benching)]
mod benching;

/// What a read asks for.
enum Query {
    Key(Box<[u8]>),
    Page(Box<PageRead>),
}

/// What a read found.
enum Found<'a> {
    Value(Cow<'a, [u8]>),
    Absent,
    Page(Page),
    /// Parts are missing; of a page nothing is left before the key, if there is one.
    Miss(Vec<u8>),
}

impl Found<'_> {
    fn into_owned(self) -> Found<'static> {
        match self {
            Self::Value(value) => Found::Value(Cow::Owned(value.into_owned())),
            Self::Absent => Found::Absent,
            Self::Page(page) => Found::Page(page),
            Self::Miss(passed) => Found::Miss(passed),
        }
    }

    fn answer(&self) -> Answer<'_> {
        match self {
            Self::Value(value) => Answer::Value(value),
            Self::Page(page) => Answer::Page(page),
            Self::Absent | Self::Miss(_) => Answer::Absent,
        }
    }
}

/// The answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The key's value.
    Value(&'a [u8]),
    /// The key has no value.
    Absent,
    /// The page that was asked for.
    Page(&'a Page),
}

impl<'a> Answer<'a> {
    /// The value, if there is one.
    pub fn value(self) -> Option<&'a [u8]> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Page(_) => None,
        }
    }
}

/// A read that waits for parts.
struct Waiting {
    token: u64,
    query: Query,
    got: Vec<GotBlock>,
    /// Tails that it waited for: they may be slim by the time that it has all of them.
    tails: Vec<GotTail>,
    missing: u32,
    failed: Option<Error>,
    /// Whether the one block it waits for ends the walk, if it has the key.
    decisive: bool,
    /// The newest of several blocks that might hold the key: whether it does, shows what the others are.
    newest: Option<(FileId, u32)>,
}

impl Waiting {
    fn new(token: u64, query: Query) -> Self {
        let (got, tails) = (Vec::new(), Vec::new());
        Self { token, query, got, tails, missing: 0, failed: None, decisive: false, newest: None }
    }

    /// Nothing is left of a page before a key, if there is one.
    fn pass(&mut self, key: Vec<u8>) {
        if let Query::Page(read) = &mut self.query
            && !key.is_empty()
        {
            read.begin_at(key, &mut self.got);
        }
    }

    fn got(&self) -> Got<'_> {
        Got { blocks: &self.got, tails: &self.tails }
    }

    /// Whether the newest of several blocks held the key, if there were several.
    fn newest_held(&mut self) -> Option<bool> {
        let newest = self.newest.take()?;
        let Query::Key(key) = &self.query else { return None };
        let (_, _, block) = self.got.iter().find(|(file, part, _)| (*file, *part) == newest)?;
        Some(block.get(key, filter_hash(key), false).ok()?.is_some())
    }
}

/// A part that has come, or why it has not.
pub(super) type Arrived<'a> = Result<Part<'a>, &'a Error>;

#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    Block(FileId, u32, &'a Block),
    Tail(FileId, &'a Tail),
}

/// All reads under way.
#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Option<Waiting>>,
    free: Vec<u32>,
    /// Who waits for a part, the first apart from the others; a part with an entry is being fetched.
    parts: HashMap<(FileId, u32), (u32, Vec<u32>)>,
    /// Reads that memory could answer after all.
    ready: Vec<(u64, Result<Found<'static>>)>,
    /// Where filters let several blocks of a key pass: up when the newest did not hold it, down when it did.
    lies: i32,
}

/// How far [`Reads::lies`] may go, so that it can turn.
const MAX_LIES: i32 = 16;

impl Reads {
    /// Whether a key that several filters let pass is mostly in the last of them, the others being wrong: so it is where
    /// keys are written once. Then all blocks are fetched at once, which costs the same and waits once. Where keys are
    /// overwritten the newest block has the answer, and fetching the others would be for nothing.
    pub(super) fn filters_lie(&self) -> bool {
        self.lies >= 0
    }

    fn note_newest(&mut self, held: bool) {
        let step = if held { -1 } else { 1 };
        self.lies = (self.lies + step).clamp(-MAX_LIES, MAX_LIES);
    }

    fn park(&mut self, waiting: Waiting) -> u32 {
        if let Some(index) = self.free.pop() {
            if let Some(slot) = self.waiting.get_mut(index as usize) {
                *slot = Some(waiting);
            }
            return index;
        }
        self.waiting.push(Some(waiting));
        (self.waiting.len() - 1) as u32
    }

    /// Has a read wait for the parts from `planned` on, of which those stay that nobody is fetching yet.
    fn wait_for(&mut self, index: u32, to_fetch: &mut Vec<Need>, planned: usize) {
        let mut kept = planned;
        for place in planned..to_fetch.len() {
            let Some(part) = to_fetch.get(place).map(|need| (need.id(), need.part)) else { continue };
            match self.parts.entry(part) {
                Entry::Occupied(mut waiters) => waiters.get_mut().1.push(index),
                Entry::Vacant(free) => {
                    free.insert((index, Vec::new()));
                    to_fetch.swap(kept, place);
                    kept += 1;
                }
            }
        }
        to_fetch.truncate(kept);
    }

    /// Whether a part is on its way to reads.
    pub(super) fn is_fetched(&self, file: FileId, part: u32) -> bool {
        self.parts.contains_key(&(file, part))
    }

    fn unpark(&mut self, index: u32) -> Option<Waiting> {
        self.free.push(index);
        self.waiting.get_mut(index as usize).and_then(Option::take)
    }
}

impl Store {
    /// Starts reads; [`Store::poll`] answers each by its token.
    pub fn read<'k>(&mut self, batch: impl IntoIterator<Item = (u64, &'k [u8])>) {
        self.weigh_filters();
        let answered_before = self.reads.ready.len();
        let (reads, to_fetch) = self.plan_batch(batch);
        self.counters.missed_reads += (reads + answered_before - self.reads.ready.len()) as u64;
        self.begin(to_fetch);
    }

    /// Answers what memory knows and parks the rest: how many reads there are, and the parts to fetch for them.
    fn plan_batch<'k>(&mut self, batch: impl IntoIterator<Item = (u64, &'k [u8])>) -> (usize, Vec<Need>) {
        let mut batch: Vec<_> = batch.into_iter().map(|(token, key)| (head(key, 0), key, token)).collect();
        batch.sort_unstable_by_key(|(head, key, _)| (*head, *key));
        let (reads, mut to_fetch) = (batch.len(), Vec::with_capacity(batch.len()));
        for (_, key, token) in batch {
            self.plan(Waiting::new(token, Query::Key(key.into())), &mut to_fetch);
        }
        (reads, to_fetch)
    }

    /// Starts the reads of pages; [`Store::poll`] answers each by its token.
    pub fn read_pages<'k>(&mut self, batch: impl IntoIterator<Item = (u64, PageQuery<'k>)>) {
        let mut needs = Vec::new();
        for (token, query) in batch {
            self.plan(Waiting::new(token, Query::Page(Box::new(PageRead::new(query)))), &mut needs);
        }
        self.begin(needs);
    }

    fn begin(&mut self, needs: Vec<Need>) {
        self.fetch(needs);
        if !self.reads.ready.is_empty() {
            self.inbox.ring();
        }
    }

    /// Looks for what a read asks for; says which parts are missing if it is told where.
    fn find<'a>(&'a self, waiting: &'a Waiting, needs: Option<&mut Vec<Need>>) -> Result<Found<'a>> {
        match &waiting.query {
            Query::Key(key) => Ok(match self.walk(key, waiting.got(), needs)? {
                Resident::Value(value) => Found::Value(value),
                Resident::Absent => Found::Absent,
                Resident::Miss => Found::Miss(Vec::new()),
            }),
            Query::Page(read) => {
                let missing = needs.is_some().then(RefCell::default);
                let paged = self.page(read.span(), waiting.got(), missing.as_ref())?;
                if let (Some(needs), Some(missing)) = (needs, missing) {
                    needs.append(&mut missing.into_inner());
                }
                Ok(match paged {
                    Paged::Whole(page) => Found::Page(page),
                    Paged::Missing(passed) => Found::Miss(passed),
                })
            }
        }
    }

    /// Answers a read from memory, or parks it and adds the parts to fetch for it.
    fn plan(&mut self, mut waiting: Waiting, to_fetch: &mut Vec<Need>) {
        let planned = to_fetch.len();
        let found = match self.find(&waiting, Some(to_fetch)) {
            Ok(Found::Miss(_)) if to_fetch.len() == planned => {
                // Nobody would ever wake it.
                Err(Error::internal("a read misses something and does not say what"))
            }
            Ok(Found::Miss(passed)) => {
                waiting.pass(passed);
                if let Query::Page(read) = &mut waiting.query {
                    read.waits();
                }
                let needs = to_fetch.get(planned..).unwrap_or_default();
                waiting.missing = needs.len() as u32;
                waiting.decisive = match (&waiting.query, needs) {
                    (Query::Key(key), [need]) => !need.leads && self.operators.operator(key).is_none(),
                    _ => false,
                };
                let mut parts = needs.iter().filter(|need| need.newest_of_several);
                waiting.newest = parts.next().map(|need| (need.id(), need.part));
                let index = self.reads.park(waiting);
                return self.reads.wait_for(index, to_fetch, planned);
            }
            Ok(found) => Ok(found.into_owned()),
            Err(error) => Err(error),
        };
        to_fetch.truncate(planned);
        self.reads.ready.push((waiting.token, found));
    }

    /// Has parts fetched, those of a table together; but for those that a warm-up brings.
    pub(super) fn fetch(&mut self, needs: Vec<Need>) {
        let needs = self.warming.join(needs);
        if needs.is_empty() {
            return;
        }
        let (requests, values) = grouped(needs);
        let inbox: Arc<Inbox> = Arc::clone(&self.inbox);
        let done: Arc<dyn Fn(Fetched) + Send + Sync> =
            Arc::new(move |fetched| inbox.push(Event::Fetched(fetched)));
        self.fetcher.start_values(values, &done);
        if !requests.is_empty() {
            self.fetcher.start(requests, done);
            self.ring_for_help();
        }
    }

    /// Keeps what arrived and lets the reads that waited for it go on.
    pub(super) fn take_fetched(&mut self, fetched: Fetched, answered: &mut Answered<'_>) {
        self.counters.disk_hits += fetched.from_disk;
        self.counters.misses += fetched.from_store;
        let id = fetched.id;
        let mut needs = Vec::new();
        let mut tail_bytes = 0;
        for part in fetched.parts {
            let (number, outcome) = match &part {
                FetchedPart::Tail(tail) => {
                    tail_bytes += tail.as_ref().map_or(0, Tail::size_bytes);
                    (TAIL, tail.as_ref().map(|tail| Part::Tail(id, tail)))
                }
                FetchedPart::Block(number, block) | FetchedPart::Index(number, block) => {
                    if let Ok(block) = block {
                        // It leads to hundreds of blocks, which pass through the cache before it is asked for again.
                        let is_index = matches!(part, FetchedPart::Index(..));
                        self.keep_fetched(id, *number, block.clone(), is_index);
                    }
                    (*number, block.as_ref().map(|block| Part::Block(id, *number, block)))
                }
            };
            self.hand_out((id, number), outcome, &mut needs, answered);
        }
        // What was answered is gone, so there is room for more.
        drop(fetched.room);
        if tail_bytes > 0 {
            self.account_arrived(tail_bytes);
        }
        self.fetch(needs);
    }

    /// Gives a part to all who wait for it.
    pub(super) fn hand_out(
        &mut self,
        part: (FileId, u32),
        arrived: Arrived<'_>,
        needs: &mut Vec<Need>,
        answered: &mut Answered<'_>,
    ) {
        let Some((first, others)) = self.reads.parts.remove(&part) else { return };
        for index in std::iter::once(first).chain(others) {
            if !self.decide(index, arrived, answered) && self.arrived(index, arrived) {
                self.go_on(index, needs, answered);
            }
        }
    }

    /// Answers a read from the block it waited for, if that has its key: whatever is newer has been asked already, and
    /// what was written since is not older than the read.
    fn decide(&mut self, index: u32, arrived: Arrived<'_>, answered: &mut Answered<'_>) -> bool {
        let Some(Some(Waiting { token, query: Query::Key(key), decisive: true, .. })) =
            self.reads.waiting.get(index as usize)
        else {
            return false;
        };
        let Ok(Part::Block(_, _, block)) = arrived else { return false };
        match block.get(key, 0, false) {
            Ok(Some((EntryKind::Put, value))) => answered(*token, Ok(Answer::Value(value))),
            Ok(Some((EntryKind::Delete, _))) => answered(*token, Ok(Answer::Absent)),
            _ => return false,
        }
        if self.reads.unpark(index).is_some_and(|waiting| waiting.newest.is_some()) {
            self.reads.note_newest(true);
        }
        true
    }

    /// Gives a read what it waited for; `true` if that was the last.
    fn arrived(&mut self, index: u32, arrived: Arrived<'_>) -> bool {
        let Some(Some(waiting)) = self.reads.waiting.get_mut(index as usize) else { return false };
        waiting.missing -= 1;
        match arrived {
            Ok(Part::Block(file, number, block)) => waiting.got.push((file, number, block.clone())),
            Ok(Part::Tail(file, Tail::Whole(tail))) => waiting.tails.push((file, Arc::clone(tail))),
            Ok(Part::Tail(_, Tail::Slim(_))) => {}
            Err(error) => waiting.failed = Some(error.duplicate()),
        }
        waiting.missing == 0
    }

    /// A read has all it asked for: it is answered, or finds that it needs more.
    fn go_on(&mut self, index: u32, needs: &mut Vec<Need>, answered: &mut Answered<'_>) {
        let Some(mut waiting) = self.reads.unpark(index) else { return };
        if let Some(error) = waiting.failed.take() {
            return answered(waiting.token, Err(error));
        }
        if let Some(held) = waiting.newest_held() {
            self.reads.note_newest(held);
        }
        match self.find(&waiting, None) {
            Ok(Found::Miss(passed)) => {
                waiting.pass(passed);
                self.plan(waiting, needs);
            }
            Ok(found) => answered(waiting.token, Ok(found.answer())),
            Err(error) => answered(waiting.token, Err(error)),
        }
    }

    /// Answers the reads that needed no fetch.
    pub(super) fn answer_ready(&mut self, answered: &mut Answered<'_>) {
        for (token, found) in self.reads.ready.drain(..) {
            match &found {
                Ok(found) => answered(token, Ok(found.answer())),
                Err(error) => answered(token, Err(error.duplicate())),
            }
        }
    }

    /// Reads that are not answered.
    pub fn reads_under_way(&self) -> usize {
        self.reads.waiting.len() - self.reads.free.len() + self.reads.ready.len()
    }
}

/// Parts by table and by value file, ascending.
fn grouped(mut needs: Vec<Need>) -> (Vec<FetchRequest>, Vec<ValueRequest>) {
    needs.sort_unstable_by_key(|need| (need.id(), need.part));
    let mut needs = needs.into_iter().peekable();
    let (mut requests, mut values) = (Vec::new(), Vec::new());
    while let Some(first) = needs.next() {
        let id = first.id();
        let others = std::iter::from_fn(|| needs.next_if(|next| next.id() == id && next.part != TAIL));
        let mut wanted = vec![Wanted { block: first.part, range: first.range }];
        wanted.extend(others.map(|need| Wanted { block: need.part, range: need.range }));
        match first.object {
            Object::Table(file) => {
                let parts = match first.part {
                    TAIL => FetchParts::Tail { slim: first.slim },
                    _ => FetchParts::Blocks(wanted),
                };
                requests.push(FetchRequest { file, parts });
            }
            Object::Values(file) => values.push(ValueRequest { file, records: wanted }),
        }
    }
    (requests, values)
}
