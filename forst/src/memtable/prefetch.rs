//! Prefetching: brings what operations on many keys will touch of a memtable into the processor's caches.
//!
//! Every key takes a step before any takes the next, so that the processor waits for many of them at a time; see
//! `store/reads/prefetch.rs`.
use std::hint::black_box;

use super::arena::Location;
use super::{Memtable, spread};
use crate::touch::GROUP;

impl Memtable {
    /// Touches the entries of up to [`GROUP`] keys. A bit for each, the lowest of the first, says which it may hold.
    pub(crate) fn prefetch(&self, keys: &[&[u8]]) -> u32 {
        let mut hashes = [0; GROUP];
        for (hash, key) in hashes.iter_mut().zip(keys) {
            *hash = self.hash(key);
        }
        let mut found = 0;
        let mut entries: [Option<Location>; GROUP] = [None; GROUP];
        for (place, (entry, hash)) in entries.iter_mut().zip(hashes).take(keys.len()).enumerate() {
            // Keys are not compared: that would wait for the entry.
            *entry = self.index.find(spread(hash), |slot| slot.hash == hash).map(|slot| slot.at);
            found |= u32::from(entry.is_some()) << place;
        }
        if !self.ascending.is_over() {
            for (place, (entry, key)) in entries.iter_mut().zip(keys).enumerate() {
                *entry = entry.or_else(|| self.ascending.find(&self.arena, key));
                found |= u32::from(entry.is_some()) << place;
            }
        }
        for at in entries.iter().flatten() {
            black_box(self.arena.touch(*at));
        }
        found
    }
}
