//! Builds a table from entries in key order.
use std::sync::Arc;

use alluvium_env::HashMap;
use bytes::Bytes;

use super::file::FileId;
use super::filter::{Filter, filter_hash};
use super::index::Index;
use super::keeping::{Keeping, KeptBlock};
use super::tail::{BuiltTail, KeyGroupEntry, Properties, TableTail};
use crate::block::{Block, BlockBuilder};
use crate::coding::SectionWriter;
use crate::compression::Compression;
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::expiry::Stamp;
use crate::key_range::KeyRange;
use crate::values::{ValuePlace, ValueShare};

/// How tables are built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TableOptions {
    /// A block ends before it would take more than this in memory; one entry may.
    pub(crate) block_size_bytes: usize,
    /// A table ends once its data passes this; past half of it, at the next key group (design D8).
    pub(crate) table_size_bytes: usize,
    pub(crate) compression: Compression,
}

/// A finished table, not yet written.
pub(crate) struct BuiltTable {
    /// The file's bytes in order: runs of data blocks, then the tail.
    pub(crate) payload: Vec<Bytes>,
    pub(crate) tail: Arc<TableTail>,
    /// Spans every entry and every deleted range.
    pub(crate) keys: KeyRange,
    pub(crate) tail_bytes: u64,
    /// Of the payload; never 0.
    pub(crate) content_hash: u64,
    /// Decoded blocks for the cache.
    pub(crate) blocks: Vec<KeptBlock>,
    /// What the pointers take of each value file, in the order in which they name the files.
    pub(crate) values: Vec<ValueShare>,
}

/// Bytes of data blocks that are handed to the store as one piece.
const PIECE_BYTES: usize = 256 << 10;

/// Collects the entries of one table.
pub(crate) struct TableBuilder {
    options: TableOptions,
    block: BlockBuilder,
    separator: Vec<u8>,
    index: Index,
    hashes: Vec<u64>,
    properties: Properties,
    sections: SectionWriter,
    piece: Vec<u8>,
    payload: Vec<Bytes>,
    keeping: Keeping,
    /// Entries of the block that is being built, and how many of them came from memory.
    block_entries: (u32, u32),
    blocks: Vec<KeptBlock>,
    smallest: Vec<u8>,
    group: Option<[u8; 2]>,
    values: Vec<ValueShare>,
    /// Where each value file is among them.
    value_index: HashMap<FileId, u32>,
    pointer: Vec<u8>,
    /// Of the entry that was added last.
    raw_bytes: usize,
}

impl TableBuilder {
    pub(crate) fn new(options: TableOptions) -> Self {
        Self::keeping(options, Keeping::default())
    }

