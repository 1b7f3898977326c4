//! Data blocks: sorted entries, prefix-compressed, with restart points (`docs/formats/sst.md`).
//!
//! A [`Block`] in memory is decoded once: checked and unpacked, but still prefix-compressed. Since a key shares bytes
//! only with the key at its restart point, any entry can be read with that one. A point read searches one restart
//! interval; a block that is hot gets a [`Lookup`], which leads to the entry at once.
mod builder;
mod cursor;
mod lookup;

pub(crate) use builder::BlockBuilder;
pub(crate) use cursor::{BlockCursor, BlockEntry};

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::sync::Arc;

use alluvium_env::{Error, Result};

use crate::coding::read_shared_section;
use crate::entry::EntryKind;
use crate::touch::touch;
use lookup::Lookup;

/// Entries from one restart point to the next, at most: one that shares nothing with the key there is one itself.
const RESTART_INTERVAL: usize = 16;

/// How many bytes two keys have in common at their start.
#[inline]
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A decoded block. A clone has the same bytes, and no lookup yet.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Arc<[u8]>,
    /// Where the entries end and the restart array begins.
    entries_end: u32,
    restarts: u32,
    /// Whether it never gets a lookup: nobody asks an index block for a key.
    plain: bool,
    lookup: OnceCell<Lookup>,
}

impl Clone for Block {
    fn clone(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), lookup: OnceCell::new(), ..*self }
    }
}

impl Block {
    /// Checks and unpacks a block as it is stored.
    pub(crate) fn decode(stored: &[u8]) -> Result<Self> {
        Self::from_content(read_shared_section("a data block", stored)?)
    }

    /// Takes over a block's content: entries, restart offsets, their count.
    pub(crate) fn from_content(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        let bytes = bytes.into();
        let wrong =
            || Error::corruption(format!("a data block of {} bytes has no restart array", bytes.len()));
        let (_, count) = bytes.split_last_chunk::<4>().ok_or_else(wrong)?;
        let restarts = u32::from_le_bytes(*count);
        let array = restarts.checked_mul(4).and_then(|n| n.checked_add(4)).ok_or_else(wrong)?;
        let entries_end =
            u32::try_from(bytes.len()).ok().and_then(|n| n.checked_sub(array)).ok_or_else(wrong)?;
        Ok(Self { bytes, entries_end, restarts, plain: false, lookup: OnceCell::new() })
    }

    /// The same as one that is only searched in order.
    pub(crate) fn plain(self) -> Self {
        Self { plain: true, ..self }
    }

    /// Whether it is an index block.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Memory it takes, with the lookup that it may get.
    pub(crate) fn size_bytes(&self) -> usize {
        let restarts = if self.plain { 0 } else { self.restarts };
        let lookup = restarts as usize * RESTART_INTERVAL * Lookup::BYTES_AN_ENTRY;
        self.bytes.len() + lookup + size_of::<Self>()
    }

    /// The first key; nothing if there is none that can be read.
    pub(crate) fn first_key(&self) -> Option<&[u8]> {
        BlockEntry::parse(self.entries(), 0).ok().map(|entry| entry.suffix)
    }

    pub(crate) fn entries(&self) -> &[u8] {
        self.bytes.get(..self.entries_end as usize).unwrap_or_default()
    }

    #[inline]
    fn restart(&self, index: usize) -> usize {
        let at = self.entries_end as usize + index * 4;
        let offset = self.bytes.get(at..).and_then(|b| b.first_chunk::<4>());
        offset.map_or(0, |b| u32::from_le_bytes(*b) as usize)
    }

    /// The key at a restart point, which is stored whole.
    #[inline]
    fn restart_key(&self, index: usize) -> Result<&[u8]> {
        let entry = BlockEntry::parse(self.entries(), self.restart(index))?;
        Ok(entry.suffix)
    }

