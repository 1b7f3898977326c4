//! A pass over tables in key order: large sequential reads, the next one under way while this one is used, be it of this
//! table or of the next.
//!
//! **Threads**: background threads only; it waits for the store. It takes from the disk tier what is there, but puts
//! nothing into the block caches, which a scan must not flush.
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::Source;
use crate::block::{Block, BlockCursor};
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::fetch::{Fetcher, UnderWay};
use crate::table::{TableFile, TableTail, WarmBlocks, is_warm};
use crate::values::ValuePlace;
use crate::version::Run;

#[cfg(test)]
mod tests;

/// What a source reads at once at least, and at most.
const LEAST_READ_BYTES: u64 = 16 << 10;
const MOST_READ_BYTES: u64 = 2 << 20;

/// Runs to be merged, newest first, each at its first entry. What they read first is read at the same time. A merge uses
/// its sources up together, so each has the part of the buffers that it has of the bytes: with equal parts the longest run,
/// which is half of a compaction, would have one small read under way at a time and hold up all others, and so would one that is
/// taken for shorter than it is. Those of a job end with it.
pub(crate) fn open_runs(
    fetcher: &Arc<Fetcher>,
    runs: Vec<Run>,
    buffer_bytes: usize,
    warm: &Arc<WarmBlocks>,
    is_job: bool,
) -> Result<Vec<Source>> {
    let scan = |run: Run| {
        let reader = Reader { fetcher: Arc::clone(fetcher), ahead_bytes: LEAST_READ_BYTES, is_job };
        TableScan::new(reader, run, Arc::clone(warm))
    };
    // The first tail of each is under way before any is waited for, and then the first blocks of each.
    let scans: Vec<_> = runs.into_iter().map(scan).collect();
    let mut scans = scans.into_iter().map(TableScan::begin).collect::<Result<Vec<_>>>()?;
    let all = scans.iter().map(TableScan::bytes_left).sum::<u64>().max(1);
    for scan in &mut scans {
        // Each source holds the read it uses and the one under way, and at the end of a table half a read more.
        let share = buffer_bytes as u128 / 2 * u128::from(scan.bytes_left()) / u128::from(all);
        scan.read_first((share as u64).clamp(LEAST_READ_BYTES, MOST_READ_BYTES))?;
    }
    scans.into_iter().map(|scan| scan.at_first().map(Source::Tables)).collect()
}

/// How a scan reads.
struct Reader {
    fetcher: Arc<Fetcher>,
    ahead_bytes: u64,
    /// Whether it reads for a job, whose outputs may come to be wanted no more.
    is_job: bool,
}

impl Reader {
    fn wait<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        let io = self.fetcher.io();
        if self.is_job { io.block_on(self.fetcher.while_outputs_are_wanted(read)) } else { io.block_on(read) }
    }

    fn begin<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T>> + Send + 'static,
    ) -> UnderWay<T> {
        UnderWay::begin(self.fetcher.io(), read)
    }
}

/// Tables of one level in key order, or one of level 0.
pub(crate) struct TableScan {
    reader: Reader,
    files: std::vec::IntoIter<Arc<TableFile>>,
    /// The tail of the first of them, under way.
    tail: Option<UnderWay<Arc<TableTail>>>,
    deleted: DeletedRanges,
    warm: Arc<WarmBlocks>,
    open: Option<OpenTable>,
    /// The tables behind it of which the first blocks are under way, where the rest of the open one is not enough.
    next: VecDeque<OpenTable>,
}

struct OpenTable {
    file: Arc<TableFile>,
    tail: Arc<TableTail>,
    /// The next block to decode, and the block behind the last.
    next_block: usize,
    end_block: usize,
    /// Stored blocks `from..to` and their bytes.
    window: Window,
    ahead: Option<Ahead>,
    block: Block,
    /// Which of the table's blocks were in memory, and whether this one was.
    warm: Option<Arc<[u64]>>,
    is_warm: bool,
    cursor: BlockCursor,
}

/// Stored blocks that are under way.
struct Ahead {
    blocks: Range<usize>,
    size_bytes: u64,
    read: UnderWay<Bytes>,
}

#[derive(Default)]
struct Window {
    blocks: Range<usize>,
    start: u64,
    bytes: Bytes,
}

impl TableScan {
    fn new(reader: Reader, files: Run, warm: Arc<WarmBlocks>) -> Self {
        let (files, deleted) = (files.into_iter(), DeletedRanges::default());
        let mut scan = Self { reader, files, tail: None, deleted, warm, open: None, next: VecDeque::new() };
        scan.read_tail_ahead();
        scan
    }

    /// Waits for what says where the first table's blocks are.
    fn begin(mut self) -> Result<Self> {
        let deleted = self.reader.wait(self.reader.fetcher.deleted_by(self.files.as_slice()))?;
        self.deleted = DeletedRanges::union(deleted);
        let first = self.next_table()?;
        self.next.extend(first);
        Ok(self)
    }

