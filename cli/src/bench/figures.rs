//! What was measured, and the ratios that follow from it.
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_host::storage::StoreRequests;
use alluvium_state_api::BackendStats;

use super::args::BenchArgs;
use super::gauge::{Latencies, latencies};
use super::keys::KEY_BYTES;
use super::maps::USER_KEY_BYTES;
use super::subtask::Measured;
use super::{cpu, threads};

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) requests: StoreRequests,
    pub(super) stats: BackendStats,
    /// CPU of the process.
    cpu: Duration,
    background_cpu: Duration,
    link_cpu: Duration,
}

impl Moment {
    /// The counters now; backends' are summed up.
    pub(super) fn now(requests: StoreRequests, stats: impl Iterator<Item = BackendStats>) -> Self {
        let sum = |mut sum: BackendStats, one| {
            sum += one;
            sum
        };
        Self {
            requests,
            stats: stats.fold(BackendStats::default(), sum),
            cpu: cpu::process(),
            background_cpu: threads::cpu_of("alluvium-bg"),
            link_cpu: threads::cpu_of("alluvium-link"),
        }
    }
}

/// All that was measured.
pub(super) struct Figures {
    /// The longest load of a subtask.
    pub(super) load: Duration,
    pub(super) before: Moment,
    pub(super) after: Moment,
    /// How long the slowest subtask had something left to do.
    pub(super) debt: Duration,
    /// The requests when nothing was left to do.
    pub(super) paid_off: StoreRequests,
    pub(super) measured: Vec<Measured>,
    pub(super) verified: u64,
    pub(super) stored_bytes: u64,
}

/// CPU of a measurement, by who took it.
pub(super) struct CpuTimes {
    /// Everybody but the benchmark's own preparations and the simulated link.
    pub(super) process: Duration,
    pub(super) task: Duration,
    /// Flushes and compactions.
    pub(super) background: Duration,
}

impl Figures {
    pub(super) fn operations(&self) -> u64 {
        self.measured.iter().map(|one| one.readings.operations).sum()
    }

    /// Bytes of keys and values that the user wrote.
    pub(super) fn user_bytes(&self) -> u64 {
        self.measured.iter().map(|one| one.readings.user_bytes).sum()
    }

    /// How long the slowest subtask took.
    pub(super) fn took(&self) -> Duration {
        self.measured.iter().map(|one| one.took.wall).max().unwrap_or_default()
    }

    /// How long something was left to do, whenever that was waited for.
    pub(super) fn debt(&self) -> Duration {
        self.measured.iter().filter_map(|one| one.debt).max().unwrap_or(self.debt)
    }

    pub(super) fn cpu(&self) -> CpuTimes {
        let (before, after) = (self.before, self.after);
        let ordering: Duration = self.measured.iter().map(|one| one.ordering_cpu).sum();
        let link = after.link_cpu.saturating_sub(before.link_cpu);
        CpuTimes {
            process: after.cpu.saturating_sub(before.cpu).saturating_sub(ordering + link),
            task: self.measured.iter().map(|one| one.took.thread_cpu).sum(),
            background: after.background_cpu.saturating_sub(before.background_cpu),
        }
    }

    /// The latencies of all subtasks.
    ///
    /// # Errors
    /// Never: all are of one make.
    pub(super) fn latencies(&self) -> Result<Latencies> {
        let mut all = latencies()?;
        for one in &self.measured {
            let added = all.add(&one.readings.latencies);
            added.map_err(|e| Error::internal("cannot add up latencies").with_source(e))?;
        }
        Ok(all)
    }

    /// Operations of all subtasks in each second.
    pub(super) fn per_second(&self) -> Vec<u64> {
        let mut all = Vec::new();
        for one in &self.measured {
            let seconds = &one.readings.per_second;
            all.resize(seconds.len().max(all.len()), 0);
            all.iter_mut().zip(seconds).for_each(|(sum, count)| *sum += count);
        }
        // A load is followed by a wait that does not count.
        all.truncate(usize::try_from(self.took().as_secs()).unwrap_or(usize::MAX).saturating_add(1));
        all
    }
}

/// Bytes of keys and values that were loaded.
pub(super) fn raw_bytes(args: &BenchArgs) -> u64 {
    let single = KEY_BYTES + args.value_bytes();
    let entry = single + USER_KEY_BYTES;
    args.single_keys() * single as u64 + args.maps() * args.scan_length() * entry as u64
}

/// A part of a whole, with six digits behind the point; `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

/// Six digits behind the point.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How much of a time each of so many operations has, in microseconds.
pub(super) fn micros_each(time: Duration, operations: u64) -> f64 {
    ratio(nanos(time), operations).map_or(0.0, |nanos| rounded(nanos / 1000.0))
}

/// How many in a second.
#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { rounded(count as f64 / time.as_secs_f64()) }
}
