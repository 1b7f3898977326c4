//! Scans of the whole store, on any thread but the owner's.
use std::sync::Arc;

use alluvium_env::Result;

use super::Store;
use crate::fetch::Fetcher;
use crate::memtable::{Memtable, SortedMemtable};
use crate::merge::MergeOperators;
use crate::scan::{Depth, MergeScan, Source, TableScan};
use crate::version::Version;

/// A consistent pass over all keys in order. It holds what it reads, and waits for the store where it must.
pub struct StoreScan {
    /// Opened at the first entry, so that the owner's thread does not wait.
    opened: Option<MergeScan<Source>>,
    scanned: Scanned,
    buffer_bytes: usize,
}

/// What a scan passes over.
pub(super) struct Scanned {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) operators: Arc<dyn MergeOperators>,
    /// Newest first.
    pub(super) memtables: Vec<Arc<Memtable>>,
    pub(super) version: Arc<Version>,
}

impl Store {
    /// Starts a scan of this moment's state. The active memtable is frozen for it.
    pub fn scan(&mut self) -> StoreScan {
        self.rotate();
        let scanned = Scanned {
            fetcher: Arc::clone(&self.fetcher),
            operators: Arc::clone(&self.operators),
            memtables: self.frozen.iter().rev().map(|frozen| Arc::clone(&frozen.table)).collect(),
            version: Arc::clone(&self.version),
        };
        StoreScan::new(scanned, self.budget.background_bytes)
    }
}

impl StoreScan {
    pub(super) fn new(scanned: Scanned, buffer_bytes: usize) -> Self {
        Self { opened: None, scanned, buffer_bytes }
    }

    /// The next key and its value, `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.opened.is_none() {
            self.opened = Some(self.open()?);
        }
        let Some(scan) = &mut self.opened else { return Ok(None) };
        Ok(scan.next_entry()?.map(|(_, key, value)| (key, value)))
    }

    fn open(&self) -> Result<MergeScan<Source>> {
        let Scanned { fetcher, operators, memtables, version } = &self.scanned;
        let runs: Vec<_> = version.runs().cloned().collect();
        let read_ahead = (self.buffer_bytes / (2 * runs.len().max(1))).clamp(16 << 10, 1 << 20) as u64;
        let memtables = memtables.iter().map(|t| Ok(Source::memtable(SortedMemtable::new(Arc::clone(t)))));
        let open = |run| TableScan::new(Arc::clone(fetcher), run, read_ahead).map(Source::Tables);
        let sources = memtables.chain(runs.into_iter().map(open)).collect::<Result<Vec<_>>>()?;
        Ok(MergeScan::new(sources, Arc::clone(operators), Depth::Bottom))
    }
}
