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

impl Quiet {
    pub(super) fn new(requests: Option<Arc<StoreMetrics>>, link: Link) -> Self {
        let rate = link.bytes_per_second.map_or(u64::MAX, std::num::NonZero::get);
        let on_its_way = Duration::from_millis(LARGEST_OBJECT_BYTES.saturating_mul(1000) / rate);
        Self { requests, window: QUIET + link.latency * ROUND_TRIPS + on_its_way }
    }

    /// Waits; returns when the last thing happened, on the gauge's clock.
    ///
    /// # Errors
    /// What the backend cannot survive.
    pub(super) fn wait(
        &self,
        backend: &mut dyn KeyedStateBackend,
        (gauge, bell): (&Gauge, &Bell),
    ) -> Result<Duration> {
        let requests = || self.requests.as_ref().map(|requests| requests.snapshot());
        let mut seen = None;
        let mut changed_at = gauge.elapsed();
        let (mut begun, mut cpu_at) = (changed_at, cpu::process());
        loop {
            backend.poll(&mut |_, _| ())?;
            gauge.tick();
            let now = gauge.elapsed();
            let current = (backend.stats(), requests());
            if seen != Some(current) {
                (seen, changed_at, begun, cpu_at) = (Some(current), now, now, cpu::process());
            }
            let passed = now.saturating_sub(begun);
            if passed >= self.window {
                let cpu = cpu::process();
                if cpu.saturating_sub(cpu_at) * IDLE_SHARE < passed {
                    return Ok(changed_at);
                }
                (begun, cpu_at) = (now, cpu);
            }
            bell.wait_at_most(LOOK);
        }
    }
}
