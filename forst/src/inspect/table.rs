//! What a table says of itself: its tail, read with two requests.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::Result;

use super::blocks::TableBlocks;
use super::object::ReadAt;
use crate::table::{FOOTER_BYTES, Properties, TableTail, TailLayout};

/// Sizes and counts of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSummary {
    /// The whole object.
    pub size_bytes: u64,
    /// Its data blocks as they are stored.
    pub data_bytes: u64,
    /// Its filter as it is stored.
    pub filter_bytes: u64,
    /// Its index as it is stored.
    pub index_bytes: u64,
    /// Its properties as they are stored.
    pub properties_bytes: u64,
    /// Its deleted ranges as they are stored; 0 if there is none.
    pub deleted_bytes: u64,
    /// Data blocks.
    pub blocks: u64,
    /// Blocks of the index; none in a table of a version before 5, whose index is one section.
    pub index_blocks: u64,
    /// Entries of all kinds.
    pub entries: u64,
    /// Entries that are tombstones.
    pub deletes: u64,
    /// Entries that are merge operands.
    pub merges: u64,
    /// Keys and values before compression.
    pub raw_bytes: u64,
}

impl TableSummary {
    pub(super) fn of(
        size_bytes: u64,
        layout: &TailLayout,
        (blocks, index_blocks): (usize, usize),
        properties: &Properties,
    ) -> Self {
        let bytes = |range: &Range<u64>| range.end - range.start;
        Self {
            size_bytes,
            data_bytes: layout.data_bytes(),
            filter_bytes: bytes(&layout.filter),
            index_bytes: bytes(&layout.index),
            properties_bytes: bytes(&layout.properties),
            deleted_bytes: bytes(&layout.deleted),
            blocks: blocks as u64,
            index_blocks: index_blocks as u64,
            entries: properties.entries,
            deletes: properties.deletes,
            merges: properties.merges,
            raw_bytes: properties.raw_bytes,
        }
    }
}

/// A key group of a table's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroupSummary {
    /// Which one.
    pub group: u32,
    /// The block its first key is in.
    pub first_block: u32,
    /// Its entries.
    pub entries: u64,
}

/// Keys that are gone from every older table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRange {
    /// The first key.
    pub start: Vec<u8>,
    /// Behind the last key; empty for no end.
    pub end: Vec<u8>,
}

/// Where the index says that a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace<'a> {
    /// Which block, from 0.
    pub number: u32,
    /// Where it begins in the object.
    pub offset: u64,
    /// Its size as it is stored.
    pub size_bytes: u64,
    /// Above every key before the block, and not above any of it.
    pub separator: &'a [u8],
}

/// A table whose tail was read and found to be sound.
pub struct TableInspector<R> {
    object: R,
    layout: TailLayout,
    tail: Arc<TableTail>,
}

impl<R: ReadAt> TableInspector<R> {
    /// Reads the tail.
    ///
    /// # Errors
    /// `Corruption` if the object is no table, `Invalid` if another version wrote it, or what reading fails with.
    pub fn open(object: R) -> Result<Self> {
        let size = object.size_bytes();
        let footer = object.read(size.saturating_sub(FOOTER_BYTES as u64)..size)?;
        let layout = TailLayout::of(size, &footer)?;
        let tail = object.read(layout.data_bytes()..size)?;
        let tail = TableTail::decode(&tail, layout.data_bytes())?;
        Ok(Self { object, layout, tail })
    }

    /// Sizes and counts.
    pub fn summary(&self) -> TableSummary {
        let tail = &self.tail;
        let blocks = (tail.index.blocks(), tail.top.parts());
        TableSummary::of(self.object.size_bytes(), &self.layout, blocks, &tail.properties)
    }

    /// The key-group directory, ascending.
    pub fn key_groups(&self) -> impl Iterator<Item = KeyGroupSummary> {
        self.tail.properties.key_groups.iter().map(|entry| KeyGroupSummary {
            group: entry.group,
            first_block: entry.first_block,
            entries: entry.entries,
        })
    }

    /// The deleted ranges, ascending.
    pub fn deleted_ranges(&self) -> impl Iterator<Item = DeletedRange> {
        self.tail
            .deleted
            .iter()
            .map(|range| DeletedRange { start: range.start.clone(), end: range.end.clone() })
    }

    /// Where the blocks are, without reading them.
    pub fn places(&self) -> impl Iterator<Item = BlockPlace<'_>> {
        let index = &self.tail.index;
        (0..index.blocks()).filter_map(|block| {
            let range = index.range(block)?;
            Some(BlockPlace {
                number: block as u32,
                offset: range.start,
                size_bytes: range.end - range.start,
                separator: index.separator(block),
            })
        })
    }

    /// The blocks with their entries, read one after the other.
    pub fn blocks(&self) -> TableBlocks<'_> {
        TableBlocks::new(&self.object, &self.tail.index)
    }
}
