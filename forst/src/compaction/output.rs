//! Writes tables, and value files beside them, from entries in key order.
//!
//! A large value goes into a value file, and a pointer to it into the table; a pointer that comes stays what it is, unless
//! it leads into a file that is left behind. Values of keys that take merges stay in the table at any size: every fold
//! needs them, and each would be a request.
//!
//! A value file ends with the table that is the first to point into it, if it has not been full before: so a rewrite of
//! one table can free it.
use std::sync::Arc;

use alluvium_env::{HashSet, Result};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::progress::{Progress, Teller};
use crate::block::Block;
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::expiry::Stamp;
use crate::fetch::{Fetcher, no_answer};
use crate::key_range::KeyRange;
use crate::merge::MergeOperators;
use crate::naming::{Naming, Output};
use crate::scan::{MergeScan, Merged, Source};
use crate::table::{BuiltTable, FileId, FileMeta, Keeping, KeptBlock, TableBuilder, TableFile, TableOptions};
use crate::values::{BuiltValues, ValueBuilder, ValueFile, ValuePlace};

/// A table that is on the store, with the blocks that the cache may take over.
pub(crate) struct WrittenTable {
    pub(crate) file: Arc<TableFile>,
    pub(crate) blocks: Vec<KeptBlock>,
}

/// A block's place in the cache.
type BlockKey = (FileId, u32);

/// What a flush or a compaction has put on the store.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) tables: Vec<WrittenTable>,
    /// Records of value files that the cache may take over.
    pub(crate) records: Vec<(FileId, u32, Block)>,
    /// Records that were written anew: where they were, where they are.
    pub(crate) moved: Vec<(BlockKey, BlockKey)>,
}

impl Written {
    /// Takes over what was written of later keys.
    pub(crate) fn append(&mut self, mut later: Self) {
        self.tables.append(&mut later.tables);
        self.records.append(&mut later.records);
        self.moved.append(&mut later.moved);
    }
}

/// Which values are kept apart from their keys.
pub(crate) struct Separation {
    /// Values from this size on.
    pub(crate) threshold_bytes: usize,
    /// A value file ends once its records pass this.
    pub(crate) file_bytes: usize,
    /// Value files that are left behind.
    pub(crate) garbage: HashSet<FileId>,
    /// Knows which keys take merges.
    pub(crate) operators: Arc<dyn MergeOperators>,
}

impl Separation {
    fn takes(&self, kind: EntryKind, key: &[u8], value: &[u8]) -> bool {
        value.len() >= self.threshold_bytes
            && kind == EntryKind::Put
            && self.operators.operator(key).is_none()
    }

    fn leaves(&self, place: Option<&ValuePlace>) -> bool {
        place.is_some_and(|place| self.garbage.contains(&place.file.id))
    }
}

/// An entry that waits for its value, or behind one that does.
struct Held {
    kind: EntryKind,
    key: Vec<u8>,
    value: Vec<u8>,
    stamp: Option<Stamp>,
    place: Option<ValuePlace>,
    is_warm: bool,
}

/// Cuts entries in key order into tables and uploads each while the next is built.
pub(crate) struct TableWriter {
    fetcher: Arc<Fetcher>,
    naming: Arc<Naming>,
    options: TableOptions,
    separation: Separation,
    keeping: Keeping,
    /// Whether the disk tier takes the tables as well.
    mirror: bool,
    builder: TableBuilder,
    values: Option<ValueBuilder>,
    uploads: Vec<Upload>,
    waiting: Vec<Held>,
    waiting_bytes: u64,
    written: Written,
    teller: Teller,
}

/// An upload under way, and what it holds in memory.
struct Upload {
    bytes: u64,
    task: JoinHandle<Result<Option<WrittenTable>>>,
}

/// Uploads that may be under way.
const MAX_UPLOADS: usize = 2;
/// Entries that wait for values which are read together.
const MAX_WAITING: usize = 1024;

impl TableWriter {
    pub(crate) fn new(
        fetcher: Arc<Fetcher>,
        naming: Arc<Naming>,
        options: TableOptions,
        separation: Separation,
    ) -> Self {
        Self {
            fetcher,
            naming,
            options,
            separation,
            keeping: Keeping::default(),
            mirror: true,
            builder: TableBuilder::new(options),
            values: None,
            uploads: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: Written::default(),
            teller: Teller::new(None),
        }
    }

