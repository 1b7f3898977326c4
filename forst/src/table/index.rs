//! The index of a table: where each block begins, in keys and in bytes.
use alluvium_env::{Error, Result};

use super::search::{IndexSearch, Search};
use crate::coding::{Input, put_varint};

/// Separators one behind the other, and where each ends.
#[derive(Debug, Default)]
pub(super) struct Separators {
    keys: Vec<u8>,
    ends: Vec<u32>,
}

impl Separators {
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
#[derive(Debug, Default)]
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
        self.separators.keys.extend_from_slice(separator);
        self.separators.ends.push(self.separators.keys.len() as u32);
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
        if high - low == 1 { low } else { self.last_not_above(key, low, high) }
    }

    /// Begins a search that goes one step at a time, for many at once.
    pub(crate) fn begin_search(&self, key: &[u8]) -> IndexSearch<'_> {
        self.search.begin(key)
    }

    /// The last separator of `low..high` that is not above `key`; `low`, if all of them are.
    fn last_not_above(&self, key: &[u8], mut low: usize, mut high: usize) -> usize {
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.separator(middle) <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Makes searching fast, once all blocks are there.
    pub(crate) fn finish(&mut self) {
        self.search = Search::of(&self.separators, self.blocks());
        self.separators.keys.shrink_to_fit();
    }

    /// Where a block lies in the file; `None` past the last one.
    pub(crate) fn range(&self, block: usize) -> Option<std::ops::Range<u64>> {
        Some(*self.offsets.get(block)?..*self.offsets.get(block + 1)?)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.separators.keys.capacity()
            + self.separators.ends.capacity() * 4
            + self.offsets.capacity() * 8
            + self.search.size_bytes()
    }

    /// Appends `count · (separator_len · separator · block_size)*`, numbers as varints.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.blocks() as u64);
        for block in 0..self.blocks() {
            let separator = self.separator(block);
            put_varint(out, separator.len() as u64);
            out.extend_from_slice(separator);
            let size = self.range(block).map_or(0, |r| r.end - r.start);
            put_varint(out, size);
        }
    }

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
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        let index = Index::decode(&bytes).unwrap();
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
                prop_assert_eq!(found, index.last_not_above(&key, 0, index.blocks()), "{:?}", key);
                let mut search = index.begin_search(&key);
                while search.step() {}
                let (low, high) = index.search.among(&key, index.separator(1)).unwrap_or((found, found + 1));
                prop_assert!(index.search.among(&key, index.separator(1)).is_none() || search.block() == low && low <= found && found < high);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_asked(bytes in proptest::collection::vec(any::<u8>(), 0..100), key: Vec<u8>) {
            if let Ok(index) = Index::decode(&bytes) {
                let _ = index.range(index.block_of(&key));
            }
        }
    }
}