    /// A builder that keeps blocks for the cache.
    pub(crate) fn keeping(options: TableOptions, keeping: Keeping) -> Self {
        Self {
            options,
            keeping,
            block_entries: (0, 0),
            block: BlockBuilder::default(),
            separator: Vec::new(),
            index: Index::default(),
            hashes: Vec::new(),
            properties: Properties::default(),
            sections: SectionWriter::default(),
            piece: Vec::with_capacity(PIECE_BYTES + 2 * options.block_size_bytes),
            payload: Vec::new(),
            blocks: Vec::new(),
            smallest: Vec::new(),
            group: None,
            values: Vec::new(),
            value_index: HashMap::default(),
            pointer: Vec::new(),
            raw_bytes: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.properties.entries == 0
    }

    /// Blocks that have ended.
    #[cfg(benching)]
    pub(crate) fn blocks(&self) -> usize {
        self.index.blocks()
    }

    /// Whether the table should end before `key`.
    pub(crate) fn ends_before(&self, key: &[u8]) -> bool {
        let size = self.index.data_bytes() as usize + self.block.size_bytes();
        let new_group = self.group.is_some_and(|group| !key.starts_with(&group));
        size >= self.options.table_size_bytes || (new_group && size >= self.options.table_size_bytes / 2)
    }

    /// Appends an entry; keys come in strictly ascending order.
    pub(crate) fn add(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) {
        if self.is_empty() {
            self.smallest = key.to_vec();
        }
        if self.block.is_full(self.options.block_size_bytes, key, value) {
            self.end_block(Some(key));
        }
        self.block.add(kind, key, value);
        self.block_entries.0 += 1;
        self.hashes.push(filter_hash(key));
        self.properties.entries += 1;
        self.raw_bytes = key.len() + value.len();
        self.properties.raw_bytes += self.raw_bytes as u64;
        match kind {
            EntryKind::Delete => self.properties.deletes += 1,
            EntryKind::Merge => self.properties.merges += 1,
            EntryKind::Put | EntryKind::Pointer => {}
        }
        self.count_group(key);
    }

    /// Appends a pointer to a value.
    pub(crate) fn point(&mut self, key: &[u8], place: &ValuePlace) {
        let next = self.values.len() as u32;
        let index = *self.value_index.entry(place.file.id).or_insert(next);
        if index == next {
            self.values.push(ValueShare { file: Arc::clone(&place.file), values: 0, bytes: 0 });
        }
        if let Some(share) = self.values.get_mut(index as usize) {
            share.values += 1;
            share.bytes += place.bytes();
        }
        let mut pointer = std::mem::take(&mut self.pointer);
        pointer.clear();
        place.encode(index, &mut pointer);
        self.add(EntryKind::Pointer, key, &pointer);
        self.pointer = pointer;
    }

    /// Says of the entry that was added last when it was updated; one of which nothing is said lasts.
    pub(crate) fn stamp(&mut self, kind: EntryKind, stamp: Stamp) {
        self.properties.ages.get_or_insert_default().count(kind, stamp, self.raw_bytes as u64);
    }

    /// Says of the entry that was added last that it came from a block in memory.
    pub(crate) fn warm(&mut self) {
        self.block_entries.1 += 1;
    }

    fn count_group(&mut self, key: &[u8]) {
        let group = key.first_chunk::<2>().copied().unwrap_or_default();
        match self.properties.key_groups.last_mut() {
            Some(last) if self.group == Some(group) => last.entries += 1,
            _ => {
                self.group = Some(group);
                self.properties.key_groups.push(KeyGroupEntry {
                    group: u32::from(u16::from_be_bytes(group)),
                    first_block: self.index.blocks() as u32,
                    entries: 1,
                });
            }
        }
    }

    fn end_block(&mut self, next_key: Option<&[u8]>) {
        let start = self.piece.len();
        let content = self.block.finish();
        self.sections.put(&mut self.piece, content, self.options.compression);
        let (entries, warm) = std::mem::take(&mut self.block_entries);
        let is_warm = warm * 2 >= entries;
        if self.keeping.takes(is_warm, content.len())
            && let Ok(block) = Block::from_content(content)
        {
            let number = self.index.blocks() as u32;
            self.blocks.push(KeptBlock { number, block, is_warm });
        }
        self.index.push(&self.separator, self.piece.len() - start);
        if let Some(next) = next_key {
            // The shortest key above the last one here and not above the next.
            let shared = self.block.last_key().iter().zip(next).take_while(|(a, b)| a == b).count();
            self.separator.clear();
            self.separator.extend_from_slice(next.get(..=shared).unwrap_or(next));
        }
        if self.piece.len() >= PIECE_BYTES {
            let capacity = self.piece.capacity();
            let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(capacity));
            self.payload.push(piece.into());
        }
        if next_key.is_some() {
            self.block.reset();
        }
    }

    /// Ends the table, which hides `deleted` of older tables; `None` if there is nothing in it.
    pub(crate) fn finish(mut self, deleted: DeletedRanges) -> Option<BuiltTable> {
        let mut keys = deleted.hull();
        let end_key = [self.block.last_key(), &[0]].concat();
        if !self.is_empty() {
            self.end_block(None);
            let entries = KeyRange::through(&self.smallest, self.block.last_key());
            keys = Some(keys.map_or(entries.clone(), |mut keys| {
                keys.extend(&entries);
                keys
            }));
        }
        let keys = keys?;
        if let Some(ages) = &mut self.properties.ages {
            ages.raw_bytes = self.properties.raw_bytes;
        }
        self.properties.value_files = self.values.iter().map(|share| share.file.name().to_owned()).collect();
        let filter = Filter::build(std::mem::take(&mut self.hashes));
        self.index.finish();
        let parts = (filter, self.index, self.properties, deleted);
        let BuiltTail { tail, stored } = BuiltTail::new(parts, self.options.block_size_bytes, &end_key);
        let tail_bytes = stored.len() as u64;
        if !self.piece.is_empty() {
            self.payload.push(self.piece.into());
        }
        self.payload.push(stored.into());
        let (blocks, payload, values) = (self.blocks, self.payload, self.values);
        let content_hash = content_hash(&payload);
        Some(BuiltTable { payload, tail: Arc::new(tail), keys, tail_bytes, content_hash, blocks, values })
    }
}

/// Tells an object's bytes from any other's (xxh3-64); 0 is kept for "not known".
pub(crate) fn content_hash(payload: &[Bytes]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for piece in payload {
        hasher.update(piece);
    }
    hasher.digest().max(1)
}
