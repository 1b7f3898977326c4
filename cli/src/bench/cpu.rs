//! CPU time, of the process and of the calling thread, to the nanosecond.
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

fn duration(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What all threads of this process have taken so far.
pub(super) fn process() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// What this thread has taken so far.
pub(super) fn thread() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}
