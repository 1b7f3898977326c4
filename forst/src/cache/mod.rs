//! The memory tier: decoded blocks of one store, owned by its task thread.
//!
//! There is no lock because there is no sharing: blocks are decoded where they are fetched, mostly on the I/O runtime, and handed to
//! the task thread, which alone inserts and reads them. A block is found by its number among its table's places, and what is
//! known of it lies in one line of memory with the addresses of its entries and its lookup: a hit waits for its place, mostly
//! in a near cache, and for that line before it searches. Where few blocks of a table are here its places lie in a map, so that they
//! take memory for what is held and not for what there is. What filters and indexes take is taken from the blocks (design D14); what
//! memtables leave is lent to them (RFC 0007).
//!
//! Eviction is S3-FIFO (Yang et al., SOSP 2023): a block enters a small queue and moves to the main one only if it is
//! asked for again, so that a scan passes through the small one; a block that was wanted soon after it had left goes to
//! the main one at once.
mod places;
mod slab;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::HashMap;

use crate::block::Block;
use crate::hint::Heat;
use crate::table::FileId;
use places::{NOWHERE, Places};
use slab::{CHUNK, Held, Slab};

type BlockKey = (FileId, u32);

/// What its account, its place, its queue and the allocator add to a block.
const ENTRY_OVERHEAD_BYTES: usize = 80;
/// The small queue's share of the capacity: one part in so many.
pub(crate) const SMALL_SHARE: usize = 10;
/// A block that takes more than one part in so many of the memory is not kept: it would push out what is read more often.
/// Blocks of the largest size that settings allow are below it, with the lookup of entries of a few bytes.
const LARGEST_SHARE: usize = 12;
/// Hits that are remembered; each buys one more round in the main queue.
const MAX_HITS: u8 = 3;
/// Hits after which a block is searched by hash.
const HOT_HITS: u8 = 1;

/// A place of which the block left the small queue lately.
const GHOST: u32 = u32::MAX;

/// Decoded blocks within a byte budget.
pub(crate) struct BlockCache {
    /// Where a table's blocks are in `held`, one more than that; or [`NOWHERE`], or [`GHOST`].
    tables: HashMap<FileId, Places>,
    held: Slab,
    small: VecDeque<BlockKey>,
    main: VecDeque<BlockKey>,
    /// Blocks that left the small queue lately, in the order in which they did.
    ghosts: VecDeque<BlockKey>,
    small_bytes: usize,
    bytes: usize,
    capacity_bytes: usize,
    /// What it shares with filters, indexes and the blocks that jobs hold for it.
    resident_bytes: usize,
    tail_bytes: usize,
    held_bytes: usize,
    /// What it has beside that for now: memtables do not use it.
    lent_bytes: usize,
    /// What `tables` takes.
    places_bytes: usize,
}

fn weight(block: &Block) -> usize {
    block.size_bytes() + ENTRY_OVERHEAD_BYTES
}

impl BlockCache {
    /// A cache that shares `resident_bytes` with the filters and indexes.
    pub(crate) fn new(resident_bytes: usize) -> Self {
        Self {
            tables: HashMap::default(),
            held: Slab::default(),
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghosts: VecDeque::new(),
            small_bytes: 0,
            bytes: 0,
            capacity_bytes: resident_bytes,
            resident_bytes,
            tail_bytes: 0,
            held_bytes: 0,
            lent_bytes: 0,
            places_bytes: 0,
        }
    }

    /// A block, and whether it has been asked for before.
    #[inline]
    pub(crate) fn get(&self, file: FileId, number: u32) -> Option<(&Block, bool)> {
        let held = self.held.get(self.place((file, number))?)?;
        let hits = held.hits.get();
        if hits < MAX_HITS {
            held.hits.set(hits + 1);
        }
        Some((&held.block, hits >= HOT_HITS))
    }

    /// A block, without asking for it.
    #[inline]
    pub(crate) fn peek(&self, file: FileId, number: u32) -> Option<&Block> {
        self.held.get(self.place((file, number))?).map(|held| &held.block)
    }

    #[inline]
    fn place(&self, (file, number): BlockKey) -> Option<u32> {
        Some(self.tables.get(&file)?.get(number))
    }

    /// Tables that it knows.
    pub(crate) fn files(&self) -> impl Iterator<Item = FileId> {
        self.tables.keys().copied()
    }

