//! Deltas: the parts of a memtable's log that checkpoints have uploaded (design D5).
//!
//! A chain covers its memtable's sealed chunks from the first on, without gaps. A delta whose upload is not known to
//! have succeeded is left out of the next checkpoint, which uploads its chunks again.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::memtable::Memtable;
use crate::naming::Naming;
use crate::table::Held;

/// A delta object.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) held: Held,
    pub(super) size_bytes: u64,
    /// The first chunk of the memtable that is not in it.
    end_chunk: usize,
    uploaded: AtomicBool,
}

impl Delta {
    pub(super) fn set_uploaded(&self) {
        self.uploaded.store(true, Ordering::Release);
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
    /// Names deltas for everything sealed in `table`: those that are uploaded, and a new one for the rest.
    pub(super) fn extend(&mut self, table: &Memtable, naming: &Naming) -> (Vec<Arc<Delta>>, Option<Upload>) {
        let sound = self.deltas.iter().take_while(|delta| delta.uploaded.load(Ordering::Acquire)).count();
        self.deltas.truncate(sound);
        let from = self.deltas.last().map_or(0, |delta| delta.end_chunk);
        let log = table.sealed_from(from);
        if log.is_empty() {
            return (self.deltas.clone(), None);
        }
        let delta = Arc::new(Delta {
            held: naming.hold("delta"),
            size_bytes: log.iter().map(|chunk| chunk.len() as u64).sum::<u64>()
                + super::manifest::DELTA_FRAME_BYTES,
            end_chunk: table.chunks(),
            uploaded: AtomicBool::new(false),
        });
        self.deltas.push(Arc::clone(&delta));
        (self.deltas.clone(), Some(Upload { delta, log }))
    }

    pub(super) fn len(&self) -> usize {
        self.deltas.len()
    }
}
