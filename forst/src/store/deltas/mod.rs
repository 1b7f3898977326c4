//! Deltas: the parts of a memtable's log that checkpoints have uploaded (design D5).
//!
//! A chain covers its memtable's sealed chunks from the first on, without gaps. A delta whose upload is not known to
//! have succeeded is left out of the next checkpoint, which uploads its chunks again.
pub(super) mod pack;
pub(super) mod reader;
pub(super) mod replay;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::manifest::DELTA_FRAME_BYTES;
use crate::memtable::Memtable;
use crate::table::Held;

/// Where a delta is on the store: an object of its own, or a part of a pack.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) object: Arc<Held>,
    pub(super) offset: u64,
    pub(super) object_bytes: u64,
}

/// A part of a memtable's log.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) size_bytes: u64,
    /// The first chunk of the memtable that is not in it.
    end_chunk: usize,
    /// Known once it is uploaded.
    place: OnceLock<Place>,
}

impl Delta {
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.get()
    }

    /// Whether its log is in memory as long as somebody has it.
    pub(super) fn is_under_way(&self) -> bool {
        self.place().is_none()
    }

    /// It is uploaded. Told twice by snapshots that overlap, the first counts: both are there.
    pub(super) fn set_place(&self, place: Place) {
        let _ = self.place.set(place);
    }
}

/// A delta to upload, with the log it holds.
pub(super) struct Upload {
    pub(super) delta: Arc<Delta>,
    pub(super) log: Vec<Bytes>,
}

/// The deltas of one memtable, oldest first.
#[derive(Debug, Default)]
pub(super) struct DeltaChain {
    deltas: Vec<Arc<Delta>>,
}

impl DeltaChain {
    /// Deltas for everything sealed in `table`: those that are uploaded, and a new one for the rest.
    pub(super) fn extend(&mut self, table: &Memtable) -> (Vec<Arc<Delta>>, Option<Upload>) {
        let sound = self.deltas.iter().take_while(|delta| delta.place().is_some()).count();
        self.deltas.truncate(sound);
        let from = self.deltas.last().map_or(0, |delta| delta.end_chunk);
        let log = table.sealed_from(from);
        if log.is_empty() {
            return (self.deltas.clone(), None);
        }
        let delta = Arc::new(Delta {
            size_bytes: log.iter().map(|chunk| chunk.len() as u64).sum::<u64>() + DELTA_FRAME_BYTES,
            end_chunk: table.chunks(),
            place: OnceLock::new(),
        });
        self.deltas.push(Arc::clone(&delta));
        (self.deltas.clone(), Some(Upload { delta, log }))
    }

    /// Deltas that are on their way, each with its log in memory.
    pub(super) fn under_way(&self) -> impl Iterator<Item = &Arc<Delta>> {
        self.deltas.iter().filter(|delta| delta.is_under_way() && Arc::strong_count(delta) > 1)
    }

    pub(super) fn len(&self) -> usize {
        self.deltas.len()
    }

    /// What a restore reads of it.
    pub(super) fn bytes(&self) -> u64 {
        self.deltas.iter().map(|delta| delta.size_bytes).sum()
    }
}
