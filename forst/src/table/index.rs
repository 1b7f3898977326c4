//! The index of a table: where each block begins, in keys and in bytes.
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::search::{IndexSearch, Search};
use super::top::{IndexBlock, Top};
use crate::block::{Block, BlockBuilder, BlockCursor};
use crate::coding::{Input, SectionWriter, put_varint};
use crate::compression::Compression;
use crate::entry::EntryKind;

/// Separators one behind the other, and where each ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Separators {
    keys: Vec<u8>,
    ends: Vec<u32>,
}

impl Separators {
    pub(super) fn push(&mut self, separator: &[u8]) {
        self.keys.extend_from_slice(separator);
        self.ends.push(self.keys.len() as u32);
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.keys.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.keys.capacity() + self.ends.capacity() * 4
    }

    /// The last one of `low..high` that is not above `key`; `low`, if all of them are.
    pub(super) fn last_not_above(&self, key: &[u8], mut low: usize, mut high: usize) -> usize {
        while high.saturating_sub(low) > 1 {
            let middle = usize::midpoint(low, high);
            if self.get(middle) <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Separator of a block.
    #[inline]
    pub(super) fn get(&self, block: usize) -> &[u8] {
        let start = match block.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0) as usize,
            None => 0,
        };
        let end = self.ends.get(block).copied().unwrap_or(0) as usize;
        self.keys.get(start..end).unwrap_or_default()
    }
}

/// Separators and offsets of the blocks. Separator `i` is above every key of block `i - 1` and not above any of block
/// `i`; separator 0 is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    separators: Separators,
    search: Search,
    /// One more than there are blocks: block `i` lies in `offsets[i]..offsets[i + 1]`.
    offsets: Vec<u64>,
}

impl Index {
    pub(crate) fn blocks(&self) -> usize {
        self.separators.ends.len()
    }

