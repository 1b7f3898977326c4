//! The store of one subtask: memtables, a version, a block cache, and the jobs that move data between them.
//!
//! ```text
//!  put/merge ─► active memtable ─full─► frozen ─flush─► L0 ─compaction─► L1 … L6      (object store)
//!                  │ sealed suffix                              │
//!                  └──────────► delta ◄── snapshot ──► manifest ┘
//!  get ─► active ─► frozen ─► L0 … L6: filter ─► index ─► block cache │ miss: batch ─► ranged reads
//! ```
//!
//! **Invariants**: only the task thread changes the store, so the memtable, the version and the cache have no lock;
//! a read under way holds what it needs by `Arc`. A memtable leaves only after its tables are in the version.
//!
//! **Threads**: every method is called by the owning thread and none waits. Background work reports to the inbox,
//! rings the bell, and is taken over by [`Store::poll`].
//!
//! **Failure**: what background work cannot get done after its retries is returned by [`Store::poll`], and by every
//! later one; nothing in memory was dropped for it.
mod counters;
mod deltas;
mod expiring;
mod inbox;
mod jobs;
mod lending;
mod manifest;
mod open;
mod reads;
mod report;
mod scan;
mod snapshot;
mod snapshot_reader;
mod tails;
mod warm_up;

pub use counters::StoreCounters;
pub use deltas::pack::Packer;
#[cfg(any(test, fuzzing))]
pub(crate) use manifest::ValueShareRecord;
pub(crate) use manifest::page::PageContent;
#[cfg(fuzzing)]
pub(crate) use manifest::page::frame_page;
pub use manifest::paging::SnapshotPage;
pub(crate) use manifest::records::ValueList;
pub(crate) use manifest::{
    DELTA_MAGIC, DeltaRecord, Manifest, PageRecord, TableRecord, ValueFileRecord, pack_ranges, strip_frame,
};
#[cfg(any(test, fuzzing))]
pub(crate) use manifest::{frame_delta, pack_directory};
pub use open::{Restored, StoreOptions};
pub use reads::Answer;
pub use reads::pages::{Page, PageQuery};
pub use reads::walk::Resident;
pub use scan::StoreScan;
pub use snapshot::{Snapshot, SnapshotFile};
pub use snapshot_reader::{ReaderScan, Share, SnapshotReader};

use std::cell::RefCell;
use std::sync::Arc;

use alluvium_env::{Background, HashSet, Result};

use crate::cache::BlockCache;
use crate::compaction::LEVEL0_STOP;
use crate::entry::{EntryKind, check_size};
use crate::expiry::Expiry;
use crate::fetch::Fetcher;
use crate::key_range::KeyRange;
use crate::memtable::{KeyOrder, Memtable};
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::scan::unfoldable;
use crate::settings::{Budget, ForstSettings};
use crate::table::FileId;
use crate::version::Version;
use counters::Counters;
use deltas::DeltaChain;
use deltas::pack::Membership;
use expiring::Expiring;
use inbox::Inbox;
use jobs::Jobs;
use jobs::pace::Pace;
use jobs::trips::Elsewhere;
use lending::Lending;
use manifest::paging::Paging;
use reads::Reads;
use report::Report;
use tails::Tails;
use warm_up::WarmUp;
use warm_up::hints::Hints;

/// Memtables that may wait for their flush before a full one has to; checkpoints freeze more, within the same memory (`jobs/pace.rs`).
const MAX_FROZEN: usize = 1;

/// A memtable of this size whose keys came in order is flushed as soon as no other is: nothing is gained by filling it, since none
/// of its keys was written twice, and the flush of the last one is waited for by whoever loads.
const IN_ORDER_BYTES: usize = 64 << 20;

/// Entries that a poll moves into the index of a memtable that nobody writes.
const INDEXED_A_POLL: usize = 1000;

/// What is as large as this and does not fit into the memtable begins a new one.
const ROTATING_BYTES: usize = 1 << 20;

/// A memtable that is being flushed, with the deltas that checkpoints know it by.
struct Frozen {
    table: Arc<Memtable>,
    deltas: DeltaChain,
    order: RefCell<KeyOrder>,
    /// When it became the active one: nothing in it was written before.
    since_millis: u64,
}

impl Frozen {
    /// Memory it takes, with the order that pages want.
    fn size_bytes(&self) -> usize {
        self.table.size_bytes() + self.order.borrow().size_bytes()
    }
}

