//! The keys of a memtable in order, for pages: made when the first page asks, kept up by merging what came since.
//!
//! Point states never pay for it. What was written since the last page is sorted into a run of its own; runs of like
//! size are merged, so that an entry moves O(log n) times and a page looks at O(log n) runs.
//!
//! **Threads**: the task thread's own, beside a memtable that others may read.
use std::cmp::Ordering;

use super::arena::{Location, Mark};
use super::pieces::Here;
use super::{LogEntry, Memtable};

/// An entry and the first bytes of its key: most comparisons end with those, without touching the arena. Key group and
/// state are the first four bytes of every key, so twelve are of the record's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    prefix: (u64, u64),
    pub(super) at: Location,
}

fn prefix(key: &[u8]) -> (u64, u64) {
    let mut bytes = [0; 16];
    let length = key.len().min(16);
    if let (Some(to), Some(from)) = (bytes.get_mut(..length), key.get(..length)) {
        to.copy_from_slice(from);
    }
    let all = u128::from_be_bytes(bytes);
    ((all >> 64) as u64, all as u64)
}

/// Key order.
fn by_key(table: &Memtable, a: &Slot, b: &Slot) -> Ordering {
    a.prefix.cmp(&b.prefix).then_with(|| table.arena.key(a.at).cmp(table.arena.key(b.at)))
}

/// A run is merged into the one before it unless that one is this many times larger.
const RUN_RATIO: usize = 4;

/// Sorted runs over a memtable's log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct KeyOrder {
    runs: Vec<Vec<Slot>>,
    /// Of all runs.
    slots: usize,
    seen: Mark,
}

impl KeyOrder {
    /// Takes in what was written since the last call.
    pub(crate) fn catch_up(&mut self, table: &Memtable) {
        let (mut fresh, seen) = sorted_from(table, self.seen);
        self.seen = seen;
        if fresh.is_empty() {
            return;
        }
        fresh.shrink_to_fit();
        self.runs.push(fresh);
        while let [.., older, newer] = self.runs.as_slice()
            && older.len() < newer.len() * RUN_RATIO
        {
            let merged = merge(older, newer, table);
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
        self.slots = self.runs.iter().map(Vec::capacity).sum();
    }

    /// Memory it takes.
    #[inline]
    pub(crate) fn size_bytes(&self) -> usize {
        self.slots * size_of::<Slot>()
    }

    /// Everything a memtable holds, in order, without what its deletions hide.
    pub(super) fn of(table: &Memtable) -> Vec<Slot> {
        let (mut all, _) = sorted_from(table, Mark::default());
        if !table.deletions.is_empty() {
            all.retain(|slot| !table.deletions.hide(table.arena.key(slot.at), slot.at));
        }
        all
    }
}

/// The newest entry of each key, or the last piece of it, that the log has behind a mark, in key order, and where the log ends.
///
/// The log is walked as it lies in memory, and a sort finds the order in what was written in order.
fn sorted_from(table: &Memtable, mark: Mark) -> (Vec<Slot>, Mark) {
    let mut slots: Vec<Slot> = Vec::new();
    let end = table.arena.keys_from(mark, &mut |at, key| slots.push(Slot { prefix: prefix(key), at }));
    slots.sort_unstable_by(|a, b| by_key(table, a, b).then(a.at.cmp(&b.at)));
    keep_last_of_equal(&mut slots, |a, b| by_key(table, a, b).is_eq());
    (slots, end)
}

/// Drops each slot whose successor has the same key.
fn keep_last_of_equal(slots: &mut Vec<Slot>, same: impl Fn(&Slot, &Slot) -> bool) {
    slots.reverse();
    slots.dedup_by(|later, kept| same(later, kept));
    slots.reverse();
}

/// One run of two; of equal keys the newer one's.
fn merge(older: &[Slot], newer: &[Slot], table: &Memtable) -> Vec<Slot> {
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.iter().peekable(), newer.iter().peekable());
    while let (Some(a), Some(b)) = (older.peek(), newer.peek()) {
        let relation = by_key(table, a, b);
        if relation.is_lt() {
            merged.extend(older.next());
        } else {
            if relation.is_eq() {
                older.next();
            }
            merged.extend(newer.next());
        }
    }
    merged.extend(older);
    merged.extend(newer);
    merged
}

/// Which keys of a memtable a page can have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<'a> {
    pub(crate) start: &'a [u8],
    /// Whether the first of them is the one behind `start`.
    pub(crate) behind: bool,
    /// They are before it; empty: no end.
    pub(crate) end: &'a [u8],
}

/// A position in a memtable's order, within bounds.
pub(crate) struct OrderedCursor<'a> {
    table: &'a Memtable,
    /// Whether a deletion has keys there: where none has, no key is looked up among all there are.
    deletes_any: bool,
    /// What is left of each run, newest first.
    rest: Vec<&'a [Slot]>,
    here: Here,
}

impl<'a> OrderedCursor<'a> {
    /// A cursor at the first entry within bounds; `order` is caught up.
    pub(crate) fn new(table: &'a Memtable, order: &'a KeyOrder, bounds: Bounds<'_>) -> Self {
        let Bounds { start, behind, end } = bounds;
        let (first, last) = (prefix(start), prefix(end));
        let relation = |slot: &Slot, prefix: &(u64, u64), key: &[u8]| {
            slot.prefix.cmp(prefix).then_with(|| table.arena.key(slot.at).cmp(key))
        };
        let before = |slot: &Slot| {
            let relation = relation(slot, &first, start);
            relation.is_lt() || (behind && relation.is_eq())
        };
        let before_end = |slot: &Slot| end.is_empty() || relation(slot, &last, end).is_lt();
        let rest = |run: &'a Vec<Slot>| {
            run.get(run.partition_point(before)..run.partition_point(before_end)).unwrap_or_default()
        };
        let rest = order.runs.iter().rev().map(rest).collect();
        let deletes_any = table.deletions.meet(start, end);
        let mut cursor = Self { table, deletes_any, rest, here: Here::default() };
        cursor.advance();
        cursor
    }

    /// Whether anything there is deleted in what is older than the memtable.
    #[inline]
    pub(crate) fn deletes_any(&self) -> bool {
        self.deletes_any
    }

    /// Whether what older sources hold of `key`, one within the bounds, is deleted.
    #[inline]
    pub(crate) fn deletes(&self, key: &[u8]) -> bool {
        self.deletes_any && self.table.deletions.cover(key)
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<LogEntry<'_>> {
        self.here.entry(self.table)
    }

    /// Goes to the next entry that no deletion hides.
    pub(crate) fn advance(&mut self) {
        loop {
            let mut lowest: Option<Slot> = None;
            for slot in self.rest.iter().filter_map(|run| run.first()) {
                // Of equal keys the newest, which comes first.
                if lowest.is_none_or(|low| by_key(self.table, slot, &low).is_lt()) {
                    lowest = Some(*slot);
                }
            }
            let Some(lowest) = lowest else {
                self.here.leave();
                return;
            };
            for run in &mut self.rest {
                if let Some((slot, tail)) = run.split_first()
                    && by_key(self.table, slot, &lowest).is_eq()
                {
                    *run = tail;
                }
            }
            let (key, at) = (self.table.arena.key(lowest.at), lowest.at);
            if !self.deletes_any || !self.table.deletions.hide(key, at) {
                self.here.go(self.table, at);
                return;
            }
        }
    }
}
