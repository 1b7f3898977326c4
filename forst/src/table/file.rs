//! A table as the store refers to it: name, size, bounds, clip; and who holds the object (design D12).
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::TableTail;

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
    name: String,
    owner: Arc<dyn Ownership>,
}

impl Held {
    pub(crate) fn new(name: String, owner: Arc<dyn Ownership>) -> Self {
        owner.hold(&name);
        Self { name, owner }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.owner.release(&self.name);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A file within one store: the cache's half of a block's name. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(pub(crate) u64);

/// The keys `start..end` that a reference sees of its table: how a rescale shares one (design, "A rescale").
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Clip {
    pub(crate) start: Vec<u8>,
    /// Empty: no end.
    pub(crate) end: Vec<u8>,
}

impl Clip {
    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && (self.end.is_empty() || key < self.end.as_slice())
    }

    /// The common part of two clips; it may be empty.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        let end = match (self.end.is_empty(), other.end.is_empty()) {
            (true, _) => &other.end,
            (_, true) => &self.end,
            _ => (&self.end).min(&other.end),
        };
        Self { start: self.start.clone().max(other.start.clone()), end: end.clone() }
    }
}

/// What is persisted of a table reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    pub(crate) size_bytes: u64,
    pub(crate) tail_bytes: u64,
    pub(crate) smallest: Vec<u8>,
    pub(crate) largest: Vec<u8>,
    pub(crate) entries: u64,
    pub(crate) deletes: u64,
    /// Which bytes the object has, for copies of them: names repeat where state was deleted and begun anew. 0 where
    /// a manifest does not say.
    pub(crate) content_hash: u64,
}

/// A table that a version refers to.
#[derive(Debug)]
pub(crate) struct TableFile {
    pub(crate) id: FileId,
    pub(crate) meta: FileMeta,
    pub(crate) clip: Clip,
    held: Held,
    tail: OnceLock<Arc<TableTail>>,
}

impl TableFile {
    pub(crate) fn new(id: FileId, meta: FileMeta, clip: Clip, held: Held) -> Self {
        Self { id, meta, clip, held, tail: OnceLock::new() }
    }

    /// The object's name below the root.
    pub(crate) fn name(&self) -> &str {
        self.held.name()
    }

    /// Filter and index, once they have been read.
    #[inline]
    pub(crate) fn tail(&self) -> Option<&Arc<TableTail>> {
        self.tail.get()
    }

    /// Keeps a tail that was read; the first one stays.
    pub(crate) fn set_tail(&self, tail: Arc<TableTail>) {
        let _ = self.tail.set(tail);
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.meta.size_bytes.saturating_sub(self.meta.tail_bytes)
    }

    /// Whether the clip leaves nothing of the table.
    pub(crate) fn is_empty(&self) -> bool {
        self.lower() > self.meta.largest.as_slice()
            || (!self.clip.end.is_empty() && self.lower() >= self.clip.end.as_slice())
    }

    /// Whether the reference can hold `key`.
    #[inline]
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        self.meta.smallest.as_slice() <= key && key <= self.meta.largest.as_slice() && self.clip.contains(key)
    }

    /// The lowest key it can hold.
    pub(crate) fn lower(&self) -> &[u8] {
        self.meta.smallest.as_slice().max(&self.clip.start)
    }

    /// Whether it can hold a key of `lower..=upper`.
    pub(crate) fn overlaps(&self, lower: &[u8], upper: &[u8]) -> bool {
        let clipped = !self.clip.end.is_empty() && lower >= self.clip.end.as_slice();
        !clipped && self.lower() <= upper && lower <= self.meta.largest.as_slice()
    }
}
