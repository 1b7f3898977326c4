//! What the tails of live tables take: counted anew where a version changes, and once in many tails that arrive.
use alluvium_env::HashSet;

use super::worth::ONE;
use crate::table::{TableFile, Tail};
use crate::version::Version;

/// What they take together.
#[derive(Debug, Default)]
pub(super) struct Count {
    /// In memory now.
    pub(super) bytes: usize,
    /// On the store: about what they would take if all of them were whole.
    pub(super) stored_bytes: u64,
    /// Without indexes, and without the bottom run's filters.
    fixed_bytes: usize,
    /// All filters of the bottom run, in memory or not, and those that are not.
    pub(super) filter_bytes: usize,
    pub(super) lacking_bytes: usize,
}

impl Count {
    pub(super) fn of(version: &Version) -> Self {
        let (mut count, mut tables, mut tails) = (Self::default(), HashSet::default(), HashSet::default());
        for (run, is_bottom) in version.runs_from_top() {
            for file in run {
                if tables.insert(file.id) {
                    count.add_table(file, is_bottom);
                }
                // Parts of a table have one tail if it was read before they were cut; else each reads its own.
                if file.tail().is_some_and(|tail| tails.insert(tail.address())) {
                    count.add_tail(file, is_bottom);
                }
            }
        }
        count
    }

    fn add_table(&mut self, file: &TableFile, is_bottom: bool) {
        self.stored_bytes += file.meta.tail_bytes;
        self.filter_bytes += if is_bottom { file.filter_bytes() } else { 0 };
    }

    fn add_tail(&mut self, file: &TableFile, is_bottom: bool) {
        self.bytes += file.resident_tail_bytes().unwrap_or(0);
        self.fixed_bytes += file.tail().map_or(0, Tail::least_bytes);
        if !is_bottom {
            self.fixed_bytes += file.tail().map_or(0, |tail| tail.filter().size_bytes());
        } else if file.lacks_filter() {
            self.lacking_bytes += file.filter_bytes();
        }
    }

    /// How many of [`ONE`] filters of the bottom run there is room for if tails take so much.
    pub(super) fn fit(&self, most_bytes: usize) -> u64 {
        let room = most_bytes.saturating_sub(self.fixed_bytes).min(self.filter_bytes) as u64;
        if self.filter_bytes == 0 { ONE } else { room * ONE / self.filter_bytes as u64 }
    }

    /// Whether indexes alone are more than so much.
    pub(super) fn indexes_outgrow(&self, most_bytes: usize) -> bool {
        self.stored_bytes.saturating_sub(self.filter_bytes as u64) > most_bytes as u64
    }
}

/// What they took when they were counted, and what has come since.
#[derive(Debug, Default)]
pub(super) struct Account {
    counted_bytes: usize,
    arrived_bytes: usize,
}

/// They are counted anew after one part in so many of what blocks and tails share has arrived: counting goes over all tables, of
/// which there may be tens of thousands.
const UNCOUNTED_SHARE: usize = 32;

impl Account {
    pub(super) fn counted(&mut self, bytes: usize) {
        *self = Self { counted_bytes: bytes, arrived_bytes: 0 };
    }

    /// What they take at most.
    pub(super) fn bytes(&self) -> usize {
        self.counted_bytes + self.arrived_bytes
    }

    /// Adds a tail, and says whether it is time to count: also when they come to take more than `most_bytes`.
    pub(super) fn arrived(&mut self, bytes: usize, most_bytes: usize, resident_bytes: usize) -> bool {
        self.arrived_bytes += bytes;
        self.arrived_bytes > resident_bytes / UNCOUNTED_SHARE
            || self.counted_bytes <= most_bytes && self.bytes() > most_bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::KeepAll;
    use crate::expiry::Ages;
    use crate::key_range::KeyRange;
    use crate::table::{FileId, FileMeta, Filter, Held, SlimTail};

    #[test]
    fn of_the_parts_of_a_table_each_tail_counts_that_is_in_memory() {
        let tail = || {
            let (filter, top, deleted) = (Filter::build((0..1000).collect()), Arc::default(), Arc::default());
            Tail::Slim(Arc::new(SlimTail { filter, top, deleted }))
        };
        let table = || {
            let meta = FileMeta {
                size_bytes: 1 << 20,
                tail_bytes: 1000,
                keys: KeyRange::new(b"a", b"z"),
                entries: 1000,
                deletes: 0,
                deleted_ranges: 0,
                content_hash: 0,
                ages: Ages::default(),
            };
            let held = Held::new("1", Arc::new(KeepAll));
            Arc::new(TableFile::new(FileId(1), meta, KeyRange::default(), held))
        };
        let parts = |table: &Arc<TableFile>| -> Vec<Arc<TableFile>> {
            let part = |start: &[u8], end: &[u8]| table.within(&KeyRange::new(start, end)).unwrap();
            vec![part(b"", b"m"), part(b"m", b"")]
        };
        let count = |run| Count::of(&Version { level0: vec![run], ..Version::default() });
        let read_before = table();
        read_before.set_tail(tail());
        let read_after = parts(&table());
        for part in &read_after {
            part.set_tail(tail());
        }
        let (one, two) = (count(parts(&read_before)), count(read_after));
        assert_eq!((one.bytes, two.bytes), (tail().size_bytes(), 2 * tail().size_bytes()));
        assert_eq!((one.stored_bytes, two.stored_bytes, count(parts(&table())).bytes), (1000, 1000, 0));
    }

    #[test]
    fn tails_that_arrive_are_counted_seldom_and_never_late() {
        let (most, resident) = (500_000, 1_000_000);
        let (mut account, mut counts, mut all) = (Account::default(), 0, 0);
        for _ in 0..10_000 {
            all += 49;
            if account.arrived(49, most, resident) {
                account.counted(all);
                counts += 1;
            }
            assert_eq!(account.bytes(), all);
        }
        assert!(counts < 20, "counted {counts} times");
        account.counted(most - 10);
        assert!(account.arrived(11, most, resident), "they take more than their share");
        account.counted(most + 11);
        assert!(!account.arrived(11, most, resident), "what cannot be helped is not tried each time");
    }
}