    /// Has it keep blocks for the cache.
    pub(crate) fn keeping(self, keeping: Keeping) -> Self {
        let builder = TableBuilder::keeping(self.options, keeping.clone());
        Self { keeping, builder, ..self }
    }

    /// Has it tell how far it is.
    pub(crate) fn telling(self, progress: Option<Arc<Progress>>) -> Self {
        Self { teller: Teller::new(progress), ..self }
    }

    /// Says that the disk tier need not take the tables.
    pub(crate) fn without_mirror(self, without: bool) -> Self {
        Self { mirror: !without, ..self }
    }

    /// Writes all that is left of a scan, and what the scan hides of older tables. Nothing is on its way any more when it returns.
    pub(crate) fn write_all(mut self, scan: MergeScan<Source>) -> Result<Written> {
        let mut result = self.write_rest(scan);
        while !self.uploads.is_empty() {
            result = result.and(self.end_oldest_upload());
        }
        result.map(|()| self.written)
    }

    fn write_rest(&mut self, mut scan: MergeScan<Source>) -> Result<()> {
        let mut deleted = scan.deleted();
        while let Some(merged) = scan.next_merged()? {
            if self.waiting.is_empty() && !self.separation.leaves(merged.place) {
                self.write(&merged, &mut deleted)?;
            } else {
                self.wait_with(&merged, &mut deleted)?;
            }
        }
        self.write_waiting(&mut deleted)?;
        self.end_table(deleted)
    }

    fn write(&mut self, merged: &Merged<'_>, deleted: &mut DeletedRanges) -> Result<()> {
        let Merged { entry: (kind, key, value), stamp, place, is_warm } = *merged;
        if self.teller.count() {
            self.fetcher.check_outputs_wanted()?;
        }
        self.end_table_before(key, deleted)?;
        match place {
            Some(place) => self.builder.point(key, place),
            None if self.separation.takes(kind, key, value) => {
                let place = self.open_values()?.add(key, value, stamp);
                self.point(key, &place)?;
            }
            None => self.builder.add(kind, key, value),
        }
        self.describe(kind, stamp, is_warm);
        Ok(())
    }

    /// Tells the builder of the entry that was added last.
    fn describe(&mut self, kind: EntryKind, stamp: Option<Stamp>, is_warm: bool) {
        if is_warm {
            self.builder.warm();
        }
        if let Some(stamp) = stamp {
            self.builder.stamp(kind, stamp);
        }
    }

    /// Keeps an entry until the values of many have been read.
    fn wait_with(&mut self, merged: &Merged<'_>, deleted: &mut DeletedRanges) -> Result<()> {
        let Merged { entry: (kind, key, value), stamp, place, is_warm } = *merged;
        let record = if self.separation.leaves(place) { place.map_or(0, ValuePlace::bytes) } else { 0 };
        self.waiting_bytes += (key.len() + value.len()) as u64 + record;
        let (key, value) = (key.to_vec(), value.to_vec());
        self.waiting.push(Held { kind, key, value, stamp, place: place.cloned(), is_warm });
        let most = self.separation.file_bytes as u64 / 2;
        if self.waiting.len() >= MAX_WAITING || self.waiting_bytes >= most {
            self.write_waiting(deleted)?;
        }
        Ok(())
    }

