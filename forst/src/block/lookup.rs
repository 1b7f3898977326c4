//! The lookup of a hot block: from a key's hash to its entry, without a search.
//!
//! Made when a block is asked for again, so a block that is read once pays nothing; derived, never stored. What all keys of
//! the block begin with stands beside the slots, and so do the few bytes that the keys at its restart points have behind that:
//! nearly all entries share no more with theirs, so that is not looked at, and a lookup waits for memory twice, for a slot and
//! for the entry. The bits of a slot that an offset leaves are some of the hash's, its *tag*: two lookups pass about one slot that is
//! another key's, and would wait for that one's entry only to see that it is.
use super::{Block, BlockCursor, common};
use crate::table::filter_hash;

/// An open-addressing table of entry offsets; empty for a block that is too large for one, or cannot be read.
///
/// Layout: `prefix_length:u8 · prefix`, together [`HEADER_BYTES`] long; the stems, one a restart point, each an
/// `offset:u16le · length:u8 · bytes`, together [`STEM_BYTES`] long; then the slots, each a `tag | offset` as `u16le`.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    bytes: Box<[u8]>,
    /// Where the slots begin.
    slots_at: u32,
    /// The bits of a slot that are an offset. No offset has all of them, so no slot is [`EMPTY`] by chance.
    offset_bits: u16,
}

const EMPTY: u16 = u16::MAX;
const HEADER_BYTES: usize = 16;
const MAX_PREFIX_BYTES: usize = HEADER_BYTES - 1;
const STEM_BYTES: usize = 8;
const MAX_STEM_BYTES: usize = STEM_BYTES - 3;
/// Where restart points have fewer entries, as they do if keys have nothing in common, their keys are not kept.
const LEAST_ENTRIES_A_STEM: usize = 4;

impl Lookup {
    /// Of six, a third to two thirds of the slots are taken, of two bytes each, and their number is a power of two; of a seventh
    /// are the stems and the header.
    pub(super) const BYTES_AN_ENTRY: usize = 7;

    /// The lookup of a block.
    pub(super) fn of(block: &Block) -> Self {
        if block.entries().len() >= usize::from(EMPTY) {
            return Self::default();
        }
        Self::of_small(block).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn of_small(block: &Block) -> Option<Self> {
        let mut hashes = Vec::new();
        let mut cursor = BlockCursor::default();
        let mut offset = 0;
        cursor.rewind(block).ok()?;
        let first = cursor.entry(block)?.1.to_vec();
        let mut prefix = first.len().min(MAX_PREFIX_BYTES);
        while let Some((_, key, _)) = cursor.entry(block) {
            hashes.push((filter_hash(key), offset as u16));
            prefix = prefix.min(common(&first, key));
            offset = cursor.next_offset();
            cursor.advance(block).ok()?;
        }
        let slots = (hashes.len() * 3 / 2 + 1).next_power_of_two();
        let mut bytes = vec![prefix as u8];
        bytes.extend_from_slice(first.get(..prefix)?);
        bytes.resize(HEADER_BYTES, 0);
        let restarts = block.restarts as usize;
        if restarts <= hashes.len().div_ceil(LEAST_ENTRIES_A_STEM) {
            for restart in 0..restarts {
                let key = block.restart_key(restart).ok()?.get(prefix..)?;
                let stem = key.get(..key.len().min(MAX_STEM_BYTES))?;
                bytes.extend_from_slice(&(block.restart(restart) as u16).to_le_bytes());
                bytes.push(stem.len() as u8);
                bytes.extend_from_slice(stem);
                bytes.resize(HEADER_BYTES + (restart + 1) * STEM_BYTES, 0);
            }
        }
        let slots_at = bytes.len();
        bytes.resize(slots_at + slots * 2, u8::MAX);
        let offset_bits = u16::MAX >> (block.entries().len() as u16).leading_zeros();
        let mut lookup = Self { bytes: bytes.into_boxed_slice(), slots_at: slots_at as u32, offset_bits };
        for (hash, offset) in hashes {
            let mut at = hash as usize & (slots - 1);
            while lookup.slot(at)? != EMPTY {
                at = (at + 1) & (slots - 1);
            }
            let (place, slot) = (slots_at + at * 2, lookup.tag(hash) | offset);
            lookup.bytes.get_mut(place..place + 2)?.copy_from_slice(&slot.to_le_bytes());
        }
        Some(lookup)
    }

    /// What all keys of the block begin with, as far as it is kept.
    #[inline]
    pub(super) fn prefix(&self) -> &[u8] {
        let (length, rest) = self.bytes.split_first().unwrap_or((&0, &[]));
        rest.get(..usize::from(*length)).unwrap_or_default()
    }

    /// What the key at the last restart point up to an offset has behind the prefix, as far as it is kept.
    #[inline]
    pub(super) fn stem(&self, offset: usize) -> &[u8] {
        let stems = self.bytes.get(HEADER_BYTES..self.slots_at as usize).unwrap_or_default();
        let mut last: &[u8] = &[];
        for stem in stems.chunks_exact(STEM_BYTES) {
            let [low, high, length, bytes @ ..] = stem else { break };
            if usize::from(u16::from_le_bytes([*low, *high])) > offset {
                break;
            }
            last = bytes.get(..usize::from(*length)).unwrap_or_default();
        }
        last
    }

    /// The top bits of a hash, whose bottom ones say where its slot is.
    #[inline]
    fn tag(&self, hash: u64) -> u16 {
        (hash >> 48) as u16 & !self.offset_bits
    }

    #[inline]
    fn slot(&self, at: usize) -> Option<u16> {
        let slot = self.bytes.get(self.slots_at as usize + at * 2..)?.first_chunk::<2>()?;
        Some(u16::from_le_bytes(*slot))
    }

    /// The offsets of entries whose key may have this hash.
    #[inline]
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> {
        let slots = (self.bytes.len() - self.slots_at as usize) / 2;
        let probes = (0..slots).map(move |step| (hash as usize + step) & (slots - 1));
        let taken = probes.map_while(|at| self.slot(at).filter(|slot| *slot != EMPTY));
        let tag = self.tag(hash);
        taken
            .filter(move |slot| slot & !self.offset_bits == tag)
            .map(|slot| usize::from(slot & self.offset_bits))
    }
}