    /// What is to be read: exactly of the tables of which that is known, about of the others.
    fn bytes_left(&self) -> u64 {
        let begun: u64 = self.next.iter().map(OpenTable::bytes_left).sum();
        begun + self.files.as_slice().iter().map(|file| file.passed_bytes()).sum::<u64>()
    }

    /// Begins to read, so many bytes at a time.
    fn read_first(&mut self, ahead_bytes: u64) -> Result<()> {
        self.reader.ahead_bytes = ahead_bytes;
        let Some(first) = self.next.front_mut() else { return Ok(()) };
        first.read_ahead(&self.reader, first.next_block, ahead_bytes)?;
        self.begin_enough()
    }

    /// Begins to read the tail of the next table, unless it is in memory.
    fn read_tail_ahead(&mut self) {
        let next = self.files.as_slice().first().filter(|file| file.whole().is_none());
        self.tail = next.map(|file| {
            let (fetcher, file) = (Arc::clone(&self.reader.fetcher), Arc::clone(file));
            self.reader.begin(async move { fetcher.whole_tail(&file).await })
        });
    }

    /// The next table. Waits for its tail; none of its blocks is under way.
    fn next_table(&mut self) -> Result<Option<OpenTable>> {
        let Some(file) = self.files.next() else { return Ok(None) };
        let tail = match self.tail.take() {
            Some(read) => self.reader.wait(read.end())?,
            None => self.reader.wait(self.reader.fetcher.whole_tail(&file))?,
        };
        self.read_tail_ahead();
        let (blocks, keys) = (tail.index.blocks(), file.keys());
        let first = tail.index.block_of(&keys.start).min(blocks);
        let last =
            if keys.end.is_empty() { blocks } else { (tail.index.block_of(&keys.end) + 1).min(blocks) };
        Ok(Some(OpenTable {
            warm: self.warm.of(file.id).cloned(),
            is_warm: false,
            file,
            tail,
            next_block: first,
            end_block: last,
            window: Window::default(),
            ahead: None,
            block: Block::from_content(vec![0; 4])?,
            cursor: BlockCursor::default(),
        }))
    }

    /// Waits for the first entry.
    fn at_first(mut self) -> Result<Self> {
        self.open_next()?;
        Ok(self)
    }

    /// What the tables hide of older sources beyond their own keys.
    pub(crate) fn deleted(&self) -> &DeletedRanges {
        &self.deleted
    }

    /// Whether the block here was in memory when the scan began.
    #[inline]
    pub(crate) fn is_warm(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_warm)
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<(EntryKind, &[u8], &[u8])> {
        self.open.as_ref().and_then(|open| open.cursor.entry(&open.block))
    }

    /// Where a pointer of the table here leads to.
    pub(crate) fn place(&self, pointer: &[u8]) -> Result<ValuePlace> {
        let values = self.open.as_ref().map_or(&[][..], |open| open.file.values());
        ValuePlace::decode(pointer, values)
    }

    /// The record at a place. Waits for it: folds onto values that lie apart are rare.
    pub(crate) fn record(&self, place: &ValuePlace) -> Result<Block> {
        let stored = self.reader.wait(self.reader.fetcher.read_records(vec![place.clone()]))?;
        let record = Block::decode(stored.first().map_or(&[][..], |record| record));
        record.map_err(|e| e.context(place.to_string()))
    }

    pub(crate) fn advance(&mut self) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.cursor.advance(&open.block)?;
        self.settle()
    }

    /// Moves on to a block and a table that have an entry within the clip.
    fn settle(&mut self) -> Result<()> {
        while let Some(open) = &mut self.open {
            match open.cursor.entry(&open.block) {
                Some((_, key, _)) if open.file.keys().ends_behind(key) => return Ok(()),
                None if open.next_block < open.end_block => {
                    open.next_block(&self.reader)?;
                    open.cursor.rewind(&open.block)?;
                    self.begin_enough()?;
                }
                // The table or its clip ends; nothing behind is wanted.
                _ => self.open_next()?,
            }
        }
        Ok(())
    }

    /// Begins to read what is behind the open table, if so little of that is under way that it would be used up before what is
    /// asked for then arrives: a table seldom ends where a read does.
    fn begin_enough(&mut self) -> Result<()> {
        loop {
            let begun = || self.open.iter().chain(&self.next);
            let under_way: u64 = begun().map(OpenTable::bytes_ahead).sum();
            let is_more = begun().last().is_some_and(|last| !last.is_all_ahead());
            if is_more || under_way >= self.reader.ahead_bytes || !self.is_tail_here() {
                return Ok(());
            }
            let least = self.reader.ahead_bytes / 2;
            if !self.begin_next((self.reader.ahead_bytes - under_way).max(least))? {
                return Ok(());
            }
        }
    }

    /// Whether the next table's tail need not be waited for: it is looked for again with the next block.
    fn is_tail_here(&self) -> bool {
        self.tail.as_ref().is_none_or(UnderWay::is_ended)
    }

    /// Begins to read the next table, so many bytes of it; `false` if there is none.
    fn begin_next(&mut self, read_bytes: u64) -> Result<bool> {
        let Some(mut next) = self.next_table()? else { return Ok(false) };
        next.read_ahead(&self.reader, next.next_block, read_bytes)?;
        self.next.push_back(next);
        Ok(true)
    }

    /// Opens the next table at the first entry of its clip.
    fn open_next(&mut self) -> Result<()> {
        self.open = None;
        if self.next.is_empty() {
            self.begin_next(self.reader.ahead_bytes)?;
        }
        let Some(mut open) = self.next.pop_front() else { return Ok(()) };
        if open.next_block < open.end_block {
            open.next_block(&self.reader)?;
            let lower = open.file.keys().start.clone();
            open.cursor.seek(&open.block, &lower)?;
        }
        self.open = Some(open);
        self.begin_enough()?;
        self.settle()
    }
}

