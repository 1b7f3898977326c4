//! Opening: an empty store, or one from the manifests of a checkpoint, clipped to the keys it now owns.
//!
//! Tables are referenced, not read. The logs of memtables that were not flushed are read and replayed: they are at
//! most a few memtables, however much state there is.
use std::sync::Arc;

use alluvium_env::{Background, Error, IoRuntime, Result};
use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::ObjectStore;

use super::inbox::Inbox;
use super::manifest::{Manifest, MemtableRecord, TableRecord, unframe_delta};
use super::{Counters, DeltaChain, Frozen, Jobs, Reads, Store};
use crate::cache::BlockCache;
use crate::fetch::{DiskCache, Fetcher};
use crate::memtable::{Memtable, read_log};
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::settings::ForstSettings;
use crate::table::{Clip, FileMeta, Ownership, TableFile};
use crate::version::{LEVELS, Version};

/// A manifest, and which of its keys to take over.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What [`super::Snapshot::manifest`] gave.
    pub manifest: Bytes,
    /// The first key to take over.
    pub start: Vec<u8>,
    /// The first key after the last one; empty for no end.
    pub end: Vec<u8>,
}

/// What a store is opened with.
pub struct StoreOptions {
    /// Sizes and policies.
    pub settings: ForstSettings,
    /// The root of all names.
    pub store: Arc<dyn ObjectStore>,
    /// Where requests run.
    pub io: IoRuntime,
    /// Where flushes and compactions run.
    pub background: Arc<Background>,
    /// The disk tier, if there is one.
    pub disk: Option<Arc<DiskCache>>,
    /// How merges fold; may be replaced before the first merge.
    pub operators: Arc<dyn MergeOperators>,
    /// Who deletes what is released.
    pub ownership: Arc<dyn Ownership>,
    /// Called from other threads when there is something to poll.
    pub notify: Arc<dyn Fn() + Send + Sync>,
    /// Begins every name that is written; no other writer may use it.
    pub prefix: String,
    /// What to start from; several manifests must cover different keys.
    pub restored: Vec<Restored>,
}

impl Store {
    /// Opens a store. Waits for the logs it replays; not from within a runtime.
    ///
    /// # Errors
    /// `Invalid` for contradicting settings or a newer format, `Corruption` or `Unavailable` for a log that cannot be
    /// read.
    pub fn open(options: StoreOptions) -> Result<Self> {
        options.settings.validate()?;
        let settings = options.settings;
        let budget = settings.budget();
        let fetcher = Fetcher::new(options.store, options.io, options.disk, &settings, &options.prefix);
        let mut store = Self {
            fetcher,
            naming: Arc::new(Naming::new(options.prefix, options.ownership)),
            background: options.background,
            inbox: Inbox::new(options.notify),
            operators: options.operators,
            active: Memtable::default(),
            active_deltas: DeltaChain::default(),
            frozen: Vec::new(),
            version: Arc::default(),
            cache: BlockCache::new(budget.resident_bytes, settings.block_size_bytes),
            reads: Reads::default(),
            jobs: Jobs::default(),
            counters: Counters::default(),
            budget,
            settings,
        };
        store.restore(&options.restored)?;
        Ok(store)
    }

    fn restore(&mut self, parts: &[Restored]) -> Result<()> {
        let mut version = Version::default();
        let mut memtables: Vec<(Clip, MemtableRecord, usize)> = Vec::new();
        for part in parts {
            let clip = Clip { start: part.start.clone(), end: part.end.clone() };
            let manifest = Manifest::decode(&part.manifest)?;
            for record in manifest.tables {
                self.reference(&mut version, record, &clip)?;
            }
            let count = manifest.memtables.len();
            // Ages are counted from the newest, so that memtables of several parts line up.
            let aged = manifest.memtables.into_iter().enumerate();
            memtables.extend(aged.map(|(index, record)| (clip.clone(), record, count - 1 - index)));
        }
        for level in &mut version.levels {
            level.sort_by(|a, b| a.lower().cmp(b.lower()));
        }
        self.version = Arc::new(version);
        self.replay(memtables)
    }

    fn reference(&self, version: &mut Version, record: TableRecord, clip: &Clip) -> Result<()> {
        let meta = FileMeta {
            size_bytes: record.size_bytes,
            tail_bytes: record.tail_bytes,
            smallest: record.smallest,
            largest: record.largest,
            entries: record.entries,
            deletes: record.deletes,
            content_hash: record.content_hash,
        };
        if meta.tail_bytes > meta.size_bytes || record.level as usize > LEVELS {
            let (name, level) = (record.name, record.level);
            return Err(Error::corruption(format!(
                "a manifest describes an impossible table {name} at level {level}"
            )));
        }
        let clip = Clip { start: record.clip_start, end: record.clip_end }.intersect(clip);
        let file = TableFile::new(self.naming.next_id(), meta, clip, self.naming.hold_existing(&record.name));
        if file.is_empty() {
            return Ok(());
        }
        match (record.level as usize).checked_sub(1).and_then(|level| version.levels.get_mut(level)) {
            None => version.level0.push(Arc::new(file)),
            Some(level) => level.push(Arc::new(file)),
        }
        Ok(())
    }

    /// Replays logs: within one memtable a later entry replaces an earlier one; memtables stay apart, since an operand
    /// of a newer one folds into an older one.
    fn replay(&mut self, memtables: Vec<(Clip, MemtableRecord, usize)>) -> Result<()> {
        let ages = memtables.iter().map(|(_, _, age)| age + 1).max().unwrap_or(0);
        let mut tables: Vec<Memtable> = (0..ages).map(|_| Memtable::default()).collect();
        for (clip, record, age) in memtables {
            let Some(table) = tables.get_mut(age) else { continue };
            let reads =
                record.deltas.iter().map(|delta| self.fetcher.read_object(&delta.name, delta.size_bytes));
            let objects = self.fetcher.io().block_on(try_join_all(reads))?;
            for (delta, object) in record.deltas.iter().zip(objects) {
                let log = unframe_delta(delta, &object)?;
                let replayed = read_log(log, &mut |entry| {
                    if clip.contains(entry.key) {
                        table.write(entry.kind, entry.key, entry.value)
                    } else {
                        Ok(())
                    }
                });
                replayed.map_err(|e| e.context(delta.name.clone()))?;
            }
        }
        // Oldest first; the newest goes on as the active one.
        while let Some(mut table) = tables.pop() {
            if tables.is_empty() {
                self.active = table;
            } else if !table.is_empty() {
                table.seal();
                self.frozen.push(Frozen { table: Arc::new(table), deltas: DeltaChain::default() });
            }
        }
        Ok(())
    }
}
