//! Entries whose keys came in order: one comparison says that the next is none of them, so they need no index.
//!
//! Who loads state writes it so, and saves a hash and a place in a table of megabytes for each key. As soon as a key comes that is
//! not above the last one, entries move into the index, a few with each write: nobody waits for all of them.
use super::arena::{Arena, Location};

#[derive(Debug, Default)]
pub(super) struct Ascending {
    /// Those that are not in the index, in key order.
    entries: Vec<Location>,
    /// The one of the highest key, while no other came.
    last: Option<Location>,
    /// Whether a key came that was not above the last one.
    ended: bool,
}

impl Ascending {
    /// Whether keys came in order so far, and some came.
    pub(super) fn goes_on(&self) -> bool {
        !self.ended && self.last.is_some()
    }

    /// Whether a key is above all that came, and they came in order.
    #[inline]
    pub(super) fn is_next(&self, arena: &Arena, key: &[u8]) -> bool {
        !self.ended && self.last.is_none_or(|last| arena.key(last) < key)
    }

    /// Takes in an entry whose key is next.
    #[inline]
    pub(super) fn push(&mut self, at: Location) {
        self.entries.push(at);
        self.last = Some(at);
    }

    /// No key is next any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether no key is next, and none is to be found here.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.entries.is_empty()
    }

    fn place(&self, arena: &Arena, key: &[u8]) -> Option<usize> {
        if self.entries.last().is_none_or(|last| arena.key(*last) < key) {
            return None;
        }
        self.entries.binary_search_by(|at| arena.key(*at).cmp(key)).ok()
    }

    /// The entry of a key, if it is not in the index.
    #[inline(never)]
    pub(super) fn find(&self, arena: &Arena, key: &[u8]) -> Option<Location> {
        self.entries.get(self.place(arena, key)?).copied()
    }

    /// The key's entry lies elsewhere from now on; whether it was one of these.
    pub(super) fn point(&mut self, arena: &Arena, key: &[u8], new: Location) -> bool {
        let place = self.place(arena, key);
        let Some(at) = place.and_then(|place| self.entries.get_mut(place)) else { return false };
        *at = new;
        true
    }

    /// Gives up its last entry, for the index.
    pub(super) fn pop(&mut self) -> Option<Location> {
        let popped = self.entries.pop();
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
        popped
    }

    /// Entries that are not in the index.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Location>()
    }
}
