//! A table as the store refers to it: name, size, bounds, clip; and who holds the object (design D12).
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use alluvium_env::{Error, Result};
use object_store::path::Path;

use super::{Properties, TableTail, Tail};
use crate::expiry::Ages;
use crate::key_range::KeyRange;
use crate::values::ValueShare;

/// Told which objects the store holds and releases. Deletion is not the store's business: whoever implements this
/// deletes an object once nobody holds it and no checkpoint names it.
pub trait Ownership: Send + Sync {
    /// One more holder. Called before an object is written, or when a restored one is referenced.
    fn hold(&self, name: &str);
    /// One holder less.
    fn release(&self, name: &str);
}

/// Deletes nothing: for stores whose objects somebody else cleans up.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAll;

impl Ownership for KeepAll {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

/// A held object; dropping it releases the object.
pub(crate) struct Held {
    path: Path,
    owner: Arc<dyn Ownership>,
    /// Whether only those need it who began to read before it left the version.
    is_gone: AtomicBool,
}

impl Held {
    pub(crate) fn new(name: &str, owner: Arc<dyn Ownership>) -> Self {
        let path = Path::from(name);
        owner.hold(path.as_ref());
        Self { path, owner, is_gone: AtomicBool::new(false) }
    }

    pub(crate) fn name(&self) -> &str {
        self.path.as_ref()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.owner.release(self.path.as_ref());
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_ref())
    }
}

/// A file within one store: the cache's half of a block's name. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) u64);

/// As little is stored of a filter that denies nothing.
const LEAST_FILTER_BYTES: usize = 32;

/// What is persisted of a table reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    pub(crate) size_bytes: u64,
    pub(crate) tail_bytes: u64,
    /// Spans every entry and every deleted range.
    pub(crate) keys: KeyRange,
    pub(crate) entries: u64,
    pub(crate) deletes: u64,
    /// Which bytes the object has, for copies of them: names repeat where state was deleted and begun anew. 0 where
    /// a manifest does not say.
    pub(crate) content_hash: u64,
    pub(crate) deleted_ranges: u64,
    pub(crate) ages: Ages,
}

/// Which reference to a table one is: of two that live at a time, no two have it at one address.
#[derive(Debug, Default)]
pub(crate) struct Which;

/// A table that a version refers to.
#[derive(Debug)]
pub(crate) struct TableFile {
    pub(crate) id: FileId,
    which: Arc<Which>,
    pub(crate) meta: FileMeta,
    /// What the reference sees of its table: how a rescale shares one (design, "A rescale"), and what compaction has left of one.
    pub(crate) clip: KeyRange,
    keys: KeyRange,
    /// Bytes of data blocks that the reference sees, about.
    shown_bytes: u64,
    held: Arc<Held>,
    tail: OnceLock<Tail>,
    offsets: OnceLock<Arc<[u32]>>,
    values: Vec<ValueShare>,
}

impl TableFile {
    pub(crate) fn new(id: FileId, meta: FileMeta, clip: KeyRange, held: Held) -> Self {
        let keys = meta.keys.intersect(&clip);
        let shown_bytes = meta.size_bytes.saturating_sub(meta.tail_bytes);
        let (tail, offsets) = (OnceLock::new(), OnceLock::new());
        let (which, held, values) = (Arc::default(), Arc::new(held), Vec::new());
        Self { id, which, meta, clip, keys, shown_bytes, held, tail, offsets, values }
    }

    /// The same with pointers into value files, in the order in which the pointers name them.
    pub(crate) fn with_values(self, values: Vec<ValueShare>) -> Self {
        Self { values, ..self }
    }

    /// Which reference it is: the same whatever of its tail is in memory, another one once it is clipped.
    pub(crate) fn which(&self) -> &Arc<Which> {
        &self.which
    }

    /// What its pointers take of each value file.
    #[inline]
    pub(crate) fn values(&self) -> &[ValueShare] {
        &self.values
    }

