//! Values apart from their keys: large ones lie in value files, and tables hold pointers to them (Lu et al., "`WiscKey`",
//! FAST 2016), so that compactions carry the pointers from level to level and leave the values where they are.
//!
//! ```text
//!  table:       … │ key → pointer │ key → value │ key → pointer │ …       filter, index, properties
//!                     │                             │
//!  value file:  record │ record │ record │ …  index, footer             (docs/formats/value.md)
//! ```
//!
//! A record is a data block with a single entry, the key and its value: it is checked, unpacked and cached like any other
//! block, and says itself whose value it holds.
//!
//! **Invariants**: a value file is on the store before a table that points into it is in a version. Who holds the table
//! holds the file, and so does every checkpoint that names the table (design D12): the file leaves with the last of them.
//! What a table's pointers take of each file stands in its reference, so what is garbage is known unread.
mod builder;
mod file;
#[cfg(test)]
mod format_tests;
mod place;
pub(crate) mod trailer;

pub(crate) use builder::{BuiltValues, ValueBuilder};
pub(crate) use file::{ValueFile, ValueMeta, ValueShare};
pub(crate) use place::{Pointer, ValuePlace};