    /// Reads the values that entries wait for, all at once, and writes the entries.
    fn write_waiting(&mut self, deleted: &mut DeletedRanges) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let leaves = |held: &&Held| self.separation.leaves(held.place.as_ref());
        let places: Vec<_> = waiting.iter().filter(leaves).filter_map(|held| held.place.clone()).collect();
        let read = self.fetcher.while_outputs_are_wanted(self.fetcher.read_records(places));
        let mut records = self.fetcher.io().block_on(read)?.into_iter();
        for held in waiting {
            let Held { kind, key, value, stamp, place, is_warm } = &held;
            if let Some(old) = place.as_ref().filter(|place| self.separation.leaves(Some(place))) {
                let record = records.next().unwrap_or_default();
                self.end_table_before(key, deleted)?;
                let new = self.open_values()?.add_stored(&record, old.stamp);
                self.written.moved.push(((old.file.id, old.number), (new.file.id, new.number)));
                self.point(key, &new)?;
                self.describe(*kind, *stamp, *is_warm);
            } else {
                let (entry, place) = ((*kind, key.as_slice(), value.as_slice()), place.as_ref());
                self.write(&Merged { entry, stamp: *stamp, place, is_warm: *is_warm }, deleted)?;
            }
        }
        Ok(())
    }

    fn open_values(&mut self) -> Result<&mut ValueBuilder> {
        let values = if let Some(values) = self.values.take() {
            values
        } else {
            let held = self.naming.hold_output(Output::Values)?;
            ValueBuilder::new(ValueFile::new(self.naming.next_id(), held), self.keeping.clone())
        };
        Ok(self.values.insert(values))
    }

    /// Appends a pointer into the value file that is being built, which may be full then.
    fn point(&mut self, key: &[u8], place: &ValuePlace) -> Result<()> {
        self.builder.point(key, place);
        let full = |values: &ValueBuilder| values.data_bytes() >= self.separation.file_bytes as u64;
        if self.values.as_ref().is_some_and(full) { self.end_values() } else { Ok(()) }
    }

    fn end_values(&mut self) -> Result<()> {
        let Some(values) = self.values.take() else { return Ok(()) };
        let BuiltValues { file, payload, records } = values.finish();
        self.written.records.extend(records.into_iter().map(|(number, block)| (file.id, number, block)));
        let (fetcher, bytes) = (Arc::clone(&self.fetcher), file.meta().size_bytes);
        self.upload(bytes, async move { fetcher.write(file.name(), payload).await.map(|()| None) })
    }

    fn end_table_before(&mut self, key: &[u8], deleted: &mut DeletedRanges) -> Result<()> {
        if self.builder.ends_before(key) {
            let deleted_before = deleted.split_before(key);
            self.end_table(deleted_before)?;
        }
        Ok(())
    }

    fn end_table(&mut self, deleted: DeletedRanges) -> Result<()> {
        self.end_values()?;
        let builder =
            std::mem::replace(&mut self.builder, TableBuilder::keeping(self.options, self.keeping.clone()));
        let Some(built) = builder.finish(deleted) else { return Ok(()) };
        let (fetcher, naming, mirror) = (Arc::clone(&self.fetcher), Arc::clone(&self.naming), self.mirror);
        let bytes = size_of_all(&built.payload);
        self.upload(bytes, async move { upload_table(&fetcher, &naming, built, mirror).await.map(Some) })
    }

    /// Starts an upload when there is room for it.
    fn upload(
        &mut self,
        bytes: u64,
        work: impl Future<Output = Result<Option<WrittenTable>>> + Send + 'static,
    ) -> Result<()> {
        self.fetcher.check_outputs_wanted()?;
        let most = MAX_UPLOADS as u64 * self.options.table_size_bytes as u64;
        let under_way = |uploads: &[Upload]| uploads.iter().map(|upload| upload.bytes).sum::<u64>();
        while !self.uploads.is_empty()
            && (self.uploads.len() >= MAX_UPLOADS || under_way(&self.uploads) + bytes > most)
        {
            self.end_oldest_upload()?;
        }
        self.uploads.push(Upload { bytes, task: self.fetcher.io().spawn(work) });
        Ok(())
    }

    fn end_oldest_upload(&mut self) -> Result<()> {
        let task = self.uploads.remove(0).task;
        let ended = self.fetcher.io().block_on(task).map_err(no_answer)?;
        self.written.tables.extend(ended?);
        Ok(())
    }
}

fn size_of_all(payload: &[Bytes]) -> u64 {
    payload.iter().map(|piece| piece.len() as u64).sum()
}

async fn upload_table(
    fetcher: &Fetcher,
    naming: &Naming,
    built: BuiltTable,
    mirror: bool,
) -> Result<WrittenTable> {
    // Held before it is written, so that a failed write is cleaned up by its release.
    let held = naming.hold_output(Output::Table)?;
    let properties = &built.tail.properties;
    let meta = FileMeta {
        size_bytes: size_of_all(&built.payload),
        tail_bytes: built.tail_bytes,
        keys: built.keys,
        entries: properties.entries,
        deletes: properties.deletes,
        content_hash: built.content_hash,
        deleted_ranges: built.tail.deleted.len() as u64,
        ages: properties.ages.clone().unwrap_or_default(),
    };
    let file = TableFile::new(naming.next_id(), meta, KeyRange::default(), held).with_values(built.values);
    let file = Arc::new(file);
    file.set_tail(built.tail);
    fetcher.write_table(&file, built.payload, mirror).await?;
    Ok(WrittenTable { file, blocks: built.blocks })
}