/// One subtask's store.
pub struct Store {
    settings: ForstSettings,
    budget: Budget,
    fetcher: Arc<Fetcher>,
    naming: Arc<Naming>,
    background: Arc<Background>,
    inbox: Arc<Inbox>,
    operators: Arc<dyn MergeOperators>,
    active: Memtable,
    active_deltas: DeltaChain,
    active_order: RefCell<KeyOrder>,
    active_since_millis: u64,
    /// Whether what is written may have been made at any time before.
    importing: bool,
    /// Oldest first.
    frozen: Vec<Frozen>,
    version: Arc<Version>,
    /// Tables and value files of the version.
    live: HashSet<FileId>,
    cache: BlockCache,
    reads: Reads,
    jobs: Jobs,
    pace: Pace,
    counters: Counters,
    report: Option<Box<Report>>,
    expiring: Expiring,
    elsewhere: Elsewhere,
    packer: Arc<Packer>,
    paging: Arc<Paging>,
    membership: Option<Membership>,
    hints: Hints,
    warming: WarmUp,
    lending: Lending,
    /// Writes so far.
    writes: u64,
    /// What `writes` was when it polled last.
    writes_polled: u64,
    tails: Tails,
}

impl Store {
    /// Replaces a value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` for a key or value over 64 MiB.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_size(key, value)?;
        self.make_room(key.len() + value.len());
        self.active.write(EntryKind::Put, key, value)?;
        self.rotate_if_full();
        Ok(())
    }

    /// Removes a value. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` for a key over 64 MiB.
    pub fn delete(&mut self, key: &[u8]) -> Result<()> {
        check_size(key, &[])?;
        self.make_room(key.len());
        self.active.write(EntryKind::Delete, key, &[])?;
        self.rotate_if_full();
        Ok(())
    }

    /// Removes every value whose key begins with `prefix`: one tombstone, not a scan. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` for a prefix over 64 MiB.
    pub fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        let KeyRange { start, end } = KeyRange::of_prefix(prefix);
        self.delete_range(&start, &end)
    }

    /// Removes every value whose key is in `start..end`, an empty `end` being none: one tombstone, not a scan. Done
    /// when it returns.
    ///
    /// # Errors
    /// `Invalid` for a bound over 64 MiB.
    pub fn delete_range(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        check_size(start, end)?;
        let range = KeyRange::new(start, end);
        if !range.is_empty() {
            self.make_room(start.len() + end.len());
            self.active.delete_range(range)?;
            self.rotate_if_full();
        }
        Ok(())
    }

    /// Folds an operand into a value, without reading it. Done when it returns.
    ///
    /// # Errors
    /// `Invalid` if no operator is registered for the key, or for a key or operand over 64 MiB.
    pub fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        check_size(key, operand)?;
        self.make_room(key.len() + operand.len());
        let operator = self.operators.operator(key).ok_or_else(|| unfoldable(key))?;
        self.active.merge(key, operand, operator)?;
        self.rotate_if_full();
        Ok(())
    }

    /// Says which operators fold merges, and how long entries live, from now on.
    pub fn set_operators(&mut self, operators: Arc<dyn MergeOperators>) {
        self.operators = operators;
        self.expiring.look_again();
    }

    /// Uploads its logs together with those of the stores that share this.
    pub fn pack_with(&mut self, packer: &Arc<Packer>) {
        self.packer = Arc::clone(packer);
        self.membership = Some(packer.join());
    }

    /// Whether writes find room. A `false` is advice to stop admitting records; writes still succeed.
    pub fn admits(&self) -> bool {
        let active_bytes = self.active_bytes();
        let room = active_bytes < self.budget.memtable_bytes || self.frozen.len() < MAX_FROZEN;
        room && active_bytes < self.pace.limit_bytes() && self.version.level0.len() < LEVEL0_STOP
    }

    /// Waits until writes find room again, while nobody reads: for whoever fills a store before it is used.
    ///
    /// # Errors
    /// As [`Store::poll`].
    pub fn wait_for_room(&mut self) -> Result<()> {
        while !self.admits() {
            // What closes admission is background work that will report.
            self.inbox.wait();
            self.poll(&mut |_, _| ())?;
        }
        Ok(())
    }

    /// What the active memtable takes, with the order that pages want.
    #[inline]
    fn active_bytes(&self) -> usize {
        self.active.size_bytes() + self.active_order.borrow().size_bytes()
    }

    /// Figures since the store was opened.
    pub fn counters(&self) -> StoreCounters {
        self.counters.read()
    }

    /// What is large does not come on top of what was lent, nor, if it is very large, of a memtable that is almost full.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if bytes < lending::LARGE_BYTES {
            return;
        }
        if bytes >= ROTATING_BYTES
            && self.active_bytes() + bytes > self.budget.memtable_bytes
            && self.frozen.len() < MAX_FROZEN
        {
            self.rotate();
        }
        self.lend(bytes);
    }

    #[inline]
    fn rotate_if_full(&mut self) {
        self.writes += 1;
        let size_bytes = self.active_bytes();
        if size_bytes >= self.budget.memtable_bytes && self.frozen.len() < MAX_FROZEN
            || size_bytes >= IN_ORDER_BYTES && self.frozen.is_empty() && self.active.is_in_order()
        {
            self.rotate();
        }
        self.lend_after_write(size_bytes);
    }

    /// What is written from now on may have been made at any time before, until it is said that it has not.
    pub(crate) fn imports(&mut self, imports: bool) {
        self.importing = imports;
        if imports {
            self.active_since_millis = 0;
        }
    }

    /// Since when what is written into a memtable that is new by now was made.
    fn since_millis(&self, now_millis: u64) -> u64 {
        if self.importing { 0 } else { now_millis }
    }

    /// Freezes the active memtable and has it flushed.
    fn rotate(&mut self) {
        if self.active.is_empty() {
            return;
        }
        self.pace.rotated(self.active_bytes());
        self.active.seal();
        let table = Arc::new(std::mem::take(&mut self.active));
        let deltas = std::mem::take(&mut self.active_deltas);
        let order = RefCell::new(self.active_order.take());
        let since_millis = self.active_since_millis;
        self.active_since_millis = self.since_millis(self.operators.expiry().map_or(0, Expiry::now_millis));
        self.frozen.push(Frozen { table, deltas, order, since_millis });
        self.report_frozen();
        self.lend(0);
        self.schedule();
        self.set_pace();
    }

    /// What was loaded in order gets its index while nothing is written, for those who read it.
    fn index_while_quiet(&mut self) {
        if std::mem::replace(&mut self.writes_polled, self.writes) == self.writes && self.admits() {
            self.active.index_some(INDEXED_A_POLL);
        }
    }

    /// Keeps the task thread from sleeping while it could answer its reads itself.
    fn ring_for_help(&self) {
        if self.fetcher.needs_help() {
            self.inbox.ring();
        }
    }

    /// Takes over finished background work, starts what is due, and answers reads: each read that was started is
    /// answered once, with the token it was started with.
    ///
    /// # Errors
    /// A flush or compaction that failed for good: the store's owner should stop and continue from a checkpoint.
    pub fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        self.fetcher.help();
        let events = self.inbox.take();
        let news = !events.is_empty();
        for event in events {
            match event {
                inbox::Event::Fetched(fetched) => self.take_fetched(fetched, answered),
                inbox::Event::Planned(portions) => self.take_planned(portions),
                inbox::Event::Filters(filters) => self.take_filters(filters),
                inbox::Event::Warmed(warmed) => self.take_warmed(warmed, answered),
                inbox::Event::Flushed(result) => self.take_flushed(result),
                inbox::Event::Compacted(trip, result) => self.take_compacted(trip, result),
            }
        }
        self.answer_ready(answered);
        self.schedule();
        self.set_pace();
        self.index_while_quiet();
        self.lend_rests();
        self.warm_up();
        self.sweep();
        self.report(news);
        self.ring_for_help();
        match self.jobs.failure() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whom [`Store::poll`] hands each answer, with the read's token.
