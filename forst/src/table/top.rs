//! The top of an index that lies in blocks: which keys each index block is about, and where it is. It stays in memory.
//!
//! An entry of an index block is a data block: its key is above every key of that block and not above any of the next, its
//! value says where it lies. So a key is in the block of the first entry above it.
use std::ops::Range;

use alluvium_env::{Error, Result};

use super::index::Separators;
use crate::block::{Block, BlockCursor};
use crate::coding::Input;

/// What the properties say of an index block.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct IndexBlock {
    /// Not above any key that it is about, and above every key before; the first is empty.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) separator: Vec<u8>,
    /// As it is stored.
    #[prost(uint32, tag = "2")]
    pub(crate) size_bytes: u32,
    /// The first data block that it is about, and that one's offset.
    #[prost(uint32, tag = "3")]
    pub(crate) first_block: u32,
    #[prost(uint64, tag = "4")]
    pub(crate) first_offset: u64,
}

/// Where a block of a table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    pub(crate) number: u32,
    pub(crate) range: Range<u64>,
}

/// The least that a data block takes: the count of its restart points, and what every section ends with.
const LEAST_BLOCK_BYTES: u64 = 9;

/// Where an index block and the data blocks that it is about begin.
#[derive(Clone, Copy, Debug, Default)]
struct Start {
    block: u32,
    offset: u64,
    at: u64,
}

/// The index blocks of a table. Among the table's blocks they are numbered behind the data blocks.
#[derive(Debug, Default)]
pub(crate) struct Top {
    separators: Separators,
    /// One more than there are index blocks.
    starts: Vec<Start>,
}

impl Top {
    /// The top of index blocks that lie one after another from `at` on.
    pub(super) fn built(parts: &[IndexBlock], blocks: u32, data_bytes: u64, mut at: u64) -> Self {
        let mut top = Self::default();
        for part in parts {
            top.separators.push(&part.separator);
            top.starts.push(Start { block: part.first_block, offset: part.first_offset, at });
            at += u64::from(part.size_bytes);
        }
        top.starts.push(Start { block: blocks, offset: data_bytes, at });
        top.starts.shrink_to_fit();
        top.separators.shrink_to_fit();
        top
    }

    /// Checks what the properties say of the index blocks of so many data blocks, which lie at `stored`.
    pub(super) fn of(parts: &[IndexBlock], blocks: u32, data_bytes: u64, stored: Range<u64>) -> Result<Self> {
        if u64::from(blocks) > data_bytes / LEAST_BLOCK_BYTES || parts.is_empty() != (blocks == 0) {
            return Err(Error::corruption(format!(
                "the properties claim {blocks} data blocks in {data_bytes} bytes, and {} index blocks",
                parts.len()
            )));
        }
        let top = Self::built(parts, blocks, data_bytes, stored.start);
        let (first, end) = (top.start(0), top.start(parts.len()));
        let begins = parts.is_empty() || first.block == 0 && first.offset == 0 && top.separator(0).is_empty();
        let starts = || top.starts.iter().zip(top.starts.iter().skip(1));
        let ascends = starts().all(|(a, b)| a.block < b.block && a.offset < b.offset && a.at < b.at)
            && (1..parts.len()).all(|part| top.separator(part - 1) < top.separator(part));
        if !begins || !ascends || end.at != stored.end {
            let (found, expected) = (end.at, stored.end);
            return Err(Error::corruption(format!(
                "the properties describe index blocks that do not lie one after another, or end at offset {found} instead of {expected}"
            )));
        }
        Ok(top)
    }

    /// How many index blocks there are; none where the table was written without, or has no entry.
    pub(crate) fn parts(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// How many data blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.starts.last().map_or(0, |end| end.block as usize)
    }

