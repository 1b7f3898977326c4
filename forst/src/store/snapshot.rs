//! Snapshots: O(1) on the task thread, then an upload of what changed (design, "A checkpoint").
use std::sync::Arc;

use alluvium_env::Result;
use bytes::Bytes;
use futures_util::future::try_join_all;

use super::Store;
use super::deltas::{Delta, Upload};
use super::manifest::{DeltaRecord, Manifest, MemtableRecord, TableRecord};
use super::pack::{Packer, Uploader};
use super::records::ValueList;
use crate::version::Version;

/// Deltas of one memtable beyond which it is flushed, and bytes in them: a restore reads them all.
const MAX_CHAIN: usize = 64;
const MAX_CHAIN_BYTES: u64 = 64 << 20;

/// An object that a snapshot depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name below the root.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
}

/// A fixed state of the store, to be uploaded on the I/O runtime. While it lives, nothing it names is released.
pub struct Snapshot {
    packer: Arc<Packer>,
    uploader: Uploader,
    version: Arc<Version>,
    /// The deltas of each memtable that is not flushed, oldest first.
    memtables: Vec<Vec<Arc<Delta>>>,
    uploads: Vec<Upload>,
}

impl Store {
    /// Fixes the store's state of this moment: seals the memtable's log and names what has to be uploaded.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.active_deltas.len() >= MAX_CHAIN || self.active_deltas.bytes() >= MAX_CHAIN_BYTES {
            self.rotate();
        }
        self.active.seal();
        let mut uploads = Vec::new();
        let mut extend = |(deltas, upload)| {
            uploads.extend(upload);
            deltas
        };
        let mut memtables: Vec<_> =
            self.frozen.iter_mut().map(|frozen| extend(frozen.deltas.extend(&frozen.table))).collect();
        memtables.push(extend(self.active_deltas.extend(&self.active)));
        memtables.retain(|deltas| !deltas.is_empty());
        Snapshot {
            packer: Arc::clone(&self.packer),
            uploader: Uploader { fetcher: Arc::clone(&self.fetcher), naming: Arc::clone(&self.naming) },
            version: Arc::clone(&self.version),
            memtables,
            uploads,
        }
    }
}

impl Snapshot {
    /// Uploads what changed; returns the bytes that were uploaded.
    ///
    /// # Errors
    /// `Unavailable` if the store did not take it. The next snapshot uploads it again.
    pub async fn upload(&mut self) -> Result<u64> {
        let (packer, uploader) = (&self.packer, &self.uploader);
        let uploads = std::mem::take(&mut self.uploads).into_iter().map(|Upload { delta, log }| async move {
            delta.set_place(packer.upload(log, uploader).await?);
            Ok(delta.size_bytes)
        });
        Ok(try_join_all(uploads).await?.into_iter().sum())
    }

    /// Whether all of it is in tables, so that no log has to be uploaded or replayed.
    pub fn is_flushed(&self) -> bool {
        self.memtables.is_empty()
    }

    /// How to open a store in this state; once it is uploaded.
    pub fn manifest(&self) -> Bytes {
        let mut values = ValueList::default();
        let level0 = self.version.level0.iter().enumerate();
        let level0 = level0.flat_map(|(run, files)| files.iter().map(move |file| (0, run, file)));
        let deeper = self.version.files().filter(|(level, _)| *level > 0);
        let tables = level0.chain(deeper.map(|(level, file)| (level, 0, file)));
        let tables: Vec<_> =
            tables.map(|(level, run, file)| TableRecord::of((level, run), file, &mut values)).collect();
        let record = |delta: &Arc<Delta>| Some(DeltaRecord::of(delta.size_bytes, delta.place()?));
        let memtables =
            self.memtables.iter().map(|m| MemtableRecord { deltas: m.iter().filter_map(record).collect() });
        Manifest::encode(tables, memtables.collect(), values.records())
    }

    /// Every object the manifest names; once it is uploaded.
    pub fn files(&self) -> Vec<SnapshotFile> {
        let tables = self.version.files().map(|(_, file)| (file.name(), file.meta.size_bytes));
        let places = self.memtables.iter().flatten().filter_map(|delta| delta.place());
        let deltas = places.map(|place| (place.object.name(), place.object_bytes));
        let values = self.version.values.iter().map(|live| (live.file.name(), live.file.meta().size_bytes));
        let mut files: Vec<_> = tables
            .chain(deltas)
            .chain(values)
            .map(|(name, size_bytes)| SnapshotFile { name: name.to_owned(), size_bytes })
            .collect();
        // A table of which a scale-in brought two clips together is one object, and so is a pack with two deltas.
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        files.dedup();
        files
    }
}
