//! How the coordinator speaks to source threads: one word that they look at between reads, and a bell for the idle.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use alluvium_state_api::{CheckpointId, Notify};

/// Ends a source thread's sleep; a ring before the sleep is not lost.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ring(&self) {
        *self.lock() = true;
        self.wake.notify_one();
    }

    /// Sleeps until the bell has been rung since the last call.
    pub(crate) fn wait(&self) {
        let rung = self.lock();
        let mut rung = self.wake.wait_while(rung, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }

    /// The bell as a function for a reader.
    pub(crate) fn notify(self: &Arc<Self>) -> Notify {
        let bell = Arc::clone(self);
        Arc::new(move || bell.ring())
    }
}

/// What all source threads of a job are asked to do.
pub(crate) struct SourceSignal {
    /// The last requested checkpoint, shifted by one; the lowest bit says that it is the job's last.
    request: AtomicU64,
    /// The pending checkpoints up to that one, oldest first.
    wanted: Mutex<Vec<CheckpointId>>,
    cancelled: AtomicBool,
    bells: Vec<Arc<Bell>>,
}

impl SourceSignal {
    pub(crate) fn new(sources: usize) -> Self {
        Self {
            request: AtomicU64::new(0),
            wanted: Mutex::default(),
            cancelled: AtomicBool::new(false),
            bells: (0..sources).map(|_| Arc::default()).collect(),
        }
    }

    /// The bell of each source.
    pub(crate) fn bells(&self) -> &[Arc<Bell>] {
        &self.bells
    }

    /// Asks for a barrier of each of the `pending` checkpoints, oldest first, and to read nothing after the newest one's
    /// if that is the `last`.
    pub(crate) fn request(&self, pending: Vec<CheckpointId>, last: bool) {
        let Some(newest) = pending.last().copied() else { return };
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = pending;
        self.request.store(newest.0 << 1 | u64::from(last), Ordering::Release);
        self.ring();
    }

    /// The barriers to send for a request, given the last that was sent: none is overtaken, and those of checkpoints
    /// that were given up meanwhile are left out.
    pub(crate) fn wanted(&self, sent: CheckpointId, requested: CheckpointId) -> Vec<CheckpointId> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let mut barriers: Vec<_> =
            wanted.iter().copied().filter(|id| (sent..requested).contains(id)).collect();
        barriers.retain(|id| *id > sent);
        barriers.push(requested);
        barriers
    }

    /// The barrier that was asked for last, and whether it is the job's last; zero if there was none.
    pub(crate) fn requested(&self) -> (CheckpointId, bool) {
        let word = self.request.load(Ordering::Acquire);
        (CheckpointId(word >> 1), word & 1 == 1)
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.ring();
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn ring(&self) {
        for bell in &self.bells {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pending_checkpoint_gets_its_barrier_in_order_and_no_other_does() {
        let [one, two, three] = [1, 2, 3].map(CheckpointId);
        let signal = SourceSignal::new(1);
        assert_eq!(signal.requested(), (CheckpointId(0), false));
        signal.request(vec![one], false);
        signal.request(vec![one, two], false);
        assert_eq!(signal.wanted(CheckpointId(0), two), [one, two], "a source that was busy sends both");
        assert_eq!(signal.wanted(one, two), [two]);
        signal.request(vec![two, three], true);
        assert_eq!(signal.requested(), (three, true));
        assert_eq!(signal.wanted(CheckpointId(0), three), [two, three], "the first was given up");
        assert_eq!(signal.wanted(CheckpointId(0), two), [two], "what is asked for later waits for its turn");
    }
}
