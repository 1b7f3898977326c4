//! Prefetching: brings what the next operations will touch into the processor's caches, many keys at a time.
//!
//! A resident read is a chain of some seven loads that each wait for memory, from the memtable's index to the entry. One
//! key after the other, the waits add up; here every key goes one step before any goes the next, so that the processor
//! has many of them under way (Kocberber et al., "Asynchronous Memory Access Chaining", VLDB 2015, without its state
//! machines: the steps are few and the same for all). Nothing is remembered but what the caches hold.
//!
//! State that fits those caches anyway is left alone, and so are tables whose blocks are mostly not there.
use std::hint::black_box;

use crate::block::Block;
use crate::store::Store;
use crate::table::{FileId, IndexSearch, TableTail, filter_hash};
use crate::touch::GROUP;
use crate::version::{Run, table_of};

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

/// Keys that go together.
struct Group<'k> {
    keys: [&'k [u8]; GROUP],
    count: usize,
}

impl<'k> Group<'k> {
    /// The next keys, if there are any.
    fn next(keys: &mut impl Iterator<Item = &'k [u8]>) -> Option<Self> {
        let mut group = Self { keys: [&[]; GROUP], count: 0 };
        group.count = group.keys.iter_mut().zip(keys).map(|(place, key)| *place = key).count();
        (group.count > 0).then_some(group)
    }

    fn keys(&self) -> &[&'k [u8]] {
        self.keys.get(..self.count).unwrap_or_default()
    }

    /// Takes those out whose bit is set, the lowest that of the first.
    fn remove(&mut self, bits: u32) {
        let mut kept = 0;
        for place in (0..self.count).filter(|place| bits >> place & 1 == 0) {
            self.keys.swap(kept, place);
            kept += 1;
        }
        self.count = kept;
    }
}

impl Store {
    /// Brings in what writes of these keys touch: the memtable.
    pub fn prefetch_writes<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        let mut keys = keys.into_iter();
        while self.active.size_bytes() >= SMALL_BYTES
            && let Some(group) = Group::next(&mut keys)
        {
            self.active.prefetch(group.keys());
        }
    }

    /// Brings in what reads of these keys touch, as far as memory holds it.
    pub fn prefetch_reads<'k>(&self, keys: impl IntoIterator<Item = &'k [u8]>) {
        let mut keys = keys.into_iter();
        while let Some(mut group) = Group::next(&mut keys) {
            for table in self.memtables().filter(|table| table.size_bytes() >= SMALL_BYTES) {
                // Operands may go on below; most entries end there.
                group.remove(table.prefetch(group.keys()));
            }
            if self.cache.bytes() >= SMALL_BYTES && self.counters.mostly_hits() {
                let bottom = self.version.bottom().filter(|_| self.counters.bottom_has_all());
                for run in self.version.runs() {
                    let is_bottom = bottom.is_some_and(|bottom| std::ptr::eq(bottom, run));
                    self.prefetch_run(run, group.keys(), is_bottom);
                }
            }
        }
    }

    /// One short loop a step; each waits for one line of memory a key, all keys at once.
    fn prefetch_run(&self, run: &Run, keys: &[&[u8]], unfiltered: bool) {
        let mut steps: [Option<Step<'_>>; GROUP] = [None; GROUP];
        for (step, key) in steps.iter_mut().zip(keys) {
            let tail = table_of(run, key).and_then(|file| Some((file.id, file.whole()?.as_ref())));
            *step = tail.map(|(file, tail)| Step { hash: filter_hash(key), key, file, tail });
        }
        let mut held = [unfiltered; GROUP];
        if !unfiltered {
            for (held, step) in held.iter_mut().zip(&steps) {
                *held = step.is_some_and(|step| step.tail.may_hold(step.hash));
            }
        }
        for (step, held) in steps.iter_mut().zip(held) {
            *step = step.filter(|_| held);
        }
        let steps = || steps.iter().flatten();
        let mut searches: [Option<IndexSearch<'_>>; GROUP] = [const { None }; GROUP];
        for (search, step) in searches.iter_mut().zip(steps()) {
            *search = Some(step.tail.index.begin_search(step.key));
        }
        // Every search takes its step before any takes the next.
        while searches.iter_mut().flatten().filter_map(|search| search.step().then_some(())).count() > 0 {}
        let mut blocks: [Option<(&Block, u64)>; GROUP] = [None; GROUP];
        for ((block, step), search) in blocks.iter_mut().zip(steps()).zip(searches.iter().flatten()) {
            let found = self.cache.peek(step.file, search.block() as u32);
            *block = found.map(|block| (block, step.hash));
        }
        let blocks = || blocks.iter().flatten();
        for (block, hash) in blocks() {
            black_box(block.touch_lookup(*hash));
        }
        for (block, hash) in blocks() {
            black_box(block.touch_entry(*hash));
        }
    }
}
