//! Reads what a snapshot's manifest describes, without owning it: for tools, beside the store that wrote it.
//!
//! **Invariants**: nothing is written, held or released. It sees the moment of the snapshot, whatever its store does
//! meanwhile; but whoever owns the objects may delete them, and then a read is `Corruption` that names what is missing.
//!
//! **Threads**: any but the I/O runtime's; it waits for the store.
use std::sync::Arc;

use alluvium_env::{Background, IoRuntime, Result};
use futures_util::future::try_join_all;
use object_store::ObjectStore;

use super::open::{Restored, StoreOptions};
use super::scan::{Scanned, StoreScan};
use super::{Frozen, Store};
use crate::entry::EntryKind;
use crate::fetch::Fetcher;
use crate::key_range::KeyRange;
use crate::memtable::{Memtable, SortedMemtable};
use crate::merge::MergeOperators;
use crate::settings::ForstSettings;
use crate::table::{Held, KeepAll, TableFile};
use crate::version::{Run, Version};

/// A few runs with a megabyte ahead of each.
const BUFFER_BYTES: usize = 32 << 20;

/// A snapshot, open for reading.
pub struct SnapshotReader {
    fetcher: Arc<Fetcher>,
    operators: Arc<dyn MergeOperators>,
    /// Newest first.
    memtables: Vec<Arc<Memtable>>,
    version: Arc<Version>,
}

/// A part of a snapshot: what it holds between two keys, without saying which keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The first key that it can hold.
    pub start: &'a [u8],
    /// The key before which it ends; empty for no end.
    pub end: &'a [u8],
    /// Its puts and merges, about.
    pub entries: u64,
    /// What they take where they are stored.
    pub bytes: u64,
}

impl SnapshotReader {
    /// Opens what manifests describe. Tables are referenced; the logs of memtables are read here.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        operators: Arc<dyn MergeOperators>,
        restored: Vec<Restored>,
    ) -> Result<Self> {
        // A store writes when it is polled or written to. This one is taken apart before.
        let opened = Store::open(StoreOptions {
            settings: ForstSettings::default(),
            store,
            io,
            background: Arc::new(Background::new(1)?),
            disk: None,
            operators,
            ownership: Arc::new(KeepAll),
            notify: Arc::new(|| ()),
            prefix: String::new(),
            restored,
        })?;
        let Store { fetcher, operators, mut active, frozen, version, .. } = opened;
        active.seal();
        let older = frozen.into_iter().rev().map(|Frozen { table, .. }| table);
        Ok(Self {
            fetcher,
            operators,
            memtables: std::iter::once(Arc::new(active)).chain(older).collect(),
            version,
        })
    }

    /// Starts a pass over the keys of some ranges, which ascend and do not overlap; an empty end is none. Only the
    /// blocks that can hold such keys are read.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    pub fn scan(&self, ranges: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<ReaderScan> {
        let ranges = ranges.into_iter().map(|(start, end)| KeyRange { start, end });
        let ranges: Vec<_> = ranges.filter(|range| !range.is_empty()).collect();
        let mut version = Version { values: self.version.values.clone(), ..Version::default() };
        for run in &self.version.level0 {
            version.level0.push(self.clip(run, &ranges)?);
        }
        for (clipped, run) in version.levels.iter_mut().zip(&self.version.levels) {
            *clipped = self.clip(run, &ranges)?;
        }
        let scanned = Scanned {
            fetcher: Arc::clone(&self.fetcher),
            operators: Arc::clone(&self.operators),
            memtables: self.memtables.clone(),
            version: Arc::new(version),
        };
        Ok(ReaderScan {
            scan: StoreScan::new(scanned, BUFFER_BYTES),
            ranges,
            key: Vec::new(),
            value: Vec::new(),
        })
    }

    /// What a run has within ranges: a reference to a table for each range that meets it, all with its one tail.
    fn clip(&self, run: &Run, ranges: &[KeyRange]) -> Result<Run> {
        let met: Vec<_> =
            run.iter().filter(|file| ranges.iter().any(|range| range.overlaps(file.keys()))).collect();
        let tails = try_join_all(met.iter().map(|file| self.fetcher.whole_tail(file)));
        let tails = self.fetcher.io().block_on(tails)?;
        let mut clipped = Vec::new();
        for (file, tail) in met.into_iter().zip(tails) {
            for range in ranges {
                let held = Held::new(file.name(), Arc::new(KeepAll));
                let part = TableFile::new(file.id, file.meta.clone(), file.clip.intersect(range), held)
                    .with_values(file.values().to_vec());
                if !part.keys().is_empty() {
                    part.set_tail(Arc::clone(&tail));
                    clipped.push(Arc::new(part));
                }
            }
        }
        Ok(clipped)
    }

    /// How much lies where: each entry of a memtable, each block of a table. Reads the tables' tails and no block. A
    /// key counts as often as it is stored.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    pub fn shares(&self, seen: &mut dyn FnMut(Share<'_>)) -> Result<()> {
        for memtable in &self.memtables {
            let mut cursor = SortedMemtable::new(Arc::clone(memtable)).into_cursor();
            while let Some(entry) = cursor.entry() {
                if entry.kind != EntryKind::Delete {
                    let end = [entry.key, &[0]].concat();
                    let bytes = (entry.key.len() + entry.value.len()) as u64;
                    seen(Share { start: entry.key, end: &end, entries: 1, bytes });
                }
                cursor.advance();
            }
        }
        let files: Vec<_> = self.version.files().map(|(_, file)| file).collect();
        let tails = try_join_all(files.iter().map(|file| self.fetcher.whole_tail(file)));
        for (file, tail) in files.iter().zip(self.fetcher.io().block_on(tails)?) {
            let index = &tail.index;
            let alive = file.meta.entries.saturating_sub(file.meta.deletes);
            // As if they were spread evenly over the bytes.
            let before = |all: u64, offset: u64| {
                let part = u128::from(all) * u128::from(offset) / u128::from(file.data_bytes().max(1));
                u64::try_from(part).unwrap_or(all)
            };
            let apart: u64 = file.values().iter().map(|values| values.bytes).sum();
            for block in 0..index.blocks() {
                let Some(range) = index.range(block) else { continue };
                let end =
                    if block + 1 < index.blocks() { index.separator(block + 1) } else { &file.meta.keys.end };
                let keys = KeyRange::new(index.separator(block), end).intersect(file.keys());
                if !keys.is_empty() {
                    let of = |all| before(all, range.end) - before(all, range.start);
                    let (entries, bytes) = (of(alive), range.end - range.start + of(apart));
                    seen(Share { start: &keys.start, end: &keys.end, entries, bytes });
                }
            }
        }
        Ok(())
    }
}

/// A pass over ranges of a snapshot, in key order.
pub struct ReaderScan {
    scan: StoreScan,
    /// Ascending.
    ranges: Vec<KeyRange>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl ReaderScan {
    /// The next key and its value, `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        while let Some((key, value)) = self.scan.next_entry()? {
            // Memtables are passed over whole.
            let after = self.ranges.partition_point(|range| range.start.as_slice() <= key);
            let within = after.checked_sub(1).and_then(|at| self.ranges.get(at));
            if within.is_some_and(|range| range.ends_behind(key)) {
                self.key.clear();
                self.key.extend_from_slice(key);
                self.value.clear();
                self.value.extend_from_slice(value);
                return Ok(Some((&self.key, &self.value)));
            }
        }
        Ok(None)
    }
}