    /// Bytes of the blocks it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which blocks of a table are here: a bit a block; `None` if none is.
    pub(crate) fn blocks_of(&self, file: FileId) -> Option<Arc<[u64]>> {
        let places = self.tables.get(&file)?;
        let mut bits = vec![0_u64; places.end().div_ceil(64)];
        for (number, _) in places.iter().filter(|(_, place)| *place != GHOST) {
            if let Some(bits) = bits.get_mut(number as usize / 64) {
                *bits |= 1 << (number % 64);
            }
        }
        Some(bits.into())
    }

    /// Tells of the blocks in some places of a table how they have been used; returns how many places there are of these.
    pub(crate) fn hot_blocks(
        &self,
        file: FileId,
        numbers: Range<usize>,
        found: &mut dyn FnMut(u32, Heat),
    ) -> usize {
        let Some(places) = self.tables.get(&file) else { return 0 };
        let numbers = numbers.start.min(places.end())..numbers.end.min(places.end());
        for number in numbers.clone() {
            let Some(held) = self.held.get(places.get(number as u32)) else { continue };
            let heat = match (held.in_main, held.hits.get()) {
                (false, 0) => Heat::Seen,
                (false, _) | (true, 0) => Heat::Again,
                (true, _) => Heat::Often,
            };
            found(number as u32, heat);
        }
        numbers.len()
    }

    /// Bytes of blocks that it may hold now.
    pub(crate) fn capacity_bytes(&self) -> usize {
        self.capacity_bytes
    }

    /// Bytes that fit in without anything leaving.
    pub(crate) fn free_bytes(&self) -> usize {
        self.capacity_bytes.saturating_sub(self.bytes)
    }

    pub(crate) fn insert(&mut self, file: FileId, number: u32, block: Block) {
        self.insert_as(file, number, block, false);
    }

    /// Keeps a block that has shown to be in use.
    pub(crate) fn insert_warm(&mut self, file: FileId, number: u32, block: Block) {
        self.insert_as(file, number, block, true);
    }

