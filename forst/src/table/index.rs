//! The index of a table: where each block begins, in keys and in bytes.
use alluvium_env::{Error, Result};

use crate::coding::{Input, put_varint};

/// Separators and offsets of the blocks. Separator `i` is above every key of block `i - 1` and not above any of block
/// `i`; separator 0 is empty.
#[derive(Debug, Default)]
pub(crate) struct Index {
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    search: Search,
    /// One more than there are blocks: block `i` lies in `offsets[i]..offsets[i + 1]`.
    offsets: Vec<u64>,
}

/// Narrows a search down to separators whose first differing bytes are the key's: numbers, one beside the other.
#[derive(Debug, Default)]
struct Search {
    /// Bytes that all separators but the empty first one begin with.
    common: usize,
    /// The eight bytes behind those, of separator 1 and on; missing ones are zero.
    heads: Vec<u64>,
}

/// Eight bytes of a key from `start` on as a number that orders as they do.
#[inline]
pub(crate) fn head(key: &[u8], start: usize) -> u64 {
    let rest = key.get(start..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*whole);
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

impl Index {
    pub(crate) fn blocks(&self) -> usize {
        self.key_ends.len()
    }

    /// Adds the next block.
    pub(crate) fn push(&mut self, separator: &[u8], size_bytes: usize) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.keys.extend_from_slice(separator);
        self.key_ends.push(self.keys.len() as u32);
        let end = self.data_bytes() + size_bytes as u64;
        self.offsets.push(end);
    }

    /// Bytes of all blocks.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn separator(&self, block: usize) -> &[u8] {
        let start = match block.checked_sub(1) {
            Some(before) => self.key_ends.get(before).copied().unwrap_or(0) as usize,
            None => 0,
        };
        let end = self.key_ends.get(block).copied().unwrap_or(0) as usize;
        self.keys.get(start..end).unwrap_or_default()
    }

    /// The one block that can hold `key`.
    #[inline]
    pub(crate) fn block_of(&self, key: &[u8]) -> usize {
        if self.search.heads.len() + 1 != self.blocks() {
            return self.last_not_above(key, 0, self.blocks());
        }
        let shared = self.separator(1).get(..self.search.common).unwrap_or_default();
        match key.get(..self.search.common) {
            Some(start) if start == shared => {}
            _ if key < shared => return 0,
            _ => return self.blocks().saturating_sub(1),
        }
        let wanted = head(key, self.search.common);
        let low = self.search.heads.partition_point(|head| *head < wanted);
        // Heads that are equal say nothing of the bytes behind them.
        let same = self.search.heads.iter().skip(low).take_while(|head| **head == wanted).count();
        if same == 0 { low } else { self.last_not_above(key, low, low + same + 1) }
    }

    /// Begins a search that goes one step at a time, for many at once.
    pub(crate) fn begin_search(&self, key: &[u8]) -> IndexSearch<'_> {
        let heads = self.search.heads.as_slice();
        IndexSearch { heads, wanted: head(key, self.search.common), low: 0, left: heads.len() }
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
        let (first, last) = (self.separator(1), self.separator(self.blocks().saturating_sub(1)));
        // The separators ascend, so what the first and the last one share, all of them do.
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let heads = (1..self.blocks()).map(|block| head(self.separator(block), common)).collect();
        self.search = Search { common, heads };
        self.keys.shrink_to_fit();
    }

    /// Where a block lies in the file; `None` past the last one.
    pub(crate) fn range(&self, block: usize) -> Option<std::ops::Range<u64>> {
        Some(*self.offsets.get(block)?..*self.offsets.get(block + 1)?)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.keys.capacity()
            + self.key_ends.capacity() * 4
            + (self.offsets.capacity() + self.search.heads.capacity()) * 8
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

/// A search under way: near enough to say which block will be looked at.
pub(crate) struct IndexSearch<'a> {
    heads: &'a [u64],
    wanted: u64,
    low: usize,
    left: usize,
}

impl IndexSearch<'_> {
    /// Goes on by one comparison; `false` if there is none left.
    #[inline]
    pub(crate) fn step(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        let half = self.left / 2;
        let below = self.heads.get(self.low + half).is_some_and(|head| *head < self.wanted);
        self.low += if below { half + 1 } else { 0 };
        self.left = if below { self.left - half - 1 } else { half };
        true
    }

    /// The block it has come to.
    pub(crate) fn block(&self) -> usize {
        self.low
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
            probes in proptest::collection::vec(proptest::collection::vec(0_u8..3, 0..16), 40),
        ) {
            let mut index = Index::default();
            index.push(b"", 1);
            for separator in &separators {
                index.push(&[start.as_slice(), separator].concat(), 1);
            }
            index.finish();
            let whole = separators.iter().map(|s| [start.as_slice(), s].concat());
            for key in whole.chain(probes.iter().map(|p| [start.as_slice(), p].concat())).chain(probes.clone()) {
                prop_assert_eq!(index.block_of(&key), index.last_not_above(&key, 0, index.blocks()), "{:?}", key);
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
