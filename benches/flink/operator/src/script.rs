//! What the sources emit, told by the conductor.
//!
//! **Threads**: shared by all of them.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use alluvium_state_api::Notify;

use crate::keys::Keys;
use crate::values::Values;

/// Indexes that a source takes at once.
pub(crate) const CHUNK: u64 = 1024;

/// What is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Every key once, to be put.
    Load,
    /// Nothing.
    Rest,
    /// Keys drawn uniformly, to be read, changed and put.
    Update,
}

/// See the module.
pub(crate) struct Script {
    pub(crate) keys: Keys,
    pub(crate) values: Values,
    phase: AtomicU8,
    next: AtomicU64,
    sources: Mutex<Vec<Notify>>,
}

impl Script {
    pub(crate) fn new(keys: Keys, values: Values) -> Self {
        let phase = AtomicU8::new(Phase::Load as u8);
        Self { keys, values, phase, next: AtomicU64::new(0), sources: Mutex::default() }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Load as u8 => Phase::Load,
            phase if phase == Phase::Update as u8 => Phase::Update,
            _ => Phase::Rest,
        }
    }

    /// The next phase; sources that sleep look again.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|source| source());
    }

    /// A source thread that wants to be woken.
    pub(crate) fn join(&self, source: Notify) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The next indexes of the load; none when it is over.
    pub(crate) fn claim(&self) -> std::ops::Range<u64> {
        let start = self.next.fetch_add(CHUNK, Ordering::Relaxed).min(self.keys.count);
        start..(start + CHUNK).min(self.keys.count)
    }
}
