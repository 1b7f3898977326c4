//! Opening: an empty store, or one from the manifests of a checkpoint, clipped to the keys it now owns.
//!
//! Tables are referenced, not read; the pages that describe those of its keys are, and those of them of which nothing has to be
//! clipped go on describing them. The logs of memtables that were not flushed are replayed (`deltas/replay.rs`).
use std::cell::RefCell;
use std::sync::Arc;

use alluvium_env::{Background, Error, HashMap, HashSet, IoRuntime, Result};
use bytes::Bytes;
use futures_util::future::try_join_all;
use object_store::ObjectStore;

use super::deltas::Place;
use super::deltas::pack::Packer;
use super::deltas::replay::Unflushed;
use super::inbox::Inbox;
use super::jobs::close::Reach;
use super::lending::Lending;
use super::manifest::page::PageContent;
use super::manifest::paging::{Paging, RestoredPage, SnapshotPage};
use super::manifest::{DeltaRecord, Manifest, PageRecord, TableRecord, ValueFileRecord};
use super::warm_up::WarmUp;
use super::warm_up::hints::{Hints, StoredHint};
use super::{Counters, DeltaChain, Elsewhere, Expiring, Jobs, Pace, Reads, Store, Tails};
use crate::cache::BlockCache;
use crate::fetch::{DiskCache, Fetcher};
use crate::key_range::KeyRange;
use crate::memtable::Memtable;
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::settings::ForstSettings;
use crate::table::{Ownership, TableFile};
use crate::values::ValueFile;
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

