//! Walks a block's entries in order.
use alluvium_env::{Error, Result};

use super::{Block, RESTART_INTERVAL};
use crate::coding::Input;
use crate::entry::EntryKind;

/// One entry as it lies in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry<'a> {
    /// Bytes its key shares with the key at the restart point before it.
    pub(super) shared: usize,
    /// The rest of its key.
    pub(super) suffix: &'a [u8],
    pub(super) kind: EntryKind,
    pub(super) value: &'a [u8],
    /// Where the next entry begins.
    pub(super) end: usize,
}

impl<'a> BlockEntry<'a> {
    #[inline]
    pub(super) fn parse(entries: &'a [u8], offset: usize) -> Result<Self> {
        match Self::parse_short(entries, offset) {
            Some(entry) => Ok(entry),
            None => Self::parse_any(entries, offset),
        }
    }

    /// Most entries: key lengths of a byte and a value length of one or two.
    #[inline]
    fn parse_short(entries: &'a [u8], offset: usize) -> Option<Self> {
        let [shared, suffix, low, high] = *entries.get(offset..)?.first_chunk::<4>()?;
        let (tagged, header) = match (low < 0x80, high < 0x80) {
            (true, _) => (usize::from(low), 3),
            (false, true) => (usize::from(low & 0x7f) | usize::from(high) << 7, 4),
            (false, false) => return None,
        };
        if shared >= 0x80 || suffix >= 0x80 {
            return None;
        }
        let start = offset + header;
        let middle = start + usize::from(suffix);
        let end = middle + (tagged >> 2);
        let kind = EntryKind::from_code(tagged as u64 & 3).ok()?;
        let (suffix, value) = (entries.get(start..middle)?, entries.get(middle..end)?);
        Some(Self { shared: usize::from(shared), suffix, kind, value, end })
    }

    #[cold]
    fn parse_any(entries: &'a [u8], offset: usize) -> Result<Self> {
        let mut input = Input::new("a block entry", entries.get(offset..).unwrap_or_default());
        let shared = input.length()?;
        let suffix = input.length()?;
        let tagged = input.varint()?;
        let kind = EntryKind::from_code(tagged & 3)?;
        let value =
            usize::try_from(tagged >> 2).map_err(|_| Error::corruption("a value length over 64 bits"))?;
        let suffix = input.take(suffix)?;
        let value = input.take(value)?;
        Ok(Self { shared, suffix, kind, value, end: offset + input.offset() })
    }

    /// What the key shares with the key at its restart point.
    #[inline]
    pub(super) fn prefix_of(&self, restart_key: &'a [u8]) -> Result<&'a [u8]> {
        restart_key.get(..self.shared).ok_or_else(|| {
            let (shared, length) = (self.shared, restart_key.len());
            Error::corruption(format!("a block entry shares {shared} bytes with a restart key of {length}"))
        })
    }
}

/// A position in a block. It owns the current key, not the block.
#[derive(Debug, Default)]
pub(crate) struct BlockCursor {
    key: Vec<u8>,
    /// Where the key at the restart point lies; keys there are stored whole.
    restart_key: std::ops::Range<usize>,
    /// Entries since there.
    since_restart: usize,
    kind: Option<EntryKind>,
    value: std::ops::Range<usize>,
    next: usize,
}

impl BlockCursor {
    /// Goes to the first entry whose key is not below `key`.
    pub(crate) fn seek(&mut self, block: &Block, key: &[u8]) -> Result<()> {
        self.key.clear();
        self.next =
            if block.restarts == 0 { block.entries().len() } else { block.restart(block.interval_of(key)?) };
        loop {
            self.advance(block)?;
            if self.kind.is_none() || self.key.as_slice() >= key {
                return Ok(());
            }
        }
    }

    /// Goes to the first entry.
    pub(crate) fn rewind(&mut self, block: &Block) -> Result<()> {
        self.key.clear();
        self.next = 0;
        self.advance(block)
    }

