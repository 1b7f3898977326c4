//! One sorted source of entries.
use alluvium_env::Result;

use super::TableScan;
use crate::entry::EntryKind;
use crate::memtable::SortedMemtable;

/// A memtable or a run of tables, at an entry.
#[expect(
    clippy::large_enum_variant,
    reason = "a merge has a handful of sources; a box would cost each entry"
)]
pub(crate) enum Source {
    Memtable { table: SortedMemtable, next: usize },
    Tables(TableScan),
}

impl Source {
    pub(crate) fn memtable(table: SortedMemtable) -> Self {
        Self::Memtable { table, next: 0 }
    }

    /// The entry here, `None` at the end.
    #[inline]
    pub(crate) fn entry(&self) -> Option<(EntryKind, &[u8], &[u8])> {
        match self {
            Self::Memtable { table, next } => table.get(*next).map(|e| (e.kind, e.key, e.value)),
            Self::Tables(scan) => scan.entry(),
        }
    }

    #[inline]
    pub(crate) fn advance(&mut self) -> Result<()> {
        match self {
            Self::Memtable { next, .. } => {
                *next += 1;
                Ok(())
            }
            Self::Tables(scan) => scan.advance(),
        }
    }
}