pub type Answered<'a> = dyn FnMut(u64, Result<Answer<'_>>) + 'a;

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use object_store::memory::InMemory;

    use super::*;
    use crate::{KeepAll, NoMerges};

    #[test]
    fn what_came_in_key_order_moves_into_the_index_by_polls_between_which_nothing_is_written() {
        let mut store = Store::open(StoreOptions {
            settings: ForstSettings::default(),
            store: Arc::new(InMemory::new()),
            io: IoRuntime::new(1).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: Arc::new(|| ()),
            prefix: "state/1/0".to_owned(),
            restored: Vec::new(),
        })
        .unwrap();
        let unindexed_after_a_poll = |store: &mut Store| {
            store.poll(&mut |_, _| ()).unwrap();
            store.active.unindexed()
        };
        let count = INDEXED_A_POLL * 5 / 2;
        for number in 0..count {
            store.put(&number.to_be_bytes(), b"value").unwrap();
            if number.is_multiple_of(100) {
                assert_eq!(unindexed_after_a_poll(&mut store), number + 1, "it is being written");
            }
        }
        assert_eq!(unindexed_after_a_poll(&mut store), count, "it was written since the last poll");
        let left = [count - INDEXED_A_POLL, count - 2 * INDEXED_A_POLL, 0];
        assert_eq!([(); 3].map(|()| unindexed_after_a_poll(&mut store)), left);
    }
}