    /// Goes to the next entry; past the last one there is none.
    #[inline]
    pub(crate) fn advance(&mut self, block: &Block) -> Result<()> {
        let entries = block.entries();
        if self.next >= entries.len() {
            self.kind = None;
            return Ok(());
        }
        let entry = BlockEntry::parse(entries, self.next)?;
        self.key.clear();
        if entry.shared == 0 {
            let end = entry.end - entry.value.len();
            self.restart_key = end - entry.suffix.len()..end;
            self.since_restart = 0;
        } else {
            self.since_restart += 1;
            if self.since_restart >= RESTART_INTERVAL {
                // Each copies of the key there, so one of megabytes would be copied for every few bytes of a block.
                return Err(Error::corruption(format!(
                    "a block has over {RESTART_INTERVAL} entries to a restart point"
                )));
            }
            let restart_key = entries.get(self.restart_key.clone()).unwrap_or_default();
            self.key.extend_from_slice(entry.prefix_of(restart_key)?);
        }
        self.key.extend_from_slice(entry.suffix);
        self.kind = Some(entry.kind);
        self.value = entry.end - entry.value.len()..entry.end;
        self.next = entry.end;
        Ok(())
    }

    /// Where the next entry begins.
    pub(super) fn next_offset(&self) -> usize {
        self.next
    }

    /// The entry here, `None` past the end.
    #[inline]
    pub(crate) fn entry<'a>(&'a self, block: &'a Block) -> Option<(EntryKind, &'a [u8], &'a [u8])> {
        let value = block.entries().get(self.value.clone()).unwrap_or_default();
        self.kind.map(|kind| (kind, self.key.as_slice(), value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coding::put_varint;

    /// Lengths on both sides of where a varint takes a byte more.
    fn length() -> impl Strategy<Value = usize> {
        prop_oneof![0_usize..40, 120_usize..140, 4090_usize..4100]
    }

    #[test]
    fn entries_that_share_a_key_are_no_more_than_those_of_a_restart() {
        let block = |entries: usize| {
            let mut content = Vec::new();
            for entry in 0..entries {
                put_varint(&mut content, u64::from(entry > 0));
                put_varint(&mut content, 1);
                put_varint(&mut content, 0);
                content.push(entry as u8);
            }
            content.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
            Block::from_content(content).unwrap()
        };
        let walk = |block: &Block| {
            let mut cursor = BlockCursor::default();
            cursor.rewind(block)?;
            while cursor.entry(block).is_some() {
                cursor.advance(block)?;
            }
            Ok(())
        };
        walk(&block(RESTART_INTERVAL)).unwrap();
        let error: Error = walk(&block(RESTART_INTERVAL + 1)).unwrap_err();
        assert_eq!(error.kind(), alluvium_env::ErrorKind::Corruption);
    }

    proptest! {
        #[test]
        fn an_entry_reads_the_same_the_short_way_and_however_it_is_cut(
            shared in length(), suffix in length(), value in length(), kind in 0_u64..4, before in 0_usize..4, cut: usize,
        ) {
            let mut entries = vec![7; before];
            put_varint(&mut entries, shared as u64);
            put_varint(&mut entries, suffix as u64);
            put_varint(&mut entries, (value as u64) << 2 | kind);
            entries.extend(std::iter::repeat_n(1, suffix).chain(std::iter::repeat_n(2, value)));
            let whole = BlockEntry::parse_any(&entries, before).unwrap();
            prop_assert_eq!((whole.shared, whole.suffix.len(), whole.value.len(), whole.end), (shared, suffix, value, entries.len()));
            prop_assert_eq!(BlockEntry::parse(&entries, before).unwrap(), whole);
            let is_short = shared < 128 && suffix < 128 && value < 4096 && entries.len() >= before + 4;
            prop_assert_eq!(BlockEntry::parse_short(&entries, before).is_some(), is_short);
            let cut = &entries[..cut % entries.len()];
            prop_assert!(BlockEntry::parse(cut, before).is_err());
        }
    }
}
