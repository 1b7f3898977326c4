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
    fetcher: Arc<Fetcher>,
    operators: Arc<dyn MergeOperators>,
    /// Newest first.
    memtables: Vec<Arc<Memtable>>,
    version: Arc<Version>,
    buffer_bytes: usize,
}

impl Store {
    /// Starts a scan of this moment's state. The active memtable is frozen for it.
    pub fn scan(&mut self) -> StoreScan {
        self.rotate();
        StoreScan {
            opened: None,
            fetcher: Arc::clone(&self.fetcher),
            operators: Arc::clone(&self.operators),
            memtables: self.frozen.iter().rev().map(|frozen| Arc::clone(&frozen.table)).collect(),
            version: Arc::clone(&self.version),
            buffer_bytes: self.budget.background_bytes,
        }
    }
}

impl StoreScan {
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
        let runs: Vec<_> = self.version.runs().cloned().collect();
        let read_ahead = (self.buffer_bytes / (2 * runs.len().max(1))).clamp(16 << 10, 1 << 20) as u64;
        let memtables =
            self.memtables.iter().map(|t| Ok(Source::memtable(SortedMemtable::new(Arc::clone(t)))));
        let open = |run| TableScan::new(Arc::clone(&self.fetcher), run, read_ahead).map(Source::Tables);
        let sources = memtables.chain(runs.into_iter().map(open)).collect::<Result<Vec<_>>>()?;
        Ok(MergeScan::new(sources, Arc::clone(&self.operators), Depth::Bottom))
    }
}