/// Runs of level 0 that a manifest can have: far more than admission lets through.
const MAX_RUNS: u32 = 1 << 16;

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
        let inbox = Inbox::new(options.notify);
        let reach = Reach {
            fetcher: Arc::clone(&fetcher),
            inbox: Arc::clone(&inbox),
            _background: Arc::clone(&options.background),
        };
        let mut store = Self {
            fetcher,
            naming: Arc::new(Naming::new(options.prefix, options.ownership)),
            background: options.background,
            inbox,
            operators: options.operators,
            active: Memtable::default(),
            active_deltas: DeltaChain::default(),
            active_order: RefCell::default(),
            active_since_millis: 0,
            importing: false,
            frozen: Vec::new(),
            version: Arc::default(),
            live: HashSet::default(),
            cache: BlockCache::new(budget.resident_bytes),
            reads: Reads::default(),
            jobs: Jobs::new(reach),
            pace: Pace::default(),
            counters: Counters::default(),
            report: None,
            packer: Packer::new(),
            paging: Arc::new(Paging::new(settings.paged_tables)),
            membership: None,
            hints: Hints::default(),
            warming: WarmUp::default(),
            lending: Lending::default(),
            expiring: Expiring::default(),
            elsewhere: Elsewhere::default(),
            writes: 0,
            writes_polled: 0,
            tails: Tails::default(),
            budget,
            settings,
        };
        store.restore(&options.restored)?;
        store.lend(0);
        store.expiring.look_again();
        Ok(store)
    }

    fn restore(&mut self, parts: &[Restored]) -> Result<()> {
        let (mut version, mut known, mut adopted) = (Version::default(), HashMap::default(), Vec::new());
        let mut memtables = Vec::new();
        let clips = parts.iter().map(|part| KeyRange::new(&part.start, &part.end));
        let manifests = parts.iter().map(|part| Manifest::decode(&part.manifest));
        let manifests =
            clips.zip(manifests).map(|(clip, read)| Ok((clip, read?))).collect::<Result<Vec<_>>>()?;
        let described = self.described_in_pages(&manifests)?;
        for ((clip, manifest), pages) in manifests.into_iter().zip(described) {
            self.restore_hints(manifest.hints);
            let values = self.value_files(manifest.value_files, &mut known)?;
            for record in manifest.tables {
                self.reference(&mut version, record, &clip, &values)?;
            }
            for (record, content) in pages {
                let values = self.value_files(content.value_files.clone(), &mut known)?;
                adopted.extend(self.take_over(&mut version, (&record, content), &clip, &values)?);
            }
            let count = manifest.memtables.len();
            // Ages are counted from the newest, so that memtables of several parts line up.
            let aged = manifest.memtables.into_iter().enumerate();
            memtables.extend(aged.map(|(index, record)| Unflushed {
                clip: clip.clone(),
                age: count - 1 - index,
                record,
            }));
        }
        version.level0.retain(|run| !run.is_empty());
        for run in version.level0.iter_mut().chain(&mut version.levels) {
            run.sort_by(|a, b| a.keys().start.cmp(&b.keys().start));
        }
        self.paging.adopt(adopted, &version);
        self.live = version.ids().collect();
        self.version = Arc::new(version);
        self.account_tails();
        self.replay(&memtables)
    }

    /// Goes on naming hints until there is a newer one; they are read once the first record is done.
    fn restore_hints(&mut self, records: Vec<DeltaRecord>) {
        if !self.settings.warm_up {
            return;
        }
        for record in records {
            let object = Arc::new(self.naming.hold_existing(&record.name));
            let place = Place { object, offset: record.offset, object_bytes: record.object_bytes() };
            self.hints.restore(StoredHint { place, size_bytes: record.size_bytes });
            self.warming = WarmUp::Awaiting;
        }
    }

    /// Reads the pages of manifests that can describe tables with keys of their clips, all at a time.
    fn described_in_pages(
        &self,
        manifests: &[(KeyRange, Manifest)],
    ) -> Result<Vec<Vec<(PageRecord, PageContent)>>> {
        let read = |page: PageRecord| async move {
            let content = page.content(&self.fetcher.read_object(&page.name, page.size_bytes).await?)?;
            Ok((page, content))
        };
        let all = manifests.iter().map(|(clip, manifest)| {
            let met = |page: &&PageRecord| KeyRange::new(&page.start, &page.end).overlaps(clip);
            try_join_all(manifest.pages.iter().filter(met).cloned().map(read))
        });
        self.fetcher.io().block_on(try_join_all(all))
    }

    /// The value files of a manifest or page, in its order. A scale-in brings references of several former subtasks to one file
    /// together: it is one file here as well.
    fn value_files(
        &self,
        records: Vec<ValueFileRecord>,
        known: &mut HashMap<String, Arc<ValueFile>>,
    ) -> Result<Vec<Arc<ValueFile>>> {
        let mut files = Vec::with_capacity(records.len());
        for record in records {
            let file = match known.get(&record.name) {
                Some(file) => Arc::clone(file),
                None => record.open(self.naming.next_id(), self.naming.hold_existing(&record.name))?,
            };
            known.insert(record.name, Arc::clone(&file));
            files.push(file);
        }
        Ok(files)
    }

    /// References what stands in a page; returns the page if it describes that as it is here, too.
    fn take_over(
        &self,
        version: &mut Version,
        (record, content): (&PageRecord, PageContent),
        clip: &KeyRange,
        values: &[Arc<ValueFile>],
    ) -> Result<Option<Arc<SnapshotPage>>> {
        let mut page = RestoredPage::new(record, &content, &self.naming);
        for (place, table) in record.places().zip(content.tables) {
            let Some((level, run)) = place else {
                page.gone();
                continue;
            };
            let whole = clip.covers(&table.keys());
            let table = TableRecord { level, run, ..table };
            page.stands(self.reference(version, table, clip, values)?.as_ref(), whole);
        }
        Ok(page.adopted())
    }

    /// The table that is added to a version, if the clip leaves anything of it.
    fn reference(
        &self,
        version: &mut Version,
        record: TableRecord,
        clip: &KeyRange,
        values: &[Arc<ValueFile>],
    ) -> Result<Option<Arc<TableFile>>> {
        let (level, run) = (record.level as usize, record.run as usize);
        if level > LEVELS || record.run > MAX_RUNS || (level > 0 && run > 0) {
            let name = record.name;
            return Err(Error::corruption(format!(
                "a manifest describes an impossible table {name} at level {level}"
            )));
        }
        let held = self.naming.hold_existing(&record.name);
        let file = record.open(clip, values, self.naming.next_id(), held)?;
        if file.keys().is_empty() {
            return Ok(None);
        }
        let file = Arc::new(file);
        let run = if let Some(index) = level.checked_sub(1) {
            version.levels.get_mut(index)
        } else {
            // Runs of several parts join by age: their keys are different ones.
            version.level0.resize(version.level0.len().max(run + 1), Vec::new());
            version.level0.get_mut(run)
        };
        if let Some(run) = run {
            version.values.add(&file);
            run.push(Arc::clone(&file));
        }
        Ok(Some(file))
    }
}