impl OpenTable {
    /// Decodes the next block, fetching a window of them where needed.
    fn next_block(&mut self, reader: &Reader) -> Result<()> {
        let number = self.next_block;
        if !self.window.blocks.contains(&number) {
            self.fetch_window(reader, number)?;
        }
        let range = self.range(number..number + 1)?;
        let (from, to) =
            ((range.start - self.window.start) as usize, (range.end - self.window.start) as usize);
        let stored = self.window.bytes.get(from..to).unwrap_or_default();
        let decoded = match Block::decode(stored) {
            Ok(block) if block.first_key().is_some_and(|first| self.tail.may_begin(number, first)) => {
                Ok(block)
            }
            // Bytes can break on the way, and a disk may give back another block; what is broken at rest breaks again.
            _ => Block::decode(&reader.wait(reader.fetcher.read(self.file.name(), range.clone()))?),
        };
        self.block =
            decoded.map_err(|e| e.context(format!("{} at offset {}", self.file.name(), range.start)))?;
        self.is_warm = self.warm.as_ref().is_some_and(|warm| is_warm(warm, number));
        self.next_block = number + 1;
        Ok(())
    }

    /// Bytes from the next block on.
    fn bytes_left(&self) -> u64 {
        self.range(self.next_block..self.end_block).map_or(0, |range| range.end - range.start)
    }

    /// Bytes that are under way.
    fn bytes_ahead(&self) -> u64 {
        self.ahead.as_ref().map_or(0, |ahead| ahead.size_bytes)
    }

    /// Whether nothing is left to ask for.
    fn is_all_ahead(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.blocks.end >= self.end_block)
    }

    fn fetch_window(&mut self, reader: &Reader, number: usize) -> Result<()> {
        let (blocks, bytes) = match self.ahead.take() {
            Some(Ahead { blocks, read, .. }) if blocks.contains(&number) => {
                (blocks, reader.wait(read.end())?)
            }
            _ => {
                let blocks = self.window_from(number, reader.ahead_bytes);
                let range = self.range(blocks.clone())?;
                let read = reader.fetcher.read_span(&self.file, blocks.clone(), range);
                (blocks, reader.wait(read)?)
            }
        };
        self.read_ahead(reader, blocks.end, reader.ahead_bytes)?;
        self.window = Window { start: self.range(blocks.clone())?.start, blocks, bytes };
        Ok(())
    }

    /// Begins to read the blocks from one on, if there are any.
    fn read_ahead(&mut self, reader: &Reader, first: usize, read_bytes: u64) -> Result<()> {
        let blocks = self.window_from(first, read_bytes);
        if blocks.is_empty() {
            return Ok(());
        }
        let (range, file, fetcher) =
            (self.range(blocks.clone())?, Arc::clone(&self.file), Arc::clone(&reader.fetcher));
        let (ahead, size_bytes) = (blocks.clone(), range.end - range.start);
        let read = reader.begin(async move { fetcher.read_span(&file, ahead, range).await });
        self.ahead = Some(Ahead { blocks, size_bytes, read });
        Ok(())
    }

    /// As many blocks from `first` on as fit one read, at least one.
    fn window_from(&self, first: usize, read_ahead_bytes: u64) -> Range<usize> {
        let mut end = first;
        let mut bytes = 0;
        while end < self.end_block && bytes < read_ahead_bytes {
            bytes += self.tail.index.range(end).map_or(0, |r| r.end - r.start);
            end += 1;
        }
        first..end
    }

    fn range(&self, blocks: Range<usize>) -> Result<Range<u64>> {
        let first = self.tail.index.range(blocks.start);
        let last = self.tail.index.range(blocks.end.saturating_sub(1));
        match (first, last) {
            (Some(first), Some(last)) => Ok(first.start..last.end),
            _ => Err(Error::internal(format!("{} has no blocks {blocks:?}", self.file.name()))),
        }
    }
}
