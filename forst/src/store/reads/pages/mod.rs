//! Pages: a bounded piece of a range, merged from memory like any other scan.
//!
//! Nothing is held between two pages: the next one seeks behind the last key of this one. A page that memory cannot fill
//! is fetched as the indexes foresee it: the tails that are missing in one round, then in another one the blocks of every
//! run that can have a share in it (FLIP-426's iterators, batched like points).
//!
//! **Invariants**: every source ends where the page's range does, and of the deleted ranges only those that meet it are looked
//! at. So a page costs what lies there, however many maps were cleared elsewhere: a state whose every record clears its map would
//! otherwise take time by the square of its records. Nor is what is hidden passed twice: a page that lacks a block and has
//! no entry yet goes on where it came to, with what it needs from there on.
mod span;

pub(super) use span::PageRead;

use std::cell::{Ref, RefCell};
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, Result};

use crate::block::{Block, BlockCursor};
use crate::deleted::any_covers;
use crate::key_range::{KeyRange, earlier_end, is_before_end};
use crate::memtable::{Bounds, KeyOrder, Memtable, OrderedCursor};
use crate::scan::{Depth, Entry, MergeScan, Merged, SortedSource, no_pointers};
use crate::store::Store;
use crate::store::reads::walk::{Got, Need};
use crate::table::{BlockPlace, TableFile, TableTail, Tail, Top};
use crate::values::ValuePlace;
use span::Span;

/// Asks for a piece of the entries of one prefix, in key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageQuery<'a> {
    /// What the keys begin with; empty for all of them.
    pub prefix: &'a [u8],
    /// The last key of the page before; `None` begins with the first one.
    pub after: Option<&'a [u8]>,
    /// At most this many entries.
    pub limit: u32,
}

/// Entries in key order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(u32, u32)>,
    more: bool,
}

impl Page {
    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(key_end, value_end)| {
            let key = self.bytes.get(start..*key_end as usize).unwrap_or_default();
            let value = self.bytes.get(*key_end as usize..*value_end as usize).unwrap_or_default();
            start = *value_end as usize;
            (key, value)
        })
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether entries may follow the last one.
    pub fn more(&self) -> bool {
        self.more
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len() as u32));
    }
}

/// Bytes after which a page ends, whatever its limit: several pages of large values are not one answer.
const PAGE_BYTES: usize = 4 << 20;
/// Blocks of one run that are fetched ahead at once, at most.
const MAX_BLOCKS_AHEAD: usize = 64;

/// What comes of a page.
pub(super) enum Paged {
    Whole(Page),
    /// Parts are missing; nothing is left before the key, if there is one.
    Missing(Vec<u8>),
}

/// Times that a page asks for parts before it is content with less than its limit: for tails, for blocks of indexes, and for what it
/// was expected to pass. What has so much hidden behind its first entries is read in several.
const ENOUGH_ROUNDS: u32 = 4;

/// Why a page cannot go on.
enum Stop {
    /// A part is not in memory.
    Missing,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What the sources of one page share.
struct Plan<'a> {
    store: &'a Store,
    got: Got<'a>,
    /// Collects what is missing; `None` only asks memory.
    needs: Option<&'a RefCell<Vec<Need>>>,
    range: KeyRange,
    span: Span<'a>,
}

impl Store {
    /// Asks memory for a page; `None` if only I/O can tell. Never does I/O.
    ///
    /// # Errors
    /// `Corruption` if a cached block or an operand cannot be read.
    pub fn page_resident(&self, query: PageQuery<'_>) -> Result<Option<Page>> {
        Ok(match self.page(query.into(), Got::default(), None)? {
            Paged::Whole(page) => Some(page),
            Paged::Missing(_) => None,
        })
    }

