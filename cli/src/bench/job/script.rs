//! What the sources emit next, told by the conductor, and what the operator has done of it.
//!
//! **Threads**: shared by all. Counters are added to once a read by sources and once a record by subtasks.
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alluvium_env::{Clock as _, Error, Result, SystemClock};
use alluvium_state_api::Notify;

use crate::bench::args::BenchArgs;
use crate::bench::keys::Keys;
use crate::bench::values::Values;
use crate::progress::{Pace, Seen};
use crate::results::grouped;

/// Records that a source thread claims at once.
pub(super) const CHUNK: u64 = 1024;

/// What is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Nothing,
    /// Every key once, to be put.
    Load,
    /// Keys drawn uniformly, so many a second.
    Update,
    /// Every key once, to be read and compared.
    ReadBack,
}

const PHASES: [Phase; 4] = [Phase::Nothing, Phase::Load, Phase::Update, Phase::ReadBack];

/// See the module.
pub(super) struct Script {
    pub(super) keys: Keys,
    pub(super) values: Values,
    pub(super) seed: u64,
    /// Updates a second, of all sources together.
    pub(super) rate: u64,
    /// How many states the keys are spread over.
    pub(super) states: u16,
    clock: SystemClock,
    phase: AtomicU8,
    /// Of a phase that goes once over all keys, where it is.
    next: AtomicU64,
    /// When updates began in this run, and how many were emitted since.
    updates_since: AtomicU64,
    emitted: AtomicU64,
    run_since: AtomicU64,
    first_done: AtomicU64,
    over: AtomicBool,
    /// Updates that were emitted in all runs.
    pub(super) updates: AtomicU64,
    pub(super) loaded: AtomicU64,
    pub(super) updated: AtomicU64,
    pub(super) read_back: AtomicU64,
    /// The versions of all values that were read back in this run, added up.
    pub(super) versions: AtomicU64,
    sources: Mutex<Vec<Notify>>,
}

impl Script {
    pub(super) fn new(args: &BenchArgs) -> Self {
        Self {
            keys: Keys::new(args.keys.0, args.seed),
            values: Values::new(args.value_bytes(), args.seed),
            seed: args.seed,
            rate: args.job.updates_per_second(args.keys.0),
            states: args.job.states(),
            clock: SystemClock::new(),
            phase: AtomicU8::new(Phase::Nothing as u8),
            next: AtomicU64::new(0),
            updates_since: AtomicU64::new(0),
            emitted: AtomicU64::new(0),
            run_since: AtomicU64::new(0),
            first_done: AtomicU64::new(0),
            over: AtomicBool::new(false),
            updates: AtomicU64::new(0),
            loaded: AtomicU64::new(0),
            updated: AtomicU64::new(0),
            read_back: AtomicU64::new(0),
            versions: AtomicU64::new(0),
            sources: Mutex::default(),
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The job is about to be started.
    pub(super) fn begin_run(&self) {
        self.lock().clear();
        self.enter(Phase::Nothing);
        for counter in [&self.read_back, &self.versions, &self.first_done] {
            counter.store(0, Ordering::SeqCst);
        }
        self.over.store(false, Ordering::SeqCst);
        self.run_since.store(self.nanos(), Ordering::SeqCst);
    }

    /// The job has ended, whatever way.
    pub(super) fn end_run(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// Whether the job has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Since the job was started.
    pub(super) fn in_run(&self) -> Duration {
        Duration::from_nanos(self.nanos().saturating_sub(self.run_since.load(Ordering::SeqCst)))
    }

    /// From the start of the job to the end of the first record that it was given by this run's sources.
    pub(super) fn first_done(&self) -> Option<Duration> {
        let at = self.first_done.load(Ordering::SeqCst);
        (at > 0).then(|| Duration::from_nanos(at.saturating_sub(self.run_since.load(Ordering::SeqCst))))
    }

    /// A record has been done.
    #[inline]
    pub(super) fn done(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
        if self.first_done.load(Ordering::Relaxed) == 0 {
            // Another subtask may have been first by a moment.
            let _ = self.first_done.compare_exchange(0, self.nanos(), Ordering::SeqCst, Ordering::Relaxed);
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.next.store(0, Ordering::SeqCst);
        self.emitted.store(0, Ordering::SeqCst);
        self.updates_since.store(self.nanos(), Ordering::SeqCst);
        self.phase.store(phase as u8, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn phase(&self) -> Phase {
        PHASES.get(usize::from(self.phase.load(Ordering::SeqCst))).copied().unwrap_or(Phase::Nothing)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Notify>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A source thread that wants to be woken.
    pub(super) fn join(&self, source: Notify) {
        self.lock().push(source);
    }

    /// Has idle sources look again.
    pub(super) fn wake(&self) {
        self.lock().iter().for_each(|source| source());
    }

    /// The next keys of a phase that goes once over all of them; empty when it has.
    pub(super) fn claim(&self) -> std::ops::Range<u64> {
        let start = self.next.fetch_add(CHUNK, Ordering::SeqCst).min(self.keys.count);
        start..(start + CHUNK).min(self.keys.count)
    }

    /// How many updates are due.
    pub(super) fn claim_updates(&self) -> u64 {
        let since = self.nanos().saturating_sub(self.updates_since.load(Ordering::SeqCst));
        let due = u128::from(since) * u128::from(self.rate) / 1_000_000_000;
        let mut claimed = 0;
        let take = |emitted: u64| {
            claimed = u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(emitted).min(CHUNK);
            Some(emitted + claimed)
        };
        if self.emitted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return 0;
        }
        self.updates.fetch_add(claimed, Ordering::SeqCst);
        claimed
    }

    /// Every key was read back: were all updates there, and each of them once?
    ///
    /// # Errors
    /// `Corruption` says how many were expected.
    pub(super) fn compare(&self) -> Result<()> {
        let (expected, found) = (self.updates.load(Ordering::SeqCst), self.versions.load(Ordering::SeqCst));
        if expected == found {
            return Ok(());
        }
        Err(Error::corruption(format!(
            "the job counted wrongly: its values were changed {found} times, but {expected} updates were sent"
        )))
    }

    /// What the progress line shows now.
    pub(super) fn look(&self, pace: &mut Pace, now: Duration) -> Seen {
        let of_all =
            |done: &AtomicU64| (done.load(Ordering::Relaxed), format!(" of {}", grouped(self.keys.count)));
        let (what, (done, of)) = match self.phase() {
            Phase::Nothing => ("waiting", (0, String::new())),
            Phase::Load => ("loading", of_all(&self.loaded)),
            Phase::Update => ("updating", (self.updated.load(Ordering::Relaxed), String::new())),
            Phase::ReadBack => ("reading back", of_all(&self.read_back)),
        };
        let rate = grouped(pace.rate(done, now));
        Seen { position: done, message: format!("{what}  {}{of}  {rate}/s", grouped(done)) }
    }
}
