//! A pass over tables in key order: large sequential reads, the next one under way while this one is used, be it of this
//! table or of the next.
//!
//! **Threads**: background threads only; it waits for the store. It takes from the disk tier what is there, but puts
//! nothing into the block caches, which a scan must not flush.
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

/// What a source reads at once at least, and at most.
const LEAST_READ_BYTES: u64 = 16 << 10;
const MOST_READ_BYTES: u64 = 2 << 20;

/// Runs to be merged, newest first, each at its first entry. What they read first is read at the same time. A merge uses
/// its sources up together, so each has the part of the buffers that it has of the bytes: with equal parts the longest run,
/// which is half of a compaction, would have one small read under way at a time and hold up all others. Those of a job end with it.
pub(crate) fn open_runs(
    fetcher: &Arc<Fetcher>,
    runs: Vec<Run>,
    buffer_bytes: usize,
    warm: &Arc<WarmBlocks>,
    is_job: bool,
) -> Result<Vec<Source>> {
    let bytes = |run: &Run| run.iter().map(|file| file.shown_bytes()).sum::<u64>();
    let all = runs.iter().map(bytes).sum::<u64>().max(1);
    let scan = |run: Run| {
        // Each source holds the read it uses and the one under way.
        let share = buffer_bytes as u128 / 2 * u128::from(bytes(&run)) / u128::from(all);
        let ahead_bytes = (share as u64).clamp(LEAST_READ_BYTES, MOST_READ_BYTES);
        TableScan::new(Reader { fetcher: Arc::clone(fetcher), ahead_bytes, is_job }, run, Arc::clone(warm))
    };
    // The first tail of each is under way before any is waited for.
    let scans: Vec<_> = runs.into_iter().map(scan).collect();
    let scans = scans.into_iter().map(TableScan::begin).collect::<Result<Vec<_>>>()?;
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
    /// The table behind it, whose first read is under way.
    next: Option<OpenTable>,
}

struct OpenTable {
    file: Arc<TableFile>,
    tail: Arc<TableTail>,
    /// The next block to decode, and the block behind the last.
    next_block: usize,
    end_block: usize,
    /// Stored blocks `from..to` and their bytes.
    window: Window,
    ahead: Option<(Range<usize>, UnderWay<Bytes>)>,
    block: Block,
    /// Which of the table's blocks were in memory, and whether this one was.
    warm: Option<Arc<[u64]>>,
    is_warm: bool,
    cursor: BlockCursor,
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
        let mut scan = Self { reader, files, tail: None, deleted, warm, open: None, next: None };
        scan.read_tail_ahead();
        scan
    }

    /// Begins to read the first table.
    fn begin(mut self) -> Result<Self> {
        let deleted = self.reader.wait(self.reader.fetcher.deleted_by(self.files.as_slice()))?;
        self.deleted = DeletedRanges::union(deleted);
        self.begin_next()?;
        Ok(self)
    }

    /// Begins to read the tail of the next table, unless it is in memory.
    fn read_tail_ahead(&mut self) {
        let next = self.files.as_slice().first().filter(|file| file.whole().is_none());
        self.tail = next.map(|file| {
            let (fetcher, file) = (Arc::clone(&self.reader.fetcher), Arc::clone(file));
            self.reader.begin(async move { fetcher.whole_tail(&file).await })
        });
    }

    /// The next table with its tail.
    fn next_table(&mut self) -> Result<Option<(Arc<TableFile>, Arc<TableTail>)>> {
        let Some(file) = self.files.next() else { return Ok(None) };
        let tail = match self.tail.take() {
            Some(read) => self.reader.wait(read.end())?,
            None => self.reader.wait(self.reader.fetcher.whole_tail(&file))?,
        };
        self.read_tail_ahead();
        Ok(Some((file, tail)))
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
                    if open.ahead.is_none() {
                        self.begin_next()?;
                    }
                }
                // The table or its clip ends; nothing behind is wanted.
                _ => self.open_next()?,
            }
        }
        Ok(())
    }

    /// Begins to read the next table.
    fn begin_next(&mut self) -> Result<()> {
        if self.next.is_some() {
            return Ok(());
        }
        let Some((file, tail)) = self.next_table()? else { return Ok(()) };
        let blocks = tail.index.blocks();
        let keys = file.keys();
        let first = tail.index.block_of(&keys.start).min(blocks);
        let last =
            if keys.end.is_empty() { blocks } else { (tail.index.block_of(&keys.end) + 1).min(blocks) };
        let mut next = OpenTable {
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
        };
        next.read_ahead(&self.reader, first)?;
        self.next = Some(next);
        Ok(())
    }

    /// Opens the next table at the first entry of its clip.
    fn open_next(&mut self) -> Result<()> {
        self.open = None;
        self.begin_next()?;
        let Some(mut open) = self.next.take() else { return Ok(()) };
        if open.next_block < open.end_block {
            open.next_block(&self.reader)?;
            let lower = open.file.keys().start.clone();
            open.cursor.seek(&open.block, &lower)?;
        }
        let is_last = open.ahead.is_none();
        self.open = Some(open);
        if is_last {
            self.begin_next()?;
        }
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
            // Bytes can break on the way; what is broken at rest breaks again.
            Err(_) => Block::decode(&reader.wait(reader.fetcher.read(self.file.name(), range.clone()))?),
            block => block,
        };
        self.block =
            decoded.map_err(|e| e.context(format!("{} at offset {}", self.file.name(), range.start)))?;
        self.is_warm = self.warm.as_ref().is_some_and(|warm| is_warm(warm, number));
        self.next_block = number + 1;
        Ok(())
    }

    fn fetch_window(&mut self, reader: &Reader, number: usize) -> Result<()> {
        let (blocks, bytes) = match self.ahead.take() {
            Some((blocks, read)) if blocks.contains(&number) => (blocks, reader.wait(read.end())?),
            _ => {
                let blocks = self.window_from(number, reader.ahead_bytes);
                let range = self.range(blocks.clone())?;
                let read = reader.fetcher.read_span(&self.file, blocks.clone(), range);
                (blocks, reader.wait(read)?)
            }
        };
        self.read_ahead(reader, blocks.end)?;
        self.window = Window { start: self.range(blocks.clone())?.start, blocks, bytes };
        Ok(())
    }

    /// Begins to read the blocks from one on, if there are any.
    fn read_ahead(&mut self, reader: &Reader, first: usize) -> Result<()> {
        let blocks = self.window_from(first, reader.ahead_bytes);
        if blocks.is_empty() {
            return Ok(());
        }
        let (range, file, fetcher) =
            (self.range(blocks.clone())?, Arc::clone(&self.file), Arc::clone(&reader.fetcher));
        let ahead = blocks.clone();
        let read = reader.begin(async move { fetcher.read_span(&file, ahead, range).await });
        self.ahead = Some((blocks, read));
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