    /// Merges a page; blocks come from `got`, then from the cache. With `needs`, says what is missing.
    pub(super) fn page(
        &self,
        span: Span<'_>,
        got: Got<'_>,
        needs: Option<&RefCell<Vec<Need>>>,
    ) -> Result<Paged> {
        let plan = Plan { store: self, got, needs, range: KeyRange::of_prefix(span.prefix), span };
        let memtables = self.in_order();
        match plan.merge(&memtables) {
            Ok(paged) => Ok(paged),
            Err(Stop::Missing) => Ok(Paged::Missing(Vec::new())),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// The memtables, newest first, each with its keys in order.
    fn in_order(&self) -> Vec<(&Memtable, Ref<'_, KeyOrder>)> {
        let active = (&self.active, &self.active_order);
        let frozen = self.frozen.iter().rev().map(|frozen| (frozen.table.as_ref(), &frozen.order));
        let caught_up = |(table, order): (_, &'_ RefCell<KeyOrder>)| order.borrow_mut().catch_up(table);
        std::iter::once(active).chain(frozen.clone()).for_each(caught_up);
        std::iter::once(active).chain(frozen).map(|(table, order)| (table, order.borrow())).collect()
    }
}

impl<'a> Plan<'a> {
    fn merge(&'a self, memtables: &'a [(&'a Memtable, Ref<'a, KeyOrder>)]) -> Result<Paged, Stop> {
        let Span { start, behind, limit, rounds, .. } = self.span;
        let in_memory = memtables.iter().map(|(table, order)| {
            let bounds = Bounds { start, behind, end: &self.range.end };
            PageSource::Memory(OrderedCursor::new(table, order, bounds))
        });
        let mut sources: Vec<_> = in_memory.collect();
        let mut missing = false;
        for run in self.store.version.runs() {
            let mut cursor = RunCursor::new(self, run);
            match cursor.open_next() {
                Ok(()) => sources.push(PageSource::Run(cursor)),
                Err(Stop::Missing) if self.needs.is_some() => missing = true,
                Err(stop) => return Err(stop),
            }
        }
        if missing {
            return Err(Stop::Missing);
        }
        let mut page = Page::default();
        let mut scan = MergeScan::new(sources, Arc::clone(&self.store.operators), Depth::Bottom);
        let (mut absent, mut absent_bytes) = (0, 0);
        let stopped = loop {
            let Merged { entry: (_, key, value), place, .. } = match scan.next_merged() {
                Ok(Some(merged)) => merged,
                Ok(None) => break None,
                Err(stop) => break Some(stop),
            };
            if page.len() + absent >= limit as usize || page.bytes.len() + absent_bytes >= PAGE_BYTES {
                page.more = true;
                break None;
            }
            let Some(place) = place else {
                page.push(key, value);
                continue;
            };
            if let Some(record) = self.store.record(place, self.got) {
                page.push(key, place.value_in(&record, key)?);
            } else {
                // The values of a page are fetched together.
                self.needs.ok_or(Stop::Missing)?.borrow_mut().push(Need::value(place));
                absent += 1;
                absent_bytes += place.bytes() as usize;
            }
        };
        match stopped {
            None if absent == 0 => Ok(Paged::Whole(page)),
            Some(Stop::Missing) if absent == 0 && !page.is_empty() && rounds >= ENOUGH_ROUNDS => {
                page.more = true;
                Ok(Paged::Whole(page))
            }
            Some(Stop::Missing) if absent == 0 && page.is_empty() && scan.key() > start => {
                Ok(Paged::Missing(scan.key().to_vec()))
            }
            stopped => Err(stopped.unwrap_or(Stop::Missing)),
        }
    }

    fn record(&self, place: &ValuePlace) -> Result<Block, Stop> {
        if let Some(record) = self.store.record(place, self.got) {
            return Ok(record);
        }
        if let Some(needs) = self.needs {
            needs.borrow_mut().push(Need::value(place));
        }
        Err(Stop::Missing)
    }

    fn block(
        &self,
        file: &'a Arc<TableFile>,
        guide: &Guide<'a>,
        number: usize,
        run: &[Arc<TableFile>],
    ) -> Result<&'a Block, Stop> {
        if let Some((block, _)) = self.store.block(file.id, number as u32, self.got) {
            return Ok(block);
        }
        if let Some(needs) = self.needs {
            let ahead = self.blocks_ahead(file, guide, number, run);
            let absent = |n: &usize| self.store.block(file.id, *n as u32, self.got).is_none();
            let need = |n: usize| Some(Need::block(file, guide.place(n)?));
            needs.borrow_mut().extend((number..ahead).filter(absent).filter_map(need));
        }
        Err(Stop::Missing)
    }

    /// The first block that a page which needs block `number` will not need, by the run's share of all entries.
    fn blocks_ahead(
        &self,
        file: &TableFile,
        guide: &Guide<'_>,
        number: usize,
        run: &[Arc<TableFile>],
    ) -> usize {
        let run_entries: u64 = run.iter().map(|file| file.meta.entries).sum();
        let entries: u64 = self.store.version.files().map(|(_, file)| file.meta.entries).sum();
        let a_block = (file.meta.entries / guide.all_blocks().max(1) as u64).max(1);
        let share = u64::from(self.span.foreseen).saturating_mul(run_entries) / entries.max(1);
        let wanted = (share.div_ceil(a_block) as usize + 1).min(MAX_BLOCKS_AHEAD);
        let last = guide.end_of(&self.range.end);
        (number + wanted).min(last.max(number + 1)).min(guide.known().end)
    }

    /// What leads to the blocks of a table with keys from `start` on, and the first of them.
    fn guide_to(&self, file: &'a Arc<TableFile>, start: &[u8]) -> Result<Option<(Guide<'a>, usize)>, Stop> {
        let whole = |tail: &'a TableTail| (Guide::Whole(tail), tail.index.block_of(start));
        match file.tail() {
            Some(Tail::Whole(tail)) => Ok(Some(whole(tail))),
            Some(Tail::Slim(tail)) => {
                if let Some(tail) = self.got.tail(file.id) {
                    return Ok(Some(whole(tail)));
                }
                let guide = self.slim_guide(file, &tail.top, tail.top.part_of(start))?;
                let Some(number) = guide.block_of(start)? else { return Ok(None) };
                Ok(Some((guide, number)))
            }
            None => self.missing(Need::tail(file, false)),
        }
    }

    /// What leads to the blocks of which an index block knows.
    fn slim_guide(&self, file: &'a Arc<TableFile>, top: &'a Top, part: usize) -> Result<Guide<'a>, Stop> {
        let place = top.index_block(part);
        let Some((index, _)) = self.store.block(file.id, place.number, self.got) else {
            return self.missing(Need::index_block(file, place));
        };
        let places = top.places(part, index).map_err(|e| e.context(file.place(place.range.start)))?;
        Ok(Guide::Slim { top, part, index, places })
    }

    fn missing<T>(&self, need: Need) -> Result<T, Stop> {
        if let Some(needs) = self.needs {
            needs.borrow_mut().push(need);
        }
        Err(Stop::Missing)
    }
}

/// What leads to blocks of a table.
enum Guide<'a> {
    Whole(&'a TableTail),
    /// One index block of a slim table, and what it says.
    Slim {
        top: &'a Top,
        part: usize,
        index: &'a Block,
        places: Vec<BlockPlace>,
    },
}

impl Guide<'_> {
    /// The table's blocks.
    fn all_blocks(&self) -> usize {
        match self {
            Self::Whole(tail) => tail.index.blocks(),
            Self::Slim { top, .. } => top.blocks(),
        }
    }

