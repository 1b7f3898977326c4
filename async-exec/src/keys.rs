//! Key accounting: which keys have a record in flight, and who is the last in line (FLIP-425).
//!
//! A line is linked through the slots; only its end is kept here. A key is its 64-bit hash: two keys that share one
//! take turns like one key, which costs them overlap and nothing else.
//!
//! **Invariants**: a key is here exactly as long as one of its records is in flight. A record that is ready at its
//! first poll never enters, so a table of a resident job is empty and is not even asked.
//!
//! **Threads**: the task thread's own.
use alluvium_env::HashMap;

/// The keys with records in flight.
#[derive(Debug, Default)]
pub(crate) struct BusyKeys {
    /// The hash of the key to the slot of its last record.
    last: HashMap<u64, u32>,
}

impl BusyKeys {
    /// Whether the key is busy.
    #[inline]
    pub(crate) fn contains(&self, hash: u64) -> bool {
        !self.last.is_empty() && self.last.contains_key(&hash)
    }

    /// Puts `slot` at the end of the key's line and returns whom it stands behind; `None` if it is the first.
    pub(crate) fn join(&mut self, hash: u64, slot: u32) -> Option<u32> {
        self.last.insert(hash, slot)
    }

    /// The last record of the line has ended.
    pub(crate) fn free(&mut self, hash: u64) {
        self.last.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_forms_behind_the_last_record_and_ends_with_it() {
        let mut keys = BusyKeys::default();
        assert!(!keys.contains(7));
        assert_eq!(keys.join(7, 0), None);
        assert_eq!(keys.join(7, 1), Some(0));
        assert_eq!(keys.join(7, 2), Some(1));
        assert!(keys.contains(7) && !keys.contains(8));
        keys.free(7);
        assert!(!keys.contains(7));
    }
}
