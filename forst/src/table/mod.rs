//! Sorted tables (SSTs), the only form state has on the store besides deltas (`docs/formats/sst.md`, design D8).
//!
//! ```text
//!  data block … data block │ filter │ index block … │ properties │ footer
//!                          └────────── tail, read in one request ────────┘
//! ```
//!
//! A tail is kept [whole](TableTail) while memory has room for it, else [slim](SlimTail): then its index blocks are read and
//! cached like data blocks.
mod builder;
mod file;
mod filter;
#[cfg(test)]
mod format_tests;
mod index;
mod keeping;
mod search;
mod slim;
mod tail;
mod top;

pub(crate) use builder::{BuiltTable, TableBuilder, TableOptions, content_hash};
pub(crate) use file::{FileId, FileMeta, Held, TableFile, Which};
pub use file::{KeepAll, Ownership};
pub(crate) use filter::{Filter, filter_hash};
pub(crate) use index::Index;
pub(crate) use keeping::{Keep, Keeping, KeptBlock, WarmBlocks, is_warm};
pub(crate) use search::{IndexSearch, head};
pub(crate) use slim::{SlimTail, Tail};
pub(crate) use tail::{FOOTER_BYTES, KeyGroupEntry, Properties, TableTail, TailLayout};
pub(crate) use top::{BlockPlace, Top};
