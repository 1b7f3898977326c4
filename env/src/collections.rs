//! Hash maps with the fast in-memory hash (foldhash); its output is never persisted.
pub use foldhash::fast::RandomState;

/// A hash map with the in-memory hash.
pub type HashMap<K, V> = hashbrown::HashMap<K, V, RandomState>;
/// A hash set with the in-memory hash.
pub type HashSet<K> = hashbrown::HashSet<K, RandomState>;