    /// Whether a table's properties name the value files that this reference does.
    pub(crate) fn check_values(&self, properties: &Properties) -> Result<()> {
        let names = self.values.iter().map(|share| share.file.name());
        if names.eq(properties.value_files.iter().map(String::as_str)) {
            return Ok(());
        }
        Err(Error::corruption("the table points into other value files than the manifest says"))
    }

    /// What of the reference lies within a range; `None` if nothing does. It has the file's id, as its blocks do.
    pub(crate) fn within(self: &Arc<Self>, range: &KeyRange) -> Option<Arc<Self>> {
        if range.covers(&self.keys) {
            return Some(Arc::clone(self));
        }
        let clip = self.clip.intersect(range);
        let keys = self.meta.keys.intersect(&clip);
        if keys.is_empty() {
            return None;
        }
        let shown_bytes = self.bytes_within(&keys, 2);
        // A block that both parts see, or may, is counted for both: values that live are not to be taken for garbage.
        let grains = self.tail.get().map_or(1, Tail::grains).max(1) as u64;
        let seen_bytes = shown_bytes + self.data_bytes() / grains;
        let share = |values: &ValueShare| values.part(seen_bytes, self.shown_bytes);
        Some(Arc::new(Self {
            id: self.id,
            meta: self.meta.clone(),
            shown_bytes,
            clip,
            keys,
            which: Arc::default(),
            held: Arc::clone(&self.held),
            tail: self.tail.clone(),
            offsets: self.offsets.clone(),
            values: self.values.iter().map(share).collect(),
        }))
    }

    /// What of the reference lies before a range and behind it.
    pub(crate) fn without(self: &Arc<Self>, range: &KeyRange) -> impl Iterator<Item = Arc<Self>> {
        let before = (!range.start.is_empty()).then(|| KeyRange::new(&[], &range.start));
        let behind = (!range.end.is_empty()).then(|| KeyRange::new(&range.end, &[]));
        [before, behind].into_iter().flatten().filter_map(|rest| self.within(&rest))
    }

    /// Bytes of data blocks that the reference sees within a range; one part in `parts` if the index is not known.
    pub(crate) fn bytes_within(&self, range: &KeyRange, parts: usize) -> u64 {
        if range.covers(&self.keys) {
            return self.shown_bytes;
        }
        self.bytes_between(&self.keys.intersect(range), self.shown_bytes / parts.max(1) as u64)
    }

    /// Bytes of data blocks within `keys`: what one would take them for, within the bounds that the tail in memory knows. Those are
    /// wide for a slim one: a small table may have a single index block, which tells none of its blocks from the others.
    fn bytes_between(&self, keys: &KeyRange, guess: u64) -> u64 {
        let Some(tail) = self.tail.get() else { return guess };
        let (whole, all) = (&self.meta.keys, self.data_bytes());
        let starts = if keys.start <= whole.start { 0..0 } else { tail.grain_of(&keys.start) };
        let is_last = keys.end.is_empty() || (!whole.end.is_empty() && keys.end >= whole.end);
        let ends = if is_last { all..all } else { tail.grain_of(&keys.end) };
        let least = ends.start.saturating_sub(starts.end);
        guess.clamp(least, ends.end.saturating_sub(starts.start).max(least))
    }

    /// Bytes of data blocks that a pass over the reference reads, about: better known once the tail has been read than when
    /// the reference was made.
    pub(crate) fn passed_bytes(&self) -> u64 {
        if self.keys == self.meta.keys {
            self.shown_bytes
        } else {
            self.bytes_between(&self.keys, self.shown_bytes)
        }
    }

    /// Bytes of data blocks that the reference sees, about.
    pub(crate) fn shown_bytes(&self) -> u64 {
        self.shown_bytes
    }

    /// Entries that the reference sees, about.
    pub(crate) fn shown_entries(&self) -> u64 {
        let entries = u128::from(self.meta.entries) * u128::from(self.shown_bytes)
            / u128::from(self.data_bytes().max(1));
        u64::try_from(entries).unwrap_or(self.meta.entries)
    }

