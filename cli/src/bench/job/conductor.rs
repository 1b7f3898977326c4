//! The conductor: says when the job's phases begin, watches how it does, and stops it.
//!
//! **Threads**: one of its own beside the job; it ends when the job has.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::Result;
use alluvium_host::JobControl;
use alluvium_host::storage::{StoreMetrics, StoreRequests};

use super::script::{Phase, Script};
use crate::bench::bell::Bell;
use crate::bench::cpu;

/// How often it looks, and wakes sources for what is due.
const LOOK: Duration = Duration::from_millis(1);
/// So long the store must have been quiet before updates begin.
const QUIET: Duration = Duration::from_secs(2);
/// What checkpoints of an idle job may read and write in that time.
const QUIET_BYTES: u64 = 1 << 20;
/// A process that takes more than one part in so many of a core is at work.
const IDLE_SHARE: u32 = 4;
/// How long the rate is looked at to tell whether it is the old one.
const WINDOW: Duration = Duration::from_millis(100);
/// A restored job that has not come to the old rate by then is not waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a run looked like from outside.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// How long the load took.
    pub(super) load: Duration,
    /// The last checkpoint before updates began.
    pub(super) before: u64,
    /// How many updates were done, and the requests meanwhile; in a restored run those until it was done.
    pub(super) updates: u64,
    pub(super) requests: StoreRequests,
    /// From the start of the job to the end of its first record.
    pub(super) first_record: Option<Duration>,
    /// To the end of the first tenth of a second with nine tenths of the rate.
    pub(super) old_rate: Option<Duration>,
    /// Until every key had been read back.
    pub(super) read_back: Option<Duration>,
}

/// See the module.
pub(super) struct Conductor {
    pub(super) script: Arc<Script>,
    pub(super) control: JobControl,
    pub(super) requests: Arc<StoreMetrics>,
    pub(super) seconds: Duration,
    pub(super) reads_back: bool,
}

impl Conductor {
    /// The first run.
    pub(super) fn load_and_update(self) -> Seen {
        let bell = Bell::new();
        let mut seen = Seen::default();
        self.script.enter(Phase::Load);
        self.wait_for(&bell, &self.script.loaded, self.script.keys.count);
        seen.load = self.script.in_run();
        self.script.enter(Phase::Nothing);
        self.wait_until_quiet(&bell);
        seen.before = self.control.progress().last_checkpoint.unwrap_or(0);
        let before = self.requests.snapshot();
        let (since, updated) = (self.script.in_run(), self.script.updated.load(Ordering::SeqCst));
        self.script.enter(Phase::Update);
        while !self.script.is_over() && self.script.in_run() < since + self.seconds {
            bell.wait_at_most(LOOK);
            self.script.wake();
        }
        seen.updates = self.script.updated.load(Ordering::SeqCst) - updated;
        seen.requests = since_then(before, self.requests.snapshot());
        self.control.stop();
        seen
    }

    /// A run that was restored.
    ///
    /// # Errors
    /// `Corruption` if an update is missing or was done twice.
    pub(super) fn restore(self) -> Result<Seen> {
        let bell = Bell::new();
        let mut seen = Seen::default();
        let before = self.requests.snapshot();
        if self.reads_back {
            self.script.enter(Phase::ReadBack);
            self.wait_for(&bell, &self.script.read_back, self.script.keys.count);
            seen.read_back = Some(self.script.in_run());
        } else {
            self.script.enter(Phase::Update);
            seen.old_rate = self.wait_for_rate(&bell);
        }
        seen.first_record = self.script.first_done();
        seen.requests = since_then(before, self.requests.snapshot());
        let compared = if self.reads_back && !self.script.is_over() { self.script.compare() } else { Ok(()) };
        self.control.stop();
        compared.map(|()| seen)
    }

    fn wait_for(&self, bell: &Bell, counter: &AtomicU64, target: u64) {
        while !self.script.is_over() && counter.load(Ordering::SeqCst) < target {
            bell.wait_at_most(LOOK);
        }
    }

    /// Updates are as fast as they should be again.
    fn wait_for_rate(&self, bell: &Bell) -> Option<Duration> {
        let wanted = u128::from(self.script.rate) * WINDOW.as_nanos() * 9 / 10_000_000_000;
        let (mut since, mut done) = (self.script.in_run(), self.script.updated.load(Ordering::SeqCst));
        while !self.script.is_over() && self.script.in_run() < PATIENCE {
            bell.wait_at_most(LOOK);
            self.script.wake();
            let now = self.script.in_run();
            if now >= since + WINDOW {
                let updated = self.script.updated.load(Ordering::SeqCst);
                if u128::from(updated - done) >= wanted {
                    return Some(now);
                }
                (since, done) = (now, updated);
            }
        }
        None
    }

    /// Flushes and compactions have ended: no more is read and written than checkpoints of an idle job do.
    fn wait_until_quiet(&self, bell: &Bell) {
        let look = || {
            let requests = self.requests.snapshot();
            (self.script.in_run(), requests, cpu::process())
        };
        let mut begun = look();
        while !self.script.is_over() {
            bell.wait_at_most(LOOK);
            let seen = look();
            let since = since_then(begun.1, seen.1);
            let is_quiet = since.bytes_read < QUIET_BYTES && since.bytes_written < QUIET_BYTES;
            let passed = seen.0.saturating_sub(begun.0);
            if !is_quiet {
                begun = seen;
            } else if passed >= QUIET {
                if seen.2.saturating_sub(begun.2) * IDLE_SHARE < passed {
                    return;
                }
                begun = seen;
            }
        }
    }
}

fn since_then(before: StoreRequests, now: StoreRequests) -> StoreRequests {
    StoreRequests {
        gets: now.gets - before.gets,
        puts: now.puts - before.puts,
        deletes: now.deletes - before.deletes,
        lists: now.lists - before.lists,
        bytes_read: now.bytes_read - before.bytes_read,
        bytes_written: now.bytes_written - before.bytes_written,
    }
}
