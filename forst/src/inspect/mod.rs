//! Looks into objects without a store: what a table holds, and whether every byte of an object is what it should be.
//!
//! For tools and fuzzers. Nothing here writes, and nothing is kept in memory but the tail and a window of the table at hand.
//!
//! - a [`ReadAt`] gives the bytes: a [`StoredObject`], or [`Bytes`](bytes::Bytes);
//! - a [`TableInspector`] says what a table holds, block by block and entry by entry;
//! - [`verify_table`], [`verify_values`], [`verify_delta`], [`verify_pack`], [`verify_hint`] and [`verify_page`] check everything that
//!   a reader relies on, and report each [`Finding`] with its offset;
//! - a [`ClaimedObject`] is what a checkpoint says of an object, which is compared with it.
//!
//! ```
//! use alluvium_forst::inspect::verify_table;
//!
//! let report = verify_table(&bytes::Bytes::from_static(b"not a table"), &mut |_| ())?;
//! assert_eq!(report.findings[0].offset, 0);
//! assert!(report.findings[0].found.contains("11 bytes"));
//! # Ok::<(), alluvium_env::Error>(())
//! ```
mod ages;
mod blocks;
#[cfg(test)]
mod broken;
mod claims;
mod delta;
mod object;
mod page;
mod report;
mod table;
mod values;
mod verify;

pub use blocks::{InspectedBlock, TableBlocks, TableEntry};
pub(crate) use claims::claims;
pub use claims::{ClaimedObject, ReadObject};
pub use delta::{verify_delta, verify_hint, verify_pack};
pub use object::{ReadAt, StoredObject};
pub use page::verify_page;
pub use report::{DeltaReport, DeltaSummary, Finding, Report, TableReport, ValuesReport, ValuesSummary};
pub use table::{BlockPlace, DeletedRange, KeyGroupSummary, TableInspector, TableSummary};
pub use values::verify_values;
pub use verify::verify_table;

pub use crate::entry::EntryKind;