    /// The blocks that it knows the places of.
    fn known(&self) -> Range<usize> {
        match self {
            Self::Whole(tail) => 0..tail.index.blocks(),
            Self::Slim { top, part, places, .. } => {
                let first = top.first_block(*part);
                first..first + places.len()
            }
        }
    }

    fn place(&self, number: usize) -> Option<BlockPlace> {
        match self {
            Self::Whole(tail) => {
                let range = tail.index.range(number)?;
                Some(BlockPlace { number: number as u32, range })
            }
            Self::Slim { places, .. } => places.get(number.checked_sub(self.known().start)?).cloned(),
        }
    }

    /// The block of a key, if it is one of those.
    fn block_of(&self, key: &[u8]) -> Result<Option<usize>> {
        match self {
            Self::Whole(tail) => Ok(Some(tail.index.block_of(key))),
            Self::Slim { top, part, index, .. } => {
                Ok(top.find(*part, index, key)?.map(|place| place.number as usize))
            }
        }
    }

    /// Behind the last of its blocks that can have keys before `end`; empty: no end.
    fn end_of(&self, end: &[u8]) -> usize {
        let last = if end.is_empty() { None } else { self.block_of(end).ok().flatten() };
        let known = self.known();
        last.map_or(known.end, |last| (last + 1).clamp(known.start, known.end))
    }
}

/// One source of a page.
enum PageSource<'a> {
    Memory(OrderedCursor<'a>),
    Run(RunCursor<'a>),
}

impl SortedSource for PageSource<'_> {
    type Stop = Stop;

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Memory(cursor) => cursor.entry().map(|e| (e.kind, e.key, e.value)),
            Self::Run(cursor) => cursor.entry(),
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<(), Stop> {
        match self {
            Self::Memory(cursor) => {
                cursor.advance();
                Ok(())
            }
            Self::Run(cursor) => cursor.advance(),
        }
    }

    #[inline]
    fn deletes_any(&self) -> bool {
        match self {
            Self::Memory(cursor) => cursor.deletes_any(),
            Self::Run(cursor) => !cursor.deleting.is_empty(),
        }
    }

    #[inline]
    fn deletes(&self, key: &[u8]) -> bool {
        match self {
            Self::Memory(cursor) => cursor.deletes(key),
            Self::Run(cursor) => cursor.deletes(key),
        }
    }

    fn place(&self, pointer: &[u8]) -> Result<ValuePlace> {
        match self {
            Self::Memory(_) => Err(no_pointers()),
            Self::Run(cursor) => {
                let values = cursor.open.as_ref().map_or(&[][..], |open| open.file.values());
                ValuePlace::decode(pointer, values)
            }
        }
    }

    fn record(&self, place: &ValuePlace) -> Result<Block, Stop> {
        match self {
            Self::Memory(_) => Err(no_pointers().into()),
            Self::Run(cursor) => cursor.plan.record(place),
        }
    }
}