    /// Bytes of all data blocks.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.starts.last().map_or(0, |end| end.offset)
    }

    fn start(&self, part: usize) -> Start {
        self.starts.get(part).or(self.starts.last()).copied().unwrap_or_default()
    }

    /// The separator of an index block.
    pub(crate) fn separator(&self, part: usize) -> &[u8] {
        self.separators.get(part)
    }

    /// The index block that knows of `key`.
    pub(crate) fn part_of(&self, key: &[u8]) -> usize {
        self.separators.last_not_above(key, 0, self.parts())
    }

    /// The index block that knows of a data block.
    pub(crate) fn part_of_block(&self, block: usize) -> usize {
        self.starts.partition_point(|start| start.block as usize <= block).saturating_sub(1)
    }

    /// The first data block of an index block.
    pub(crate) fn first_block(&self, part: usize) -> usize {
        self.start(part).block as usize
    }

    /// Where the index blocks begin; `None` without any.
    pub(crate) fn index_start(&self) -> Option<u64> {
        (self.parts() > 0).then(|| self.start(0).at)
    }

    /// An index block among the table's blocks.
    pub(crate) fn index_block(&self, part: usize) -> BlockPlace {
        let number = (self.blocks() + part) as u32;
        BlockPlace { number, range: self.start(part).at..self.start(part + 1).at }
    }

    /// Bytes of an index block out of those of all.
    pub(crate) fn stored_in<'a>(&self, part: usize, stored: &'a [u8]) -> &'a [u8] {
        let base = self.start(0).at;
        let bytes = |part: usize| (self.start(part).at - base) as usize;
        stored.get(bytes(part)..bytes(part + 1)).unwrap_or_default()
    }

    /// Where the data blocks lie of which one can have `key`.
    pub(crate) fn grain_of(&self, key: &[u8]) -> Range<u64> {
        let part = self.part_of(key);
        self.start(part).offset..self.start(part + 1).offset
    }

    /// The data block that holds `key` if the table does, by the index block that knows of it.
    pub(crate) fn find(&self, part: usize, block: &Block, key: &[u8]) -> Result<Option<BlockPlace>> {
        block.first_above(key)?.map(|value| self.place(part, value)).transpose()
    }

    /// The data blocks of an index block.
    pub(crate) fn places(&self, part: usize, block: &Block) -> Result<Vec<BlockPlace>> {
        let (mut cursor, mut places) = (BlockCursor::default(), Vec::new());
        cursor.rewind(block)?;
        while let Some((_, _, value)) = cursor.entry(block) {
            let place = self.place(part, value)?;
            if place.number as usize != self.first_block(part) + places.len() {
                return Err(Error::corruption("an index block does not name its data blocks in order"));
            }
            places.push(place);
            cursor.advance(block)?;
        }
        let (found, expected) = (places.len(), self.first_block(part + 1) - self.first_block(part));
        if found != expected {
            return Err(Error::corruption(format!(
                "an index block names {found} data blocks instead of {expected}"
            )));
        }
        Ok(places)
    }

    /// What an entry of an index block says: `number:varint · offset:varint · size:varint`, the first two counted from the
    /// index block's first.
    pub(super) fn place(&self, part: usize, value: &[u8]) -> Result<BlockPlace> {
        let mut input = Input::new("an entry of an index block", value);
        let (number, offset, size) = (input.varint()?, input.varint()?, input.varint()?);
        let (start, end) = (self.start(part), self.start(part + 1));
        let number = u64::from(start.block).checked_add(number).filter(|n| *n < u64::from(end.block));
        let from = start.offset.checked_add(offset);
        let to = from.and_then(|from| from.checked_add(size)).filter(|to| *to <= end.offset);
        match (number, from, to) {
            (Some(number), Some(from), Some(to)) if input.offset() == value.len() && size > 0 => {
                Ok(BlockPlace { number: number as u32, range: from..to })
            }
            _ => Err(Error::corruption("an entry of an index block leads out of its data blocks")),
        }
    }

    /// Whether a block whose first key this is can be the one of its number, as far as the top knows.
    pub(crate) fn may_begin(&self, number: usize, first: &[u8]) -> bool {
        let is_index = number >= self.blocks();
        let part = if is_index { number - self.blocks() } else { self.part_of_block(number) };
        let is_last = part + 1 >= self.parts();
        // Keys of an index block are above those that it is about.
        let begins = if is_index { self.separator(part) < first } else { self.separator(part) <= first };
        let ends =
            if is_index { first <= self.separator(part + 1) } else { first < self.separator(part + 1) };
        begins && (is_last || ends)
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.separators.size_bytes() + self.starts.capacity() * size_of::<Start>()
    }
}
