//! The blocks of a table one after the other, read in windows.
use std::ops::Range;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::object::ReadAt;
use crate::block::{Block, BlockCursor};
use crate::entry::EntryKind;
use crate::table::Index;

/// Bytes of neighbouring blocks that are read together.
const WINDOW_BYTES: u64 = 4 << 20;

/// A block as it is stored.
pub(super) struct StoredBlock {
    pub(super) number: usize,
    pub(super) range: Range<u64>,
    pub(super) bytes: Bytes,
}

/// A pass over a table's blocks.
pub struct TableBlocks<'a> {
    object: &'a dyn ReadAt,
    index: &'a Index,
    next: usize,
    end: u64,
    window: Range<u64>,
    bytes: Bytes,
}

impl<'a> TableBlocks<'a> {
    pub(super) fn new(object: &'a dyn ReadAt, index: &'a Index) -> Self {
        Self { object, index, next: 0, end: u64::MAX, window: 0..0, bytes: Bytes::new() }
    }

    /// Leaves out blocks that the index claims behind `end`.
    pub(super) fn ending_at(self, end: u64) -> Self {
        Self { end, ..self }
    }

    /// Where a block is, if it is one to read.
    fn range(&self, block: usize) -> Option<Range<u64>> {
        self.index.range(block).filter(|range| range.end <= self.end)
    }

    /// The next block as it is stored.
    pub(super) fn next_stored(&mut self) -> Result<Option<StoredBlock>> {
        let number = self.next;
        let Some(range) = self.range(number) else { return Ok(None) };
        if range.end > self.window.end || range.start < self.window.start {
            let last = (number..).map_while(|block| self.range(block));
            let fits = last.take_while(|next| next.end <= range.start.saturating_add(WINDOW_BYTES)).last();
            // A block larger than a window has one of its own.
            self.window = range.start..fits.map_or(range.end, |last| last.end);
            self.bytes = self.object.read(self.window.clone())?;
        }
        self.next += 1;
        let (from, to) = (range.start - self.window.start, range.end - self.window.start);
        Ok(Some(StoredBlock { number, range, bytes: self.bytes.slice(from as usize..to as usize) }))
    }

    /// The next block, unpacked.
    ///
    /// # Errors
    /// `Corruption` with the offset, or what reading fails with.
    pub fn next_block(&mut self) -> Result<Option<InspectedBlock>> {
        let Some(StoredBlock { number, range, bytes }) = self.next_stored()? else { return Ok(None) };
        let at = |error: Error| error.context(format!("data block {number} at offset {}", range.start));
        let block = Block::decode(&bytes).map_err(at)?;
        let mut cursor = BlockCursor::default();
        cursor.rewind(&block).map_err(at)?;
        Ok(Some(InspectedBlock { block, cursor, number: number as u32, offset: range.start }))
    }
}

/// An entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry<'a> {
    /// What it does to its key.
    pub kind: EntryKind,
    /// The whole key.
    pub key: &'a [u8],
    /// The value or operand; empty for a delete.
    pub value: &'a [u8],
}

/// A block, at an entry.
pub struct InspectedBlock {
    block: Block,
    cursor: BlockCursor,
    number: u32,
    offset: u64,
}

impl InspectedBlock {
    /// Which block, from 0.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The entry here, `None` past the last one.
    pub fn entry(&self) -> Option<TableEntry<'_>> {
        self.cursor.entry(&self.block).map(|(kind, key, value)| TableEntry { kind, key, value })
    }

    /// Goes to the next entry.
    ///
    /// # Errors
    /// `Corruption` with the block's offset.
    pub fn advance(&mut self) -> Result<()> {
        let place = || format!("data block {} at offset {}", self.number, self.offset);
        self.cursor.advance(&self.block).map_err(|error| error.context(place()))
    }
}
