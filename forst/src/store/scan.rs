//! Scans of the whole store, on any thread but the owner's.
//!
//! Values that lie apart are read many at a time, so that their requests do not add up.
use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::Store;
use crate::block::Block;
use crate::fetch::Fetcher;
use crate::memtable::{Memtable, SortedMemtable};
use crate::merge::MergeOperators;
use crate::scan::{Depth, MergeScan, Merged, Source, open_runs};
use crate::values::ValuePlace;
use crate::version::Version;

/// Entries that are read ahead if a value among them lies apart, at most.
const MAX_AHEAD: usize = 1024;

/// A consistent pass over all keys in order. It holds what it reads, and waits for the store where it must.
pub struct StoreScan {
    /// Opened at the first entry, so that the owner's thread does not wait.
    opened: Option<MergeScan<Source>>,
    scanned: Scanned,
    buffer_bytes: usize,
    /// Entries with their values, and the first of them in use.
    ahead: VecDeque<(Vec<u8>, Vec<u8>)>,
    current: (Vec<u8>, Vec<u8>),
    /// Why it cannot go on: it does not know where it is any more.
    failed: Option<Error>,
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
        let (ahead, current) = (VecDeque::new(), Default::default());
        Self { opened: None, scanned, buffer_bytes, ahead, current, failed: None }
    }

    /// The next key and its value, `None` at the end.
    ///
    /// # Errors
    /// `Unavailable` or `Corruption` from the store.
    pub fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if let Some(error) = &self.failed {
            return Err(error.duplicate());
        }
        if self.opened.is_none() {
            self.opened = Some(self.open()?);
        }
        let failed = &mut self.failed;
        if self.scanned.version.values.is_empty() {
            let Some(scan) = &mut self.opened else { return Ok(None) };
            let merged = scan.next_merged().inspect_err(|error| *failed = Some(error.duplicate()))?;
            return Ok(merged.map(|Merged { entry: (_, key, value), .. }| (key, value)));
        }
        if self.ahead.is_empty()
            && let Err(error) = self.read_ahead()
        {
            self.failed = Some(error.duplicate());
            return Err(error);
        }
        let Some(next) = self.ahead.pop_front() else { return Ok(None) };
        self.current = next;
        Ok(Some((&self.current.0, &self.current.1)))
    }

    /// Takes entries up to a bound, and reads those of their values that lie apart.
    fn read_ahead(&mut self) -> Result<()> {
        let Some(scan) = &mut self.opened else { return Ok(()) };
        let (mut bytes, mut pointers) = (0, Vec::new());
        let mut places: Vec<ValuePlace> = Vec::new();
        while self.ahead.len() < MAX_AHEAD
            && bytes < self.buffer_bytes as u64 / 2
            && let Some(Merged { entry: (_, key, value), place, .. }) = scan.next_merged()?
        {
            bytes += (key.len() + value.len()) as u64 + place.map_or(0, ValuePlace::bytes);
            if let Some(place) = place {
                pointers.push(self.ahead.len());
                places.push(place.clone());
            }
            self.ahead.push_back((key.to_vec(), value.to_vec()));
        }
        let fetcher = &self.scanned.fetcher;
        let records = fetcher.io().block_on(fetcher.read_records(places.clone()))?;
        for ((at, place), record) in pointers.into_iter().zip(places).zip(records) {
            let Some((key, value)) = self.ahead.get_mut(at) else { continue };
            let record = Block::decode(&record).map_err(|e| e.context(place.to_string()))?;
            *value = place.value_in(&record, key)?.to_vec();
        }
        Ok(())
    }

    fn open(&self) -> Result<MergeScan<Source>> {
        let Scanned { fetcher, operators, memtables, version } = &self.scanned;
        let runs: Vec<_> = version.runs().cloned().collect();
        let memtables = memtables.iter().map(|t| Source::memtable(SortedMemtable::new(Arc::clone(t))));
        let mut sources: Vec<_> = memtables.collect();
        sources.extend(open_runs(fetcher, runs, self.buffer_bytes, &Arc::default(), false)?);
        Ok(MergeScan::new(sources, Arc::clone(operators), Depth::Bottom))
    }
}
