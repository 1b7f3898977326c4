//! Warming: brings what the next operations will touch into the processor's caches, many keys at a time.
//!
//! A resident read is a chain of some seven loads that each wait for memory, from the memtable's index to the entry. One
//! key after the other, the waits add up; here every key goes one step before any goes the next, so that the processor
//! has many of them under way (Kocberber et al., "Asynchronous Memory Access Chaining", VLDB 2015, without its state
//! machines: the steps are few and the same for all). Nothing is remembered but what the caches hold.
//!
//! State that fits those caches anyway is left alone.
use std::hint::black_box;
use std::sync::Arc;

use super::Store;
use crate::block::Block;
use crate::table::{FileId, TableTail, filter_hash};
use crate::version::{Run, table_of};

/// Keys that go together: more than the loads a core has under way, few enough that none leaves the cache again.
const GROUP: usize = 32;
/// Below this a second-level cache holds it.
const SMALL_BYTES: usize = 1 << 20;

/// A key on its way down.
#[derive(Clone, Copy)]
struct Step<'a> {
    hash: u64,
    key: &'a [u8],
    file: FileId,
    tail: &'a TableTail,
}

impl Store {
    /// Warms what writes of these keys touch: the memtable.
    pub fn warm_writes<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        if self.active.size_bytes() < SMALL_BYTES {
            return;
        }
        for key in keys {
            black_box(self.active.get(key));
        }
    }

    /// Warms what reads of these keys touch, as far as memory holds it.
    pub fn warm_reads<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        let mut keys = keys.into_iter();
        loop {
            let mut group: [&[u8]; GROUP] = [&[]; GROUP];
            let taken = group.iter_mut().zip(keys.by_ref()).map(|(place, key)| *place = key).count();
            let group = group.get(..taken).unwrap_or_default();
            self.warm_writes(group.iter().copied());
            if self.cache.bytes() >= SMALL_BYTES {
                self.version.runs().for_each(|run| self.warm_run(run, group));
            }
            if taken < GROUP {
                return;
            }
        }
    }

    /// One loop a step; every loop waits for one line of memory a key.
    fn warm_run(&self, run: &Run, keys: &[&[u8]]) {
        let mut steps: [Option<Step<'_>>; GROUP] = [None; GROUP];
        for (step, key) in steps.iter_mut().zip(keys) {
            let Some(file) = table_of(run, key) else { continue };
            let (hash, tail) = (filter_hash(key), file.tail().map(Arc::as_ref));
            *step =
                tail.filter(|tail| tail.may_hold(hash)).map(|tail| Step { hash, key, file: file.id, tail });
        }
        let mut numbers = [0; GROUP];
        for (number, step) in numbers.iter_mut().zip(steps.iter().flatten()) {
            *number = step.tail.index.block_of(step.key) as u32;
        }
        let mut blocks: [Option<(&Block, u64)>; GROUP] = [None; GROUP];
        for ((block, number), step) in blocks.iter_mut().zip(numbers).zip(steps.iter().flatten()) {
            *block = self.cache.peek(step.file, number).map(|block| (block, step.hash));
        }
        for (block, hash) in blocks.iter().flatten() {
            black_box(block.touch_slots(*hash));
        }
        for (block, hash) in blocks.iter().flatten() {
            black_box(block.touch_entry(*hash));
        }
    }
}
