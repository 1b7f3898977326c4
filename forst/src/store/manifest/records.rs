//! Tables and value files as records, and back: what a manifest and a compaction that is done elsewhere have in common.
use std::sync::Arc;

use alluvium_env::{Error, HashMap, Result};

use crate::expiry::Ages;
use crate::key_range::KeyRange;
use crate::store::manifest::{TableRecord, ValueFileRecord, ValueShareRecord};
use crate::table::{FileId, FileMeta, Held, TableFile};
use crate::values::{ValueFile, ValueMeta, ValueShare};

/// Value files, each once, as tables come that point into them.
#[derive(Default)]
pub(crate) struct ValueList {
    records: Vec<ValueFileRecord>,
    index: HashMap<FileId, u32>,
}

impl ValueList {
    /// What a table takes of the files, which join the list.
    fn shares(&mut self, table: &TableFile) -> Vec<ValueShareRecord> {
        let share = |ValueShare { file, values, bytes }: &ValueShare| {
            let next = self.records.len() as u32;
            let index = *self.index.entry(file.id).or_insert(next);
            if index == next {
                let ValueMeta { size_bytes, data_bytes, content_hash } = file.meta();
                let name = file.name().to_owned();
                self.records.push(ValueFileRecord { name, size_bytes, data_bytes, content_hash });
            }
            ValueShareRecord { file: index, values: *values, bytes: *bytes }
        };
        table.values().iter().map(share).collect()
    }

    /// A file's place in the list.
    pub(crate) fn place(&self, file: FileId) -> Option<u32> {
        self.index.get(&file).copied()
    }

    /// The files in their order.
    pub(crate) fn records(self) -> Vec<ValueFileRecord> {
        self.records
    }
}

impl ValueFileRecord {
    /// What it says, if that can be.
    pub(crate) fn meta(&self) -> Result<ValueMeta> {
        let Self { ref name, size_bytes, data_bytes, content_hash } = *self;
        if data_bytes > size_bytes {
            return Err(Error::corruption(format!("a record describes an impossible value file {name}")));
        }
        Ok(ValueMeta { size_bytes, data_bytes, content_hash })
    }

    /// The file.
    pub(crate) fn open(&self, id: FileId, held: Held) -> Result<Arc<ValueFile>> {
        let file = ValueFile::new(id, held);
        file.end(self.meta()?);
        Ok(Arc::new(file))
    }
}

impl TableRecord {
    /// The record of a table at a level, and in a run of it.
    pub(crate) fn of((level, run): (usize, usize), file: &TableFile, values: &mut ValueList) -> Self {
        Self {
            level: level as u32,
            run: run as u32,
            name: file.name().to_owned(),
            size_bytes: file.meta.size_bytes,
            tail_bytes: file.meta.tail_bytes,
            start: file.meta.keys.start.clone(),
            end: file.meta.keys.end.clone(),
            entries: file.meta.entries,
            deletes: file.meta.deletes,
            deleted_ranges: file.meta.deleted_ranges,
            ages: (file.meta.ages != Ages::default()).then(|| file.meta.ages.clone()),
            clip_start: file.clip.start.clone(),
            clip_end: file.clip.end.clone(),
            values: values.shares(file),
            content_hash: file.meta.content_hash,
        }
    }

    /// The keys that it shows.
    pub(crate) fn keys(&self) -> KeyRange {
        let clip = KeyRange::new(&self.clip_start, &self.clip_end);
        KeyRange::new(&self.start, &self.end).intersect(&clip)
    }

    /// The table, clipped; `values` are the files that its list names.
    pub(crate) fn open(
        self,
        clip: &KeyRange,
        values: &[Arc<ValueFile>],
        id: FileId,
        held: Held,
    ) -> Result<TableFile> {
        let share = |share: &ValueShareRecord| {
            let file = values.get(share.file as usize).ok_or_else(|| {
                let (index, name) = (share.file, &self.name);
                Error::corruption(format!(
                    "a record's table {name} points into value file {index}, which is not there"
                ))
            })?;
            Ok(ValueShare { file: Arc::clone(file), values: share.values, bytes: share.bytes })
        };
        let shares = self.values.iter().map(share).collect::<Result<Vec<_>>>()?;
        if self.tail_bytes > self.size_bytes {
            let name = self.name;
            return Err(Error::corruption(format!("a record describes an impossible table {name}")));
        }
        let meta = FileMeta {
            size_bytes: self.size_bytes,
            tail_bytes: self.tail_bytes,
            keys: KeyRange { start: self.start, end: self.end },
            entries: self.entries,
            deletes: self.deletes,
            content_hash: self.content_hash,
            deleted_ranges: self.deleted_ranges,
            ages: self.ages.unwrap_or_default(),
        };
        let clip = KeyRange { start: self.clip_start, end: self.clip_end }.intersect(clip);
        Ok(TableFile::new(id, meta, clip, held).with_values(shares))
    }
}
