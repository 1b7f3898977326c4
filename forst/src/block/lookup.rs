//! The lookup of a hot block: from a key's hash to its entry, without a search.
//!
//! Made when a block is asked for again, so a block that is read once pays nothing; derived, never stored.
use super::{Block, BlockCursor};
use crate::table::filter_hash;

/// An open-addressing table of entry offsets.
#[derive(Debug)]
pub(super) struct Lookup {
    slots: Box<[u16]>,
}

const EMPTY: u16 = u16::MAX;

impl Lookup {
    /// At most half of the slots are taken, of two bytes each, and their number is a power of two.
    pub(super) const BYTES_AN_ENTRY: usize = 6;

    /// The lookup of a block; `None` if it is too large for one, or cannot be read.
    pub(super) fn of(block: &Block) -> Option<Self> {
        if block.entries().len() >= usize::from(EMPTY) {
            return None;
        }
        let mut hashes = Vec::new();
        let mut cursor = BlockCursor::default();
        let mut offset = 0;
        cursor.rewind(block).ok()?;
        while let Some((_, key, _)) = cursor.entry(block) {
            hashes.push((filter_hash(key), offset as u16));
            offset = cursor.next_offset();
            cursor.advance(block).ok()?;
        }
        let mut slots = vec![EMPTY; (hashes.len() * 3 / 2 + 1).next_power_of_two()].into_boxed_slice();
        let mask = slots.len() - 1;
        for (hash, offset) in hashes {
            let mut at = hash as usize & mask;
            while slots.get(at).is_some_and(|slot| *slot != EMPTY) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = offset;
            }
        }
        Some(Self { slots })
    }

    /// The offsets of entries whose key may have this hash.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> {
        let mask = self.slots.len() - 1;
        let probes = (0..self.slots.len()).map(move |step| (hash as usize + step) & mask);
        probes
            .map_while(|at| self.slots.get(at).filter(|slot| **slot != EMPTY).map(|slot| usize::from(*slot)))
    }
}