    /// The first restart interval that can hold `key`: the last whose first key is not above it.
    fn interval_of(&self, key: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (0, self.restarts as usize);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.restart_key(middle)? <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The entry of exactly this key, by its [`crate::table::filter_hash`]; `hot` says that it pays to search by that.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], hash: u64, hot: bool) -> Result<Option<(EntryKind, &[u8])>> {
        if !hot {
            return self.search(key);
        }
        let lookup = self.lookup.get_or_init(|| Lookup::of(self));
        if lookup.is_empty() { self.search(key) } else { self.probe(lookup, key, hash) }
    }

    /// Loads what a search by hash looks at first.
    #[inline]
    pub(crate) fn touch_lookup(&self, hash: u64) -> Option<(usize, usize)> {
        let lookup = self.lookup.get()?;
        Some((lookup.prefix().len(), lookup.candidates(hash).next()?))
    }

    /// Loads what a search by hash looks at next: mostly that is the entry.
    #[inline]
    pub(crate) fn touch_entry(&self, hash: u64) -> Option<u8> {
        let offset = self.lookup.get()?.candidates(hash).next()?;
        Some(touch(self.bytes.get(offset..)?))
    }

    fn probe(&self, lookup: &Lookup, key: &[u8], hash: u64) -> Result<Option<(EntryKind, &[u8])>> {
        for offset in lookup.candidates(hash) {
            let entry = BlockEntry::parse(self.entries(), offset)?;
            let Some(start) = key.strip_suffix(entry.suffix).filter(|start| start.len() == entry.shared)
            else {
                continue;
            };
            if self.is_shared(lookup, start, offset)? {
                return Ok(Some((entry.kind, entry.value)));
            }
        }
        Ok(None)
    }

    /// Whether the key at the restart point of an entry begins with these bytes.
    #[inline]
    fn is_shared(&self, lookup: &Lookup, start: &[u8], offset: usize) -> Result<bool> {
        let prefix = lookup.prefix();
        let Some((head, rest)) = start.split_at_checked(prefix.len()) else {
            return Ok(prefix.starts_with(start));
        };
        if head != prefix || rest.is_empty() {
            return Ok(head == prefix);
        }
        match lookup.stem(offset).get(..rest.len()) {
            Some(stem) => Ok(stem == rest),
            None => Ok(self.restart_key(self.restart_before(offset))?.starts_with(start)),
        }
    }

    /// The restart point at or before an entry.
    #[inline]
    fn restart_before(&self, offset: usize) -> usize {
        let (mut low, mut high) = (0, self.restarts as usize);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.restart(middle) <= offset {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The value of the first entry whose key is above `key`.
    pub(crate) fn first_above(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        if self.restarts == 0 {
            return Ok(None);
        }
        let entries = self.entries();
        let interval = self.interval_of(key)?;
        let same = common(self.restart_key(interval)?, key);
        let mut offset = self.restart(interval);
        while offset < entries.len() {
            let entry = BlockEntry::parse(entries, offset)?;
            offset = entry.end;
            if entry.shared <= same && entry.suffix > key.get(entry.shared..).unwrap_or_default() {
                return Ok(Some(entry.value));
            }
        }
        Ok(None)
    }

    /// Searches a restart interval. Compares without rebuilding keys: the key at the restart point is not above the
    /// search key, so an entry that shares more with it than the search key does is below as well.
    fn search(&self, key: &[u8]) -> Result<Option<(EntryKind, &[u8])>> {
        if self.restarts == 0 {
            return Ok(None);
        }
        let entries = self.entries();
        let interval = self.interval_of(key)?;
        let same = common(self.restart_key(interval)?, key);
        let mut offset = self.restart(interval);
        while offset < entries.len() {
            let entry = BlockEntry::parse(entries, offset)?;
            offset = entry.end;
            if entry.shared > same {
                continue;
            }
            match entry.suffix.cmp(key.get(entry.shared..).unwrap_or_default()) {
                Ordering::Equal => return Ok(Some((entry.kind, entry.value))),
                Ordering::Greater => return Ok(None),
                Ordering::Less => {}
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;
    use crate::coding::put_section;
    use crate::compression::Compression;
    use crate::table::filter_hash;

    fn build(entries: &BTreeMap<Vec<u8>, Vec<u8>>) -> Block {
        let mut builder = BlockBuilder::default();
        for (key, value) in entries {
            builder.add(EntryKind::Put, key, value);
        }
        let mut stored = Vec::new();
        put_section(&mut stored, builder.finish(), Compression::Lz4);
        Block::decode(&stored).unwrap()
    }

    /// A block as full as settings allow, of even keys.
    fn full(block_size_bytes: usize) -> (Block, Vec<Vec<u8>>) {
        let (mut builder, mut keys) = (BlockBuilder::default(), Vec::new());
        loop {
            let key = filter_hash(&keys.len().to_le_bytes()) >> 48 | (keys.len() as u64) << 32;
            let key = [key.to_be_bytes(), key.to_le_bytes()].concat();
            if builder.is_full(block_size_bytes, &key, &[1; 100]) {
                return (Block::from_content(builder.finish()).unwrap(), keys);
            }
            builder.add(EntryKind::Put, &key, &[1; 100]);
            keys.push(key);
        }
    }

    #[test]
    fn a_full_block_takes_what_the_settings_say_and_hardly_less() {
        for block_size_bytes in [512, 2048, 4096, 65536] {
            let taken = full(block_size_bytes).0.bytes.len() + 2 * size_of::<usize>();
            assert!(
                taken <= block_size_bytes && taken > block_size_bytes - 140,
                "{taken} of {block_size_bytes}"
            );
        }
        let mut builder = BlockBuilder::default();
        assert!(
            !builder.is_full(512, b"key", &[1; 1000]),
            "an entry that is larger than a block has one of its own"
        );
        builder.add(EntryKind::Put, b"key", &[1; 1000]);
        assert!(builder.is_full(512, b"kez", b""));
    }

    #[test]
    fn a_lookup_leads_to_other_keys_entries_once_in_ten_reads_at_most() {
        for block_size_bytes in [1024, 2048, 4096] {
            let (block, keys) = full(block_size_bytes);
            let lookup = Lookup::of(&block);
            let led = keys.iter().map(|key| lookup.candidates(filter_hash(key)).count()).sum::<usize>();
            assert!(
                led >= keys.len() && led <= keys.len() + keys.len() / 10,
                "{led} entries for {}",
                keys.len()
            );
        }
        let (large, keys) = full(60_000);
        let lookup = Lookup::of(&large);
        for key in &keys {
            let hash = filter_hash(key);
            let entry = large.probe(&lookup, key, hash).unwrap();
            assert_eq!(
                entry,
                Some((EntryKind::Put, &[1; 100][..])),
                "where an offset takes all bits of a slot"
            );
        }
    }

    proptest! {
        #[test]
        fn a_block_answers_as_a_map_does(
            entries in proptest::collection::btree_map(
                proptest::collection::vec(0_u8..3, 0..7), proptest::collection::vec(any::<u8>(), 0..5), 1..120),
            start in proptest::collection::vec(0_u8..3, 0..20),
            probes in proptest::collection::vec(proptest::collection::vec(0_u8..3, 0..7), 50),
        ) {
            let whole = |key: &Vec<u8>| [start.as_slice(), key].concat();
            let probes: Vec<_> = probes.iter().map(whole).chain(probes.clone()).collect();
            let entries: BTreeMap<_, _> = entries.iter().map(|(key, value)| (whole(key), value.clone())).collect();
            let block = build(&entries);
            for key in entries.keys().chain(&probes) {
                let hash = filter_hash(key);
                let found = block.get(key, hash, false).unwrap();
                prop_assert_eq!(block.get(key, hash, true).unwrap(), found, "key {:?} by its hash", key);
                prop_assert_eq!(found.map(|(_, v)| v), entries.get(key).map(Vec::as_slice), "key {:?}", key);
                let mut cursor = BlockCursor::default();
                cursor.seek(&block, key).unwrap();
                let from: Vec<_> = std::iter::from_fn(|| {
                    let entry = cursor.entry(&block).map(|(_, k, v)| (k.to_vec(), v.to_vec()))?;
                    cursor.advance(&block).unwrap();
                    Some(entry)
                }).collect();
                let expected: Vec<_> = entries.range(key.clone()..).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(from, expected);
                let above = entries.range((Bound::Excluded(key.clone()), Bound::Unbounded)).next();
                prop_assert_eq!(block.first_above(key).unwrap(), above.map(|(_, value)| value.as_slice()));
            }
        }

        #[test]
        fn any_content_is_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..80), key: Vec<u8>) {
            if let Ok(block) = Block::from_content(bytes) {
                let _ = block.get(&key, filter_hash(&key), false);
                let _ = block.get(&key, filter_hash(&key), true);
                let _ = block.first_above(&key);
                let mut cursor = BlockCursor::default();
                if cursor.seek(&block, &key).is_ok() {
                    while cursor.entry(&block).is_some() && cursor.advance(&block).is_ok() {}
                }
            }
        }
    }
}
