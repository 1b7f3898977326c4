//! The conductor: leads the job through its phases, reads the counters in between, and ends it.
//!
//! **Threads**: one of its own beside the job.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock as _, SystemClock};
use alluvium_host::JobControl;

use crate::args::Args;
use crate::bell::Bell;
use crate::script::{Phase, Script};
use crate::{cpu, threads};

const LOOK: Duration = Duration::from_millis(5);
/// So long the process must have taken less than a fifth of a core.
const QUIET: Duration = Duration::from_secs(1);
const IDLE_SHARE: u32 = 5;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) load: Duration,
    pub(crate) operations: u64,
    pub(crate) took: Duration,
    /// Of all threads, but for the one that keeps the link's time.
    pub(crate) cpu: Duration,
    pub(crate) peak_rss_bytes: u64,
}

/// See the module.
pub(crate) struct Conductor {
    script: Arc<Script>,
    control: JobControl,
    keys: u64,
    warm_up: Duration,
    measure: Duration,
    clock: SystemClock,
}

impl Conductor {
    pub(crate) fn new(script: Arc<Script>, control: JobControl, args: &Args) -> Self {
        Self {
            script,
            control,
            keys: args.keys,
            warm_up: Duration::from_secs(args.warm_up),
            measure: Duration::from_secs(args.seconds),
            clock: SystemClock::new(),
        }
    }

    pub(crate) fn conduct(self) -> Seen {
        let bell = Bell::new();
        let started = self.clock.monotonic();
        wait_until(&bell, || self.done() >= self.keys);
        let load = self.clock.monotonic().saturating_sub(started);
        self.script.enter(Phase::Rest);
        self.wait_until_quiet(&bell);
        self.script.enter(Phase::Update);
        self.pass(&bell, self.warm_up);
        let (cpu, begun, before) = (taken(), self.clock.monotonic(), self.done());
        self.pass(&bell, self.measure);
        let seen = Seen {
            load,
            operations: self.done() - before,
            took: self.clock.monotonic().saturating_sub(begun),
            cpu: taken().saturating_sub(cpu),
            peak_rss_bytes: peak_rss_bytes(),
        };
        self.control.cancel();
        seen
    }

    /// Records that have ended.
    fn done(&self) -> u64 {
        self.control.progress().records
    }

    fn pass(&self, bell: &Bell, time: Duration) {
        let end = self.clock.monotonic() + time;
        wait_until(bell, || self.clock.monotonic() >= end);
    }

    /// Flushes and compactions have ended: they run in this process.
    fn wait_until_quiet(&self, bell: &Bell) {
        loop {
            let before = cpu::process();
            self.pass(bell, QUIET);
            if cpu::process().saturating_sub(before) * IDLE_SHARE < QUIET {
                return;
            }
        }
    }
}

fn wait_until(bell: &Bell, holds: impl Fn() -> bool) {
    while !holds() {
        bell.wait_at_most(LOOK);
    }
}

fn taken() -> Duration {
    cpu::process().saturating_sub(threads::cpu_of("alluvium-link"))
}

fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}
