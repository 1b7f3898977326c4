//! Key accounting: which keys have a record in flight, and in which slot (FLIP-425).
//!
//! A busy key has one slot, in which its records run one after the other; those that wait stand in the slot's line.
//! A key is its 64-bit hash: two keys that share one take turns like one key, which costs them overlap and nothing else.
//!
//! **Invariants**: a key is here exactly as long as one of its records is in flight. A record that is ready at its
//! first poll never enters, so a table of a resident job is empty and is not even asked.
//!
//! **Threads**: the task thread's own.
use alluvium_env::HashMap;

/// The keys with records in flight.
#[derive(Debug, Default)]
pub(crate) struct BusyKeys {
    /// The hash of the key to its slot.
    slots: HashMap<u64, u32>,
}

impl BusyKeys {
    /// The key's slot, if it is busy.
    #[inline]
    pub(crate) fn slot(&self, hash: u64) -> Option<u32> {
        if self.slots.is_empty() { None } else { self.slots.get(&hash).copied() }
    }

    /// The key is busy from now on.
    pub(crate) fn occupy(&mut self, hash: u64, slot: u32) {
        self.slots.insert(hash, slot);
    }

    /// The last record of the key has ended.
    pub(crate) fn free(&mut self, hash: u64) {
        self.slots.remove(&hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_busy_until_it_is_freed() {
        let mut keys = BusyKeys::default();
        assert_eq!(keys.slot(7), None);
        keys.occupy(7, 3);
        keys.occupy(8, 4);
        assert_eq!((keys.slot(7), keys.slot(8), keys.slot(9)), (Some(3), Some(4), None));
        keys.free(7);
        assert_eq!((keys.slot(7), keys.slot(8)), (None, Some(4)));
    }
}