    fn insert_as(&mut self, file: FileId, number: u32, block: Block, is_warm: bool) {
        let added = weight(&block);
        if added > self.capacity_bytes.min(self.resident_bytes / LARGEST_SHARE) {
            return;
        }
        let key = (file, number);
        let places = self.tables.entry(file).or_default();
        let in_main = match places.get(number) {
            NOWHERE => is_warm,
            GHOST => true,
            _ => return,
        };
        let place = self.held.insert(Held { block, hits: Cell::new(0), in_main });
        self.set_place(key, place);
        self.bytes += added;
        if in_main {
            self.main.push_back(key);
        } else {
            self.small_bytes += added;
            self.small.push_back(key);
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.capacity_bytes {
            let from_small = self.small_bytes > self.capacity_bytes / SMALL_SHARE || self.main.is_empty();
            if from_small {
                self.evict_small();
            } else {
                self.evict_main();
            }
            if self.small.is_empty() && self.main.is_empty() {
                return;
            }
        }
    }

    /// Says where a block is from now on; returns where it was.
    fn set_place(&mut self, (file, number): BlockKey, place: u32) -> u32 {
        let Some(places) = self.tables.get_mut(&file) else { return NOWHERE };
        let taken = places.size_bytes();
        let before = places.set(number, place);
        if places.size_bytes() != taken {
            self.places_bytes = self.places_bytes + places.size_bytes() - taken;
            self.set_capacity();
        }
        before
    }

    /// Has a block leave; `mark` is what is left in its place.
    fn leave(&mut self, key: BlockKey, mark: u32) {
        let place = self.set_place(key, mark);
        if let Some(held) = self.held.remove(place) {
            self.bytes -= weight(&held.block);
        }
    }

    fn evict_small(&mut self) {
        let Some(key) = self.small.pop_front() else { return };
        // A table that is gone has taken its bytes along.
        let Some(held) = self.place(key).and_then(|place| self.held.slot(place)?.as_mut()) else { return };
        self.small_bytes -= weight(&held.block);
        if held.hits.get() > 0 {
            held.hits.set(0);
            held.in_main = true;
            self.main.push_back(key);
        } else {
            self.leave(key, GHOST);
            self.remember(key);
        }
    }

    fn evict_main(&mut self) {
        let Some(key) = self.main.pop_front() else { return };
        let Some(held) = self.place(key).and_then(|place| self.held.get(place)) else { return };
        if let Some(hits) = held.hits.get().checked_sub(1) {
            held.hits.set(hits);
            self.main.push_back(key);
        } else {
            self.leave(key, NOWHERE);
        }
    }

    fn remember(&mut self, key: BlockKey) {
        self.ghosts.push_back(key);
        while self.ghosts.len() > self.main.len().max(16) {
            let Some((file, number)) = self.ghosts.pop_front() else { return };
            if self.place((file, number)) == Some(GHOST) {
                self.set_place((file, number), NOWHERE);
            }
        }
    }

    /// Gives the blocks what filters and indexes leave, at least an eighth.
    pub(crate) fn make_room(&mut self, tail_bytes: usize) {
        self.tail_bytes = tail_bytes;
        self.share();
    }

    /// Leaves room for blocks that jobs hold for it.
    #[inline]
    pub(crate) fn hold_back(&mut self, held_bytes: usize) {
        if held_bytes != self.held_bytes {
            self.held_bytes = held_bytes;
            self.share();
        }
    }

    /// Has this much besides, until it is told otherwise.
    #[inline]
    pub(crate) fn lend(&mut self, lent_bytes: usize) {
        if lent_bytes != self.lent_bytes {
            self.lent_bytes = lent_bytes;
            self.share();
        }
    }

    fn share(&mut self) {
        self.set_capacity();
        self.evict();
    }

    /// What is not for blocks, or held for them elsewhere.
    fn others_bytes(&self) -> usize {
        self.tail_bytes + self.held_bytes + self.places_bytes
    }

    fn set_capacity(&mut self) {
        let bytes = self.resident_bytes + self.lent_bytes;
        self.capacity_bytes = bytes.saturating_sub(self.others_bytes()).max(self.resident_bytes / 8);
    }

    /// What filters and indexes take.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Bytes that a job may hold for it: what is free, or one part in `share`; never more than its own, since a
    /// job gives nothing back.
    pub(crate) fn room_bytes(&self, share: usize) -> usize {
        let own = self.resident_bytes.saturating_sub(self.others_bytes());
        self.free_bytes().max(self.capacity_bytes / share).min(own)
    }

    /// Bytes that a job may borrow until it ends: what is free, and what is held of blocks that nobody has asked for again and
    /// that are the next to leave. It gives nothing back before, so it has no more than the cache's own either.
    pub(crate) fn idle_bytes(&self) -> usize {
        let own = self.resident_bytes.saturating_sub(self.others_bytes());
        let next_to_leave = self.small_bytes.saturating_sub(self.capacity_bytes / SMALL_SHARE);
        (self.free_bytes() + next_to_leave).min(own)
    }

    /// Gives a block another name, if it is here: its record was written anew.
    pub(crate) fn rename(&mut self, old: BlockKey, new: BlockKey) {
        let Some(block) = self.peek(old.0, old.1).cloned() else { return };
        self.insert(new.0, new.1, block);
    }

    /// Forgets the blocks of tables that are gone.
    pub(crate) fn forget(&mut self, gone: impl IntoIterator<Item = FileId>) {
        for file in gone {
            let places = self.tables.remove(&file).unwrap_or_default();
            self.places_bytes -= places.size_bytes();
            for (_, place) in places.iter() {
                let Some(held) = self.held.remove(place) else { continue };
                self.bytes -= weight(&held.block);
                if !held.in_main {
                    self.small_bytes -= weight(&held.block);
                }
            }
        }
        self.sweep();
    }

    /// Takes blocks that are gone out of the queues once they are most of them: where everything fits nothing is ever evicted, and
    /// what flushes and compactions write would queue up for ever.
    fn sweep(&mut self) {
        if self.small.len() + self.main.len() <= 2 * self.held.len() + CHUNK {
            return;
        }
        let is_here = |&(file, number): &BlockKey| {
            self.tables.get(&file).is_some_and(|places| self.held.get(places.get(number)).is_some())
        };
        for queue in [&mut self.small, &mut self.main] {
            queue.retain(is_here);
            queue.shrink_to(2 * queue.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        let mut content = vec![0; 1000];
        content.extend_from_slice(&0_u32.to_le_bytes());
        Block::from_content(content).unwrap()
    }

    fn held(cache: &BlockCache) -> usize {
        let held =
            cache.tables.values().flat_map(Places::iter).filter_map(|(_, place)| cache.held.get(place));
        held.map(|held| weight(&held.block)).sum()
    }

    #[test]
    fn what_is_lent_holds_blocks_and_is_no_room_for_jobs() {
        let (block_bytes, own) = (weight(&block()), 20 * weight(&block()));
        let mut cache = BlockCache::new(own);
        cache.lend(own);
        for number in 0..100 {
            cache.insert(FileId(1), number, block());
        }
        assert!(cache.bytes() > own + own / 2 && cache.bytes() <= 2 * own, "{} bytes", cache.bytes());
        cache.lend(0);
        assert!(cache.bytes() <= own);

        let mut empty = BlockCache::new(own);
        empty.lend(own);
        empty.make_room(4 * block_bytes);
        empty.hold_back(6 * block_bytes);
        assert_eq!(empty.room_bytes(SMALL_SHARE), 10 * block_bytes);
    }

    #[test]
    fn idle_is_what_is_free_or_next_to_leave_and_never_what_was_asked_for_again() {
        let own = 200 * weight(&block());
        let mut cache = BlockCache::new(own);
        assert_eq!(cache.idle_bytes(), own);
        (0..100).for_each(|number| cache.insert(FileId(1), number, block()));
        let small = cache.capacity_bytes() / SMALL_SHARE;
        assert_eq!(cache.idle_bytes(), cache.capacity_bytes() - small, "nobody has asked for anything");

        // Those that were asked for move on once others come.
        (0..100).for_each(|number| assert!(cache.get(FileId(1), number).is_some()));
        (0..200).for_each(|number| cache.insert(FileId(2), number, block()));
        let asked = (0..100).filter(|number| cache.peek(FileId(1), *number).is_some()).count();
        assert_eq!(asked, 100);
        let rest = cache.capacity_bytes() - 100 * weight(&block());
        assert!(cache.idle_bytes() <= rest, "{} bytes of {rest}", cache.idle_bytes());

        cache.lend(own);
        cache.hold_back(150 * weight(&block()));
        assert!(cache.idle_bytes() <= 50 * weight(&block()), "what memtables leave is not lent once more");
    }

    #[test]
    fn where_everything_fits_what_is_written_anew_does_not_queue_up() {
        let mut cache = BlockCache::new(1 << 30);
        for round in 0..100 {
            (0..1000).for_each(|number| cache.insert(FileId(round), number, block()));
            if round > 0 {
                cache.forget([FileId(round - 1)]);
            }
        }
        assert_eq!((cache.held.len(), held(&cache)), (1000, cache.bytes()));
        assert!(cache.small.len() <= 2 * 1000 + CHUNK, "{} keys of 1000 blocks", cache.small.len());
        assert!((0..1000).all(|number| cache.small.iter().any(|key| *key == (FileId(99), number))));
    }

    #[test]
    fn what_is_asked_for_again_survives_a_scan_and_the_budget_holds() {
        // What knows where ten thousand blocks were is counted as well.
        let mut cache = BlockCache::new(150 * weight(&block()));
        for number in 0..50 {
            cache.insert(FileId(1), number, block());
        }
        for number in 0..50 {
            assert!(cache.get(FileId(1), number).is_some_and(|(_, hot)| !hot));
            assert!(cache.get(FileId(1), number).is_some_and(|(_, hot)| hot));
        }
        for number in 0..10_000 {
            cache.insert(FileId(2), number, block());
            assert!(cache.bytes <= cache.capacity_bytes && cache.bytes == held(&cache));
        }
        let kept = (0..50).filter(|n| cache.get(FileId(1), *n).is_some()).count();
        assert_eq!(kept, 50, "a scan flushed blocks that are in use");
        assert!(cache.ghosts.len() <= 1000);
        assert_eq!(size_of::<Option<Held>>(), 64, "a hit waits for one line of memory");
        assert_eq!(cache.held.chunks(), 1, "what has left makes room");
    }

    #[test]
    fn a_table_that_is_gone_takes_its_bytes_along() {
        let mut cache = BlockCache::new(100 * weight(&block()));
        for number in 0..200 {
            cache.insert(FileId(number % 3), (number / 3) as u32, block());
            cache.get(FileId(number % 2), (number / 4) as u32);
        }
        cache.forget([FileId(0), FileId(2)]);
        assert_eq!(cache.bytes, held(&cache));
        for number in 0..200 {
            cache.insert(FileId(7), number, block());
            assert!(cache.bytes <= cache.capacity_bytes && cache.bytes == held(&cache));
        }
        cache.make_room(cache.resident_bytes * 3 / 4);
        assert!(cache.bytes <= cache.capacity_bytes && cache.bytes == held(&cache));
    }

    #[test]
    fn a_block_that_is_wanted_soon_after_it_left_stays() {
        let mut cache = BlockCache::new(100 * weight(&block()));
        for number in 0..110 {
            cache.insert(FileId(1), number, block());
        }
        assert!(cache.get(FileId(1), 9).is_none());
        cache.insert(FileId(1), 9, block());
        for number in 200..300 {
            cache.insert(FileId(1), number, block());
        }
        assert!(cache.get(FileId(1), 9).is_some());
    }
}
