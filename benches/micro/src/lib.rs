//! What the micro-benches repeat: the hot paths of the store, each with all that it needs made before.
//!
//! A path is a function that does a known number of operations and returns something of what it found. `benches/time.rs`
//! times them with criterion, `benches/counts.rs` counts their instructions with gungraun.
mod records;
mod resident;

pub use records::{decode_records, encode_records, encoded_records};
pub use resident::{StorePart, planned_store, resident_store};

/// Operations of a path that repeats a cheap one.
pub const MANY: u64 = 1000;
/// Keys of a memtable, a filter, a store.
pub const KEYS: u64 = 20_000;
/// Keys of each run of a merge.
pub const RUN_KEYS: u64 = 1000;
/// Keys of a batch that is planned.
pub const BATCH: u64 = 64;
/// Blocks that the cache has of each of its tables.
pub const CACHED_BLOCKS: u32 = 1000;

/// Numbers of keys that are spread over all there are.
pub fn spread(count: u64) -> impl Iterator<Item = u64> {
    (0..count).map(|n| n.wrapping_mul(7919) % KEYS)
}
