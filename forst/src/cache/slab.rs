//! Blocks and their accounts, in chunks of which none is ever moved.
use std::cell::Cell;

use super::places::NOWHERE;
use crate::block::Block;

/// A block and its account.
#[repr(align(64))]
pub(super) struct Held {
    pub(super) block: Block,
    pub(super) hits: Cell<u8>,
    pub(super) in_main: bool,
}

/// Accounts in a slab that grows by the chunk.
#[derive(Default)]
pub(super) struct Slab {
    chunks: Vec<Vec<Option<Held>>>,
    free: Vec<u32>,
}

/// Accounts of a chunk.
pub(super) const CHUNK: usize = 1024;

impl Slab {
    /// By what a place says, which need not be a block.
    #[inline]
    pub(super) fn get(&self, place: u32) -> Option<&Held> {
        let index = (place as usize).wrapping_sub(1);
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)?.as_ref()
    }

    pub(super) fn slot(&mut self, place: u32) -> Option<&mut Option<Held>> {
        let index = (place as usize).wrapping_sub(1);
        self.chunks.get_mut(index / CHUNK)?.get_mut(index % CHUNK)
    }

    /// Returns its place.
    pub(super) fn insert(&mut self, held: Held) -> u32 {
        if let Some(place) = self.free.pop() {
            if let Some(slot) = self.slot(place) {
                *slot = Some(held);
            }
            return place;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let Some(last) = self.chunks.last_mut() else { return NOWHERE };
        last.push(Some(held));
        (full + last.len()) as u32
    }

    pub(super) fn remove(&mut self, place: u32) -> Option<Held> {
        let held = self.slot(place)?.take()?;
        self.free.push(place);
        Some(held)
    }

    /// How many accounts there are.
    pub(super) fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        full + self.chunks.last().map_or(0, Vec::len) - self.free.len()
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }
}
