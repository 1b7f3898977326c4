//! Snapshots: O(1) on the task thread, then an upload of what changed (design, "A checkpoint").
use std::sync::Arc;

use alluvium_env::Result;
use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};

use super::Store;
use super::deltas::pack::{LARGE_BYTES, Packer, Piece, Uploader};
use super::deltas::{Delta, Upload};
use super::manifest::paging::{self, Layout, Paging, Placed, SnapshotPage, placed};
use super::manifest::records::ValueList;
use super::manifest::{DeltaRecord, Manifest, MemtableRecord, TableRecord};
use super::warm_up::hints::{NewHint, StoredHint};
use crate::values::ValueFile;
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
    /// Hints that are on the store, and one that takes their place once it is there too.
    hints: Vec<StoredHint>,
    new_hint: Option<Arc<NewHint>>,
    paging: Arc<Paging>,
    /// Where its tables are described; known once it is uploaded.
    layout: Option<Layout>,
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
        let (hints, new_hint) = self.hints_of_checkpoint(&uploads);
        Snapshot {
            packer: Arc::clone(&self.packer),
            uploader: Uploader { fetcher: Arc::clone(&self.fetcher), naming: Arc::clone(&self.naming) },
            version: Arc::clone(&self.version),
            memtables,
            uploads,
            hints,
            new_hint,
            paging: Arc::clone(&self.paging),
            layout: None,
        }
    }
}

/// Pieces that go in one object, and to whom each belongs.
struct Bundle {
    delta: Option<Arc<Delta>>,
    hint: Option<Arc<NewHint>>,
    log: Vec<Bytes>,
}

impl Bundle {
    /// Returns the bytes that were uploaded.
    async fn upload(self, packer: &Arc<Packer>, uploader: &Uploader) -> Result<u64> {
        let Self { delta, hint, log } = self;
        let mut pieces = Vec::new();
        if delta.is_some() {
            pieces.push(Piece::delta(log));
        }
        pieces.extend(hint.as_ref().map(|hint| Piece::hint(hint.encode())));
        let sizes: Vec<u64> = pieces.iter().map(|piece| piece.size_bytes).collect();
        let mut places = packer.upload(pieces, uploader).await?.into_iter().zip(sizes.iter().copied());
        if let Some((delta, (place, _))) = delta.and_then(|delta| Some((delta, places.next()?))) {
            delta.set_place(place);
        }
        if let Some((hint, (place, size_bytes))) = hint.and_then(|hint| Some((hint, places.next()?))) {
            hint.set_stored(StoredHint { place, size_bytes });
        }
        Ok(sizes.iter().sum())
    }
}

impl Snapshot {
    /// Uploads what changed; returns the bytes that were uploaded.
    ///
    /// # Errors
    /// `Unavailable` if the store did not take it. The next snapshot uploads it again.
    pub async fn upload(&mut self) -> Result<u64> {
        let (packer, uploader) = (&self.packer, &self.uploader);
        let bundle = |Upload { delta, log }| Bundle { delta: Some(delta), hint: None, log };
        let mut bundles: Vec<_> = std::mem::take(&mut self.uploads).into_iter().map(bundle).collect();
        let is_small =
            |bundle: &&mut Bundle| bundle.delta.as_ref().is_some_and(|delta| delta.size_bytes < LARGE_BYTES);
        if let Some(hint) = self.new_hint.as_ref().filter(|hint| hint.stored().is_none()).cloned() {
            match bundles.iter_mut().find(is_small) {
                Some(bundle) => bundle.hint = Some(hint),
                // A large log is gone soon, and a hint would keep all of it.
                None => bundles.push(Bundle { delta: None, hint: Some(hint), log: Vec::new() }),
            }
        }
        let uploads = bundles.into_iter().map(|bundle| bundle.upload(packer, uploader));
        let pages = self.paging.lay_out(&self.version, uploader);
        let (logs, (layout, page_bytes)) = try_join(try_join_all(uploads), pages).await?;
        self.layout = Some(layout);
        Ok(logs.into_iter().sum::<u64>() + page_bytes)
    }

    /// Whether all of it is in tables, so that no log has to be uploaded or replayed.
    pub fn is_flushed(&self) -> bool {
        self.memtables.is_empty()
    }

    /// Tables that no page describes.
    fn inline(&self) -> Vec<Placed> {
        self.layout.as_ref().map_or_else(|| placed(&self.version).collect(), |layout| layout.inline.clone())
    }

    /// How to open a store in this state; once it is uploaded.
    pub fn manifest(&self) -> Bytes {
        let mut values = ValueList::default();
        let inline = self.inline();
        let tables = inline.iter().map(|(place, file)| TableRecord::of(*place, file, &mut values)).collect();
        let record = |delta: &Arc<Delta>| Some(DeltaRecord::of(delta.size_bytes, delta.place()?));
        let memtables =
            self.memtables.iter().map(|m| MemtableRecord { deltas: m.iter().filter_map(record).collect() });
        let hints = self.hints().map(StoredHint::record).collect();
        let pages = self.layout.iter().flat_map(|layout| &layout.pages).map(|(_, page)| page.clone());
        Manifest::encode(tables, memtables.collect(), values.records(), hints, pages.collect())
    }

    /// The newest hints that are on the store.
    fn hints(&self) -> impl Iterator<Item = &StoredHint> {
        let new = self.new_hint.as_ref().and_then(|hint| hint.stored());
        let older = if new.is_some() { &[][..] } else { self.hints.as_slice() };
        new.into_iter().chain(older)
    }

    /// Every object that the manifest names and that is no page, once; once it is uploaded.
    pub fn named(&self) -> Vec<SnapshotFile> {
        let inline = self.inline();
        let tables = inline.iter().map(|(_, file)| (file.name(), file.meta.size_bytes));
        let places = self.memtables.iter().flatten().filter_map(|delta| delta.place());
        let places = places.chain(self.hints().map(|hint| &hint.place));
        let deltas = places.map(|place| (place.object.name(), place.object_bytes));
        let value_of = |file: &Arc<ValueFile>| (file.name().to_owned(), file.meta().size_bytes);
        let values = inline.iter().flat_map(|(_, table)| table.values()).map(|share| value_of(&share.file));
        let files =
            tables.chain(deltas).map(|(name, size_bytes)| (name.to_owned(), size_bytes)).chain(values);
        once(files.map(|(name, size_bytes)| SnapshotFile { name, size_bytes }).collect())
    }

    /// The pages that the manifest names; once it is uploaded.
    pub fn pages(&self) -> impl Iterator<Item = &Arc<SnapshotPage>> {
        self.layout.iter().flat_map(|layout| &layout.pages).map(|(page, _)| page)
    }

    /// Every object that it takes to open a store in this state, once; once it is uploaded.
    pub fn files(&self) -> Vec<SnapshotFile> {
        let mut files = self.named();
        files.extend(self.layout.iter().flat_map(paging::objects));
        once(files)
    }
}

/// A table of which a scale-in brought two clips together is one object, and so is a pack with two deltas.
fn once(mut files: Vec<SnapshotFile>) -> Vec<SnapshotFile> {
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    files.dedup();
    files
}