    /// Adds the next block.
    pub(crate) fn push(&mut self, separator: &[u8], size_bytes: usize) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.separators.push(separator);
        let end = self.data_bytes() + size_bytes as u64;
        self.offsets.push(end);
    }

    /// Bytes of all blocks.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn separator(&self, block: usize) -> &[u8] {
        self.separators.get(block)
    }

    /// The one block that can hold `key`.
    #[inline]
    pub(crate) fn block_of(&self, key: &[u8]) -> usize {
        let among = self.search.among(key, self.separator(1));
        let (low, high) = among.unwrap_or((0, self.blocks()));
        if high - low == 1 { low } else { self.separators.last_not_above(key, low, high) }
    }

    /// Begins a search that goes one step at a time, for many at once.
    pub(crate) fn begin_search(&self, key: &[u8]) -> IndexSearch<'_> {
        self.search.begin(key)
    }

    /// Makes searching fast, once all blocks are there.
    pub(crate) fn finish(&mut self) {
        self.search = Search::of(&self.separators, self.blocks());
        self.separators.shrink_to_fit();
        self.offsets.shrink_to_fit();
    }

    /// Where a block lies in the file; `None` past the last one.
    pub(crate) fn range(&self, block: usize) -> Option<std::ops::Range<u64>> {
        Some(*self.offsets.get(block)?..*self.offsets.get(block + 1)?)
    }

    /// Where the blocks begin and the last one ends; `None` past 4 GiB.
    pub(super) fn offsets(&self) -> Option<Arc<[u32]>> {
        self.offsets.iter().map(|offset| u32::try_from(*offset).ok()).collect()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.separators.size_bytes() + self.offsets.capacity() * 8 + self.search.size_bytes()
    }

    /// The index as it is stored since version 5: blocks of about a size, and what the properties say of each. `end_key` is
    /// above every key of the table.
    pub(super) fn encode(&self, block_size_bytes: usize, end_key: &[u8]) -> (Vec<u8>, Vec<IndexBlock>) {
        let (mut out, mut parts) = (Vec::new(), Vec::new());
        let (mut builder, mut sections) = (BlockBuilder::default(), SectionWriter::default());
        let (mut value, mut first, mut first_offset) = (Vec::new(), 0, 0);
        for block in 0..self.blocks() {
            let Some(range) = self.range(block) else { break };
            let is_last = block + 1 == self.blocks();
            value.clear();
            put_varint(&mut value, (block - first) as u64);
            put_varint(&mut value, range.start - first_offset);
            put_varint(&mut value, range.end - range.start);
            let end = if is_last { end_key } else { self.separator(block + 1) };
            builder.add(EntryKind::Put, end, &value);
            if is_last || builder.size_bytes() >= block_size_bytes {
                let start = out.len();
                sections.put(&mut out, builder.finish(), Compression::Lz4);
                builder.reset();
                let separator = self.separator(first).to_vec();
                let size_bytes = (out.len() - start) as u32;
                parts.push(IndexBlock { separator, size_bytes, first_block: first as u32, first_offset });
                (first, first_offset) = (block + 1, range.end);
            }
        }
        (out, parts)
    }

    /// Reads all index blocks; also what their last one says is above every key of the table.
    pub(crate) fn read(top: &Top, stored: &[u8]) -> Result<(Self, Vec<u8>)> {
        let (mut index, mut end, mut cursor) = (Self::default(), Vec::new(), BlockCursor::default());
        for part in 0..top.parts() {
            let at = |error: Error| error.context(format!("index block {part}"));
            let wrong = |what: &str| at(Error::corruption(what));
            let block = Block::decode(top.stored_in(part, stored)).map_err(at)?;
            if top.separator(part) != end {
                return Err(wrong("it does not begin where the one before ends"));
            }
            let first = index.blocks();
            cursor.rewind(&block).map_err(at)?;
            while let Some((_, key, value)) = cursor.entry(&block) {
                let place = top.place(part, value).map_err(at)?;
                if place.number as usize != index.blocks() || place.range.start != index.data_bytes() {
                    return Err(wrong("its data blocks do not lie one after another"));
                }
                if key <= end.as_slice() {
                    return Err(wrong("its keys do not ascend"));
                }
                index.push(&end, (place.range.end - place.range.start) as usize);
                end.clear();
                end.extend_from_slice(key);
                cursor.advance(&block).map_err(at)?;
            }
            if index.blocks() == first {
                return Err(wrong("it has no entry"));
            }
        }
        if index.blocks() != top.blocks() {
            let (found, expected) = (index.blocks(), top.blocks());
            return Err(Error::corruption(format!(
                "index blocks of {found} data blocks instead of {expected}"
            )));
        }
        index.finish();
        Ok((index, end))
    }

    /// Reads an index as it was stored before version 5: `count · (separator_len · separator · block_size)*`, numbers as
    /// varints.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Input::new("a table index", bytes);
        let blocks = input.length()?;
        let mut index = Self::default();
        for block in 0..blocks {
            let length = input.length()?;
            let separator = input.take(length)?;
            let size = input.length()?;
            if block > 0 && separator <= index.separator(block - 1) {
                return Err(Error::corruption(format!(
                    "separator {block} of a table index is not above the one before"
                )));
            }
            if index.data_bytes().checked_add(size as u64).is_none() {
                return Err(Error::corruption("the block sizes of a table index overflow"));
            }
            index.push(separator, size);
        }
        index.finish();
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_belongs_to_the_last_block_that_begins_at_or_below_it() {
        let mut index = Index::default();
        for (separator, size) in [("", 10), ("f", 20), ("m", 30)] {
            index.push(separator.as_bytes(), size);
        }
        let (stored, parts) = index.encode(4096, b"zz");
        let stored_at = 100..100 + stored.len() as u64;
        let top = Top::of(&parts, 3, 60, stored_at).unwrap();
        let index = Index::read(&top, &stored).unwrap().0;
        // As it was stored before version 5.
        let old = Index::decode(b"\x03\x00\x0a\x01f\x14\x01m\x1e").unwrap();
        assert_eq!(format!("{old:?}"), format!("{index:?}"));
        let blocks: Vec<_> =
            ["a", "f", "g", "lz", "m", "z"].iter().map(|k| index.block_of(k.as_bytes())).collect();
        assert_eq!(blocks, [0, 1, 1, 1, 2, 2]);
        assert_eq!(index.range(1), Some(10..30));
        assert_eq!(index.range(3), None);
    }

    proptest! {
        #[test]
        fn the_fast_search_finds_what_a_plain_one_does(
            separators in proptest::collection::btree_set(
                proptest::collection::vec(0_u8..3, 1..14), 0..40),
            start in proptest::collection::vec(0_u8..3, 0..3),
            gap in proptest::collection::vec(0_u8..2, 0..4),
            probes in proptest::collection::vec(proptest::collection::vec(0_u8..3, 0..16), 40),
        ) {
            // What comes after the first byte of each but the shortest is the same in all.
            let whole = |rest: &Vec<u8>| match rest.split_first() {
                Some((first, rest)) if !rest.is_empty() => [&start, &[*first][..], &gap, rest].concat(),
                _ => [&start, rest.as_slice()].concat(),
            };
            let separators: std::collections::BTreeSet<_> = separators.iter().map(whole).collect();
            let mut index = Index::default();
            index.push(b"", 1);
            for separator in &separators {
                index.push(separator, 1);
            }
            index.finish();
            for key in separators.iter().cloned().chain(probes.iter().map(whole)).chain(probes.clone()) {
                let found = index.block_of(&key);
                prop_assert_eq!(found, index.separators.last_not_above(&key, 0, index.blocks()), "{:?}", key);
                let mut search = index.begin_search(&key);
                while search.step() {}
                let (low, high) = index.search.among(&key, index.separator(1)).unwrap_or((found, found + 1));
                prop_assert!(index.search.among(&key, index.separator(1)).is_none() || search.block() == low && low <= found && found < high);
            }
        }

        #[test]
        fn by_its_blocks_an_index_finds_what_it_does_whole(
            separators in proptest::collection::btree_set(proptest::collection::vec(0_u8..3, 1..6), 0..60),
            block_size_bytes in 1_usize..200,
            probes in proptest::collection::vec(proptest::collection::vec(0_u8..3, 0..8), 40),
        ) {
            let mut whole = Index::default();
            for (number, separator) in std::iter::once(&Vec::new()).chain(&separators).enumerate() {
                whole.push(separator, 9 + number * 7 % 5);
            }
            whole.finish();
            let (stored, parts) = whole.encode(block_size_bytes, &[3]);
            let blocks = whole.blocks() as u32;
            let at = |end: u64| 7..7 + end;
            let top = Top::of(&parts, blocks, whole.data_bytes(), at(stored.len() as u64)).unwrap();
            let (again, end) = Index::read(&top, &stored).unwrap();
            prop_assert_eq!(format!("{:?}", again), format!("{:?}", whole));
            prop_assert_eq!(end, [3]);
            let mut places = Vec::new();
            for part in 0..top.parts() {
                let block = Block::decode(top.stored_in(part, &stored)).unwrap();
                prop_assert_eq!(top.index_block(part).number, blocks + part as u32);
                for place in top.places(part, &block).unwrap() {
                    prop_assert_eq!(top.part_of_block(place.number as usize), part);
                    places.push(place.range);
                }
            }
            let expected: Vec<_> = (0..whole.blocks()).map(|block| whole.range(block).unwrap()).collect();
            prop_assert_eq!(places, expected);
            for key in separators.iter().chain(&probes) {
                let part = top.part_of(key);
                let block = Block::decode(top.stored_in(part, &stored)).unwrap();
                let found = top.find(part, &block, key).unwrap().unwrap();
                let number = whole.block_of(key);
                prop_assert_eq!(found.number as usize, number);
                prop_assert_eq!(&found.range, &whole.range(number).unwrap());
                prop_assert!(top.may_begin(number, key), "a key that the block can begin with");
                let grain = top.grain_of(key);
                prop_assert!(grain.start <= found.range.start && found.range.end <= grain.end);
            }
            let last = top.parts() - 1;
            let block = Block::decode(top.stored_in(last, &stored)).unwrap();
            prop_assert_eq!(top.find(last, &block, &[3]).unwrap(), None, "behind the table's last key");
        }

        #[test]
        fn any_bytes_are_refused_or_asked(bytes in proptest::collection::vec(any::<u8>(), 0..100), key: Vec<u8>) {
            if let Ok(index) = Index::decode(&bytes) {
                let _ = index.range(index.block_of(&key));
            }
        }
    }
}
