//! Sorted sources of entries, and the ones that background work reads.

use alluvium_env::{Error, Result};

use super::TableScan;
use super::merge::Entry;
use crate::block::Block;
use crate::deleted::DeletedRanges;
use crate::memtable::{SortedCursor, SortedMemtable};
use crate::values::ValuePlace;

/// Entries in key order, each key once.
pub(crate) trait SortedSource {
    /// Why it cannot go on.
    type Stop: From<Error>;

    /// The entry here, `None` at the end.
    fn entry(&self) -> Option<Entry<'_>>;

    /// Whether the entry came from a block that was in memory.
    fn is_warm(&self) -> bool {
        false
    }

    /// Goes to the next entry.
    fn advance(&mut self) -> Result<(), Self::Stop>;

    /// Whether it hides anything of older sources beyond its own keys, as far as it has come.
    fn deletes_any(&self) -> bool;

    /// Whether it hides what older sources hold of `key`, to which it has come or which it has passed.
    fn deletes(&self, key: &[u8]) -> bool;

    /// Where the pointer that is its entry leads to.
    fn place(&self, pointer: &[u8]) -> Result<ValuePlace>;

    /// The record at a place.
    fn record(&self, place: &ValuePlace) -> Result<Block, Self::Stop>;
}

/// A memtable has no pointers.
#[cold]
pub(crate) fn no_pointers() -> Error {
    Error::internal("a memtable was asked for a pointer")
}

/// A memtable or a run of tables, at an entry.
#[expect(
    clippy::large_enum_variant,
    reason = "a merge has a handful of sources; a box would cost each entry"
)]
pub(crate) enum Source {
    Memtable(SortedCursor),
    Tables(TableScan),
}

impl Source {
    pub(crate) fn memtable(table: SortedMemtable) -> Self {
        Self::Memtable(table.into_cursor())
    }

    /// What it hides of older sources beyond its own keys.
    pub(crate) fn deleted(&self) -> &DeletedRanges {
        match self {
            Self::Memtable(cursor) => cursor.deleted(),
            Self::Tables(scan) => scan.deleted(),
        }
    }
}

impl SortedSource for Source {
    type Stop = Error;

    #[inline]
    fn entry(&self) -> Option<Entry<'_>> {
        match self {
            Self::Memtable(cursor) => cursor.entry().map(|e| (e.kind, e.key, e.value)),
            Self::Tables(scan) => scan.entry(),
        }
    }

    #[inline]
    fn is_warm(&self) -> bool {
        match self {
            // Its entries have not been asked for as blocks yet.
            Self::Memtable(_) => false,
            Self::Tables(scan) => scan.is_warm(),
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<()> {
        match self {
            Self::Memtable(cursor) => {
                cursor.advance();
                Ok(())
            }
            Self::Tables(scan) => scan.advance(),
        }
    }

    #[inline]
    fn deletes_any(&self) -> bool {
        !self.deleted().is_empty()
    }

    #[inline]
    fn deletes(&self, key: &[u8]) -> bool {
        self.deleted().covers(key)
    }

    fn place(&self, pointer: &[u8]) -> Result<ValuePlace> {
        match self {
            Self::Memtable(_) => Err(no_pointers()),
            Self::Tables(scan) => scan.place(pointer),
        }
    }

    fn record(&self, place: &ValuePlace) -> Result<Block> {
        match self {
            Self::Memtable(_) => Err(no_pointers()),
            Self::Tables(scan) => scan.record(place),
        }
    }
}
