//! Waiting until background work is quiet: no flush or compaction ends, no request is made, no CPU is taken.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::Result;
use alluvium_host::storage::{Link, StoreMetrics};
use alluvium_state_api::KeyedStateBackend;

use super::bell::Bell;
use super::cpu;
use super::gauge::Gauge;

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// So long nothing may have happened.
const QUIET: Duration = Duration::from_millis(300);
/// And so many round trips.
const ROUND_TRIPS: u32 = 4;
/// And the time that an object of this size takes on its way.
const LARGEST_OBJECT_BYTES: u64 = 64 << 20;
/// A process that takes more than one part in so many of a core is at work.
const IDLE_SHARE: u32 = 5;

/// What tells quiet from work.
pub(super) struct Quiet {
    requests: Option<Arc<StoreMetrics>>,
    window: Duration,
}

/// When background work was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// The last flush.
    pub(super) flushed_at: Duration,
    /// The last thing of any kind.
    pub(super) quiet_at: Duration,
}

impl Quiet {
    pub(super) fn new(requests: Option<Arc<StoreMetrics>>, link: Link) -> Self {
        let rate = link.bytes_per_second.map_or(u64::MAX, std::num::NonZero::get);
        let on_its_way = Duration::from_millis(LARGEST_OBJECT_BYTES.saturating_mul(1000) / rate);
        let round_trip = link.slow_tail.map_or(link.latency, |tail| tail.latency);
        Self { requests, window: QUIET + round_trip * ROUND_TRIPS + on_its_way }
    }

    /// Waits; returns when the last things happened, on the gauge's clock.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn wait(
        &self,
        backend: &mut dyn KeyedStateBackend,
        (gauge, bell): (&Gauge, &Bell),
    ) -> Result<Settled> {
        let requests = || self.requests.as_ref().map(|requests| requests.snapshot());
        let mut seen = (backend.stats(), requests());
        let mut settled = Settled { flushed_at: gauge.elapsed(), quiet_at: gauge.elapsed() };
        let (mut begun, mut cpu_at) = (gauge.elapsed(), cpu::process());
        loop {
            backend.poll(&mut |_, _| ())?;
            gauge.tick();
            let now = gauge.elapsed();
            let current = (backend.stats(), requests());
            if seen.0.flushes != current.0.flushes {
                settled.flushed_at = now;
            }
            if seen != current {
                settled.quiet_at = now;
                (seen, begun, cpu_at) = (current, now, cpu::process());
            }
            let passed = now.saturating_sub(begun);
            if passed >= self.window {
                let cpu = cpu::process();
                if cpu.saturating_sub(cpu_at) * IDLE_SHARE < passed {
                    return Ok(settled);
                }
                (begun, cpu_at) = (now, cpu);
            }
            bell.wait_at_most(LOOK);
        }
    }
}
