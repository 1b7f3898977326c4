//! Ordered passes over many sources: what compactions, flushes and scans read through.
//!
//! Sources are given newest first; [`MergeScan`] yields each key once, folded (design D4: recency is the order of the
//! sources, there are no sequence numbers).
mod merge;
mod source;
mod tables;

pub(crate) use merge::{Depth, Entry, MergeScan, Merged, unfoldable};
pub(crate) use source::{SortedSource, Source, no_pointers};
pub(crate) use tables::{TableScan, open_runs};