/// A position in what a page can have of a run whose blocks are in memory.
struct RunCursor<'a> {
    plan: &'a Plan<'a>,
    run: &'a [Arc<TableFile>],
    rest: std::slice::Iter<'a, Arc<TableFile>>,
    is_bottom: bool,
    open: Option<OpenTable<'a>>,
    /// Of the tables so far: the cursor has seen every table that holds keys up to its own.
    deleting: Vec<Deleting<'a>>,
    cursor: BlockCursor,
}

/// What a page sees of a table that deletes keys there.
struct Deleting<'a> {
    start: &'a [u8],
    end: &'a [u8],
    /// Those that meet what is seen; they may reach beyond it.
    ranges: &'a [KeyRange],
}

struct OpenTable<'a> {
    file: &'a Arc<TableFile>,
    /// Before which the page sees its keys; empty: no end.
    end: &'a [u8],
    guide: Guide<'a>,
    number: usize,
    block: &'a Block,
}

impl<'a> OpenTable<'a> {
    /// Whether its next block can have keys that the page sees, as far as its guide knows.
    fn goes_on(&self) -> bool {
        let (guide, next) = (&self.guide, self.number + 1);
        next < guide.all_blocks() && (!guide.known().contains(&next) || next < guide.end_of(self.end))
    }

    /// Takes the guide that knows of its block.
    fn turn_to(&mut self, plan: &Plan<'a>) -> Result<(), Stop> {
        if let Guide::Slim { top, .. } = self.guide
            && !self.guide.known().contains(&self.number)
        {
            self.guide = plan.slim_guide(self.file, top, top.part_of_block(self.number))?;
        }
        Ok(())
    }
}

impl<'a> RunCursor<'a> {
    fn new(plan: &'a Plan<'a>, run: &'a [Arc<TableFile>]) -> Self {
        let first = run.partition_point(|file| !file.keys().ends_behind(plan.span.start));
        let rest = run.get(first..).unwrap_or_default().iter();
        let (deleting, cursor) = (Vec::new(), BlockCursor::default());
        let bottom = plan.store.version.bottom();
        let is_bottom = bottom.is_some_and(|bottom| std::ptr::eq(bottom.as_slice(), run));
        Self { plan, run, rest, is_bottom, open: None, deleting, cursor }
    }

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        self.open.as_ref().and_then(|open| self.cursor.entry(open.block))
    }

    /// Whether the run deletes what is older of a key, which is not above its own.
    fn deletes(&self, key: &[u8]) -> bool {
        let after = self.deleting.partition_point(|table| table.start <= key);
        let table = after.checked_sub(1).and_then(|at| self.deleting.get(at));
        table.is_some_and(|table| is_before_end(key, table.end) && any_covers(table.ranges, key))
    }

    fn advance(&mut self) -> Result<(), Stop> {
        if let Some(open) = &self.open {
            self.cursor.advance(open.block)?;
            self.settle()?;
        }
        Ok(())
    }

    /// Opens the next table within the page's range at its first entry there.
    fn open_next(&mut self) -> Result<(), Stop> {
        self.open = None;
        let plan = self.plan;
        let Some(file) = self.rest.next().filter(|file| file.keys().overlaps(&plan.range)) else {
            return Ok(());
        };
        let Some(tail) = file.tail() else { return plan.missing(Need::tail(file, self.is_bottom)) };
        let start = file.keys().start.as_slice().max(plan.span.start);
        let end = earlier_end(&file.keys().end, &plan.range.end);
        let ranges = tail.deleted().meeting(start, end);
        if !ranges.is_empty() {
            self.deleting.push(Deleting { start, end, ranges });
        }
        if tail.blocks() == 0 {
            return self.open_next();
        }
        // A table may end with keys that it only deletes.
        let Some((guide, number)) = plan.guide_to(file, start)? else { return self.open_next() };
        let block = plan.block(file, &guide, number, self.run)?;
        self.open = Some(OpenTable { file, end, guide, number, block });
        self.cursor.seek(block, start)?;
        self.settle()
    }

    /// Moves on to an entry that the page can have.
    fn settle(&mut self) -> Result<(), Stop> {
        while let Some(open) = &mut self.open {
            match self.cursor.entry(open.block) {
                Some((_, key, _)) if self.plan.span.behind && key == self.plan.span.start => {
                    self.cursor.advance(open.block)?;
                }
                Some((_, key, _)) if is_before_end(key, open.end) => return Ok(()),
                None if open.goes_on() => {
                    open.number += 1;
                    open.turn_to(self.plan)?;
                    open.block = self.plan.block(open.file, &open.guide, open.number, self.run)?;
                    self.cursor.rewind(open.block)?;
                }
                _ => return self.open_next(),
            }
        }
        Ok(())
    }
}