    /// The object's name below the root.
    pub(crate) fn name(&self) -> &str {
        self.held.name()
    }

    /// The name, as the object store takes it.
    pub(crate) fn path(&self) -> &Path {
        self.held.path()
    }

    /// What is in memory of its tail, once that has been read.
    #[inline]
    pub(crate) fn tail(&self) -> Option<&Tail> {
        self.tail.get()
    }

    /// The whole tail, if that is in memory.
    #[inline]
    pub(crate) fn whole(&self) -> Option<&Arc<TableTail>> {
        match self.tail.get() {
            Some(Tail::Whole(tail)) => Some(tail),
            _ => None,
        }
    }

    /// Keeps a tail that was read; the first one stays.
    pub(crate) fn set_tail(&self, tail: impl Into<Tail>) {
        let _ = self.tail.set(tail.into());
    }

    /// The same reference with another form of its tail.
    pub(crate) fn with_tail(&self, tail: Tail) -> Self {
        Self {
            id: self.id,
            which: Arc::clone(&self.which),
            meta: self.meta.clone(),
            clip: self.clip.clone(),
            keys: self.keys.clone(),
            shown_bytes: self.shown_bytes,
            held: Arc::clone(&self.held),
            tail: OnceLock::from(tail),
            offsets: self.offsets.clone(),
            values: self.values.clone(),
        }
    }

    /// Nothing of the table is in the version any more, in none of its parts.
    pub(crate) fn leave(&self) {
        self.held.is_gone.store(true, Ordering::Relaxed);
    }

    /// Whether nothing of the table is in the version any more: copies of it are for nobody.
    pub(crate) fn is_gone(&self) -> bool {
        self.held.is_gone.load(Ordering::Relaxed)
    }

    /// Object and offset, for an error.
    pub(crate) fn place(&self, offset: u64) -> String {
        format!("{} at offset {offset}", self.name())
    }

    /// Where the data blocks begin and the last one ends, for who keeps a copy of the table: known while the tail is whole, and
    /// from then on once it was asked for. `None` for a table of more than 4 GiB as well.
    pub(crate) fn offsets(&self) -> Option<&Arc<[u32]>> {
        if let Some(tail) = self.whole() {
            self.keep_offsets(tail);
        }
        self.offsets.get()
    }

    /// Keeps the offsets of a tail that is not kept itself.
    pub(crate) fn keep_offsets(&self, tail: &TableTail) {
        if self.offsets.get().is_none()
            && let Some(offsets) = tail.index.offsets()
        {
            let _ = self.offsets.set(offsets);
        }
    }

    /// Where its filter is stored; `None` where the tail that is in memory does not say.
    pub(crate) fn filter_place(&self) -> Option<Range<u64>> {
        Some(self.data_bytes()..self.tail()?.top().index_start()?)
    }

    /// Memory that its filter takes while that is there: about half of the tail where it is not known better.
    pub(crate) fn filter_bytes(&self) -> usize {
        let place = self.filter_place();
        place.map_or(self.meta.tail_bytes / 2, |place| place.end.saturating_sub(place.start)) as usize
    }

    /// Whether its tail is in memory without the filter that its table has.
    pub(crate) fn lacks_filter(&self) -> bool {
        self.tail().is_some_and(|tail| !tail.filter().is_some()) && self.filter_bytes() > LEAST_FILTER_BYTES
    }

    /// Memory that its tail takes.
    pub(crate) fn resident_tail_bytes(&self) -> Option<usize> {
        let offsets = self.offsets.get().map_or(0, |offsets| offsets.len() * size_of::<u32>());
        Some(self.tail()?.size_bytes() + offsets)
    }

    /// Bytes of the object's data blocks.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.meta.size_bytes.saturating_sub(self.meta.tail_bytes)
    }

    /// The keys that the reference can hold: those of the table within the clip. Empty if the clip leaves nothing.
    #[inline]
    pub(crate) fn keys(&self) -> &KeyRange {
        &self.keys
    }
}
