//! The keys of a memtable in order, for pages: made when the first page asks, kept up by merging what came since.
//!
//! Point states never pay for it. What was written since the last page is sorted into a run of its own; runs of like
//! size are merged, so that an entry moves O(log n) times and a page looks at O(log n) runs.
//!
//! **Threads**: the task thread's own, beside a memtable that others may read.
use super::arena::{Location, Mark};
use super::sorted::prefix;
use super::{LogEntry, Memtable};
use crate::deleted::DeletedRanges;

type Slot = (u64, Location);

/// A run is merged into the one before it unless that one is this many times larger.
const RUN_RATIO: usize = 4;

/// Sorted runs over a memtable's log, oldest first.
#[derive(Debug, Default)]
pub(crate) struct KeyOrder {
    runs: Vec<Vec<Slot>>,
    seen: Mark,
    deleted: DeletedRanges,
}

impl KeyOrder {
    /// Takes in what was written since the last call.
    pub(crate) fn catch_up(&mut self, table: &Memtable) {
        let mut fresh: Vec<Slot> = Vec::new();
        let seen = table.arena.entries_from(self.seen, &mut |at, entry| fresh.push((prefix(entry.key), at)));
        if seen == self.seen {
            return;
        }
        self.seen = seen;
        self.deleted = table.deleted();
        if fresh.is_empty() {
            return;
        }
        let key = |slot: &Slot| table.arena.entry(slot.1).key;
        fresh.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| (key(a), a.1).cmp(&(key(b), b.1))));
        keep_last_of_equal(&mut fresh, |a, b| a.0 == b.0 && key(a) == key(b));
        self.runs.push(fresh);
        while let [.., older, newer] = self.runs.as_slice()
            && older.len() < newer.len() * RUN_RATIO
        {
            let merged = merge(older, newer, table);
            self.runs.truncate(self.runs.len() - 2);
            self.runs.push(merged);
        }
    }
}

/// Drops each slot whose successor has the same key.
fn keep_last_of_equal(slots: &mut Vec<Slot>, same: impl Fn(&Slot, &Slot) -> bool) {
    slots.reverse();
    slots.dedup_by(|later, kept| same(later, kept));
    slots.reverse();
}

/// One run of two; of equal keys the newer one's.
fn merge(older: &[Slot], newer: &[Slot], table: &Memtable) -> Vec<Slot> {
    let key = |slot: &Slot| table.arena.entry(slot.1).key;
    let mut merged = Vec::with_capacity(older.len() + newer.len());
    let (mut older, mut newer) = (older.iter().peekable(), newer.iter().peekable());
    while let (Some(a), Some(b)) = (older.peek(), newer.peek()) {
        let by_key = a.0.cmp(&b.0).then_with(|| key(a).cmp(key(b)));
        if by_key.is_lt() {
            merged.extend(older.next());
        } else {
            if by_key.is_eq() {
                older.next();
            }
            merged.extend(newer.next());
        }
    }
    merged.extend(older);
    merged.extend(newer);
    merged
}

/// A position in a memtable's order.
pub(crate) struct OrderedCursor<'a> {
    table: &'a Memtable,
    deleted: &'a DeletedRanges,
    /// What is left of each run, newest first.
    rest: Vec<&'a [Slot]>,
    entry: Option<LogEntry<'a>>,
}

impl<'a> OrderedCursor<'a> {
    /// A cursor at the first entry that is not below `start`, or behind it if `behind`; `order` is caught up.
    pub(crate) fn new(table: &'a Memtable, order: &'a KeyOrder, start: &[u8], behind: bool) -> Self {
        let first = prefix(start);
        let before = |slot: &Slot| {
            let order = slot.0.cmp(&first).then_with(|| table.arena.entry(slot.1).key.cmp(start));
            order.is_lt() || (behind && order.is_eq())
        };
        let rest = |run: &'a Vec<Slot>| run.get(run.partition_point(before)..).unwrap_or_default();
        let rest = order.runs.iter().rev().map(rest).collect();
        let mut cursor = Self { table, deleted: &order.deleted, rest, entry: None };
        cursor.advance();
        cursor
    }

    pub(crate) fn deleted(&self) -> &'a DeletedRanges {
        self.deleted
    }

    #[inline]
    pub(crate) fn entry(&self) -> Option<LogEntry<'a>> {
        self.entry
    }

    /// Goes to the next entry that no deletion hides.
    pub(crate) fn advance(&mut self) {
        loop {
            let mut lowest: Option<(u64, &'a [u8], Location)> = None;
            for run in &self.rest {
                let Some((prefix, at)) = run.first() else { continue };
                if lowest.is_some_and(|(low, _, _)| low < *prefix) {
                    continue;
                }
                let key = self.table.arena.entry(*at).key;
                if lowest.is_none_or(|(low, low_key, _)| (*prefix, key) < (low, low_key)) {
                    lowest = Some((*prefix, key, *at));
                }
            }
            let Some((prefix, key, at)) = lowest else {
                self.entry = None;
                return;
            };
            for run in &mut self.rest {
                if let Some(((p, a), tail)) = run.split_first()
                    && *p == prefix
                    && self.table.arena.entry(*a).key == key
                {
                    *run = tail;
                }
            }
            if !self.table.deletions.hide(key, at) {
                self.entry = Some(self.table.arena.entry(at));
                return;
            }
        }
    }
}
