//! `--memory`, split: what the process takes anyway, channels and records in flight, operator states, and the rest for the
//! stores (D14).
//!
//! **Failure**: a budget that cannot hold its parts is `Invalid` and names the options that contradict each other.
use alluvium_env::{Error, Result};
use alluvium_forst::{CompactorSettings, ForstSettings};
use alluvium_host::JobSettings;

use crate::units::ByteSize;

/// Code, thread stacks, the I/O runtime, an HTTP client: measured with a job of three words (25 MiB), rounded up.
const PROCESS: ByteSize = ByteSize::mib(28);
/// Channels and records in flight may take one part in so many of the whole.
const JOB_SHARE: u64 = 5;
/// The allocator's pages that are only partly used: one part in so many of what is left for the stores.
const SLACK_SHARE: u64 = 4;
/// With less than eight batches of records in flight a subtask would stop for every single miss.
const MIN_IN_FLIGHT_BYTES: usize = 384 << 10;

/// Gives each subtask's store its share of `memory`, and lowers the job's limits where they would not fit.
///
/// # Errors
/// `Invalid` if the share is too small for a store.
pub(crate) fn split(memory: ByteSize, settings: &mut JobSettings) -> Result<ByteSize> {
    let wanted = settings.clone();
    let each = share(memory, settings);
    if each.0 >= ForstSettings::MIN_MEMORY_BYTES {
        return Ok(each);
    }
    let fits = |memory: &ByteSize| share(*memory, &mut wanted.clone()).0 >= ForstSettings::MIN_MEMORY_BYTES;
    // 128 subtasks need far less than a tebibyte.
    let least = (memory.0 >> 20..1 << 20).map(|less| ByteSize::mib(less + 1)).find(fits).unwrap_or(memory);
    Err(Error::invalid(format!(
        "--memory {memory} is too little for --parallelism {}, which needs at least {least}; give more memory or fewer \
         subtasks",
        settings.parallelism
    )))
}

/// What a compactor has for a job.
///
/// # Errors
/// `Invalid` if that is nothing.
pub(crate) fn compactor(memory: ByteSize) -> Result<ByteSize> {
    let rest = memory.0.saturating_sub(PROCESS.0);
    let jobs = ByteSize(rest - rest / SLACK_SHARE);
    if jobs.0 >= CompactorSettings::MIN_MEMORY_BYTES {
        return Ok(jobs);
    }
    let least = ByteSize::mib((PROCESS.0 >> 20) + 2);
    Err(Error::invalid(format!(
        "--memory {memory} is too little for a compactor, which needs at least {least}; give more memory"
    )))
}

fn share(memory: ByteSize, settings: &mut JobSettings) -> ByteSize {
    let (bytes, in_flight) = (settings.controller.max_in_flight_bytes, settings.controller.max_in_flight);
    for halvings in 0.. {
        settings.controller.max_in_flight_bytes = (bytes >> halvings).max(MIN_IN_FLIGHT_BYTES);
        settings.controller.max_in_flight = (in_flight >> halvings).max(settings.controller.batch_reads);
        let fits = settings.memory_bytes() as u64 <= memory.0 / JOB_SHARE;
        if fits || settings.controller.max_in_flight_bytes == MIN_IN_FLIGHT_BYTES {
            break;
        }
    }
    let job = (settings.memory_bytes() + settings.operator_state_memory_bytes()) as u64;
    let stores = memory.0.saturating_sub(PROCESS.0 + job);
    ByteSize((stores - stores / SLACK_SHARE) / u64::from(settings.parallelism))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(parallelism: u16) -> JobSettings {
        JobSettings { parallelism, sources: 2, operator_state_bytes: 0, ..JobSettings::default() }
    }

    #[test]
    fn the_parts_never_exceed_the_whole() {
        for memory in [64, 100, 512, 4096].map(ByteSize::mib) {
            for parallelism in [1, 2, 4] {
                let mut settings = settings(parallelism);
                let each = split(memory, &mut settings).unwrap();
                settings.validate().unwrap();
                let sum = PROCESS.0 + settings.memory_bytes() as u64 + each.0 * u64::from(parallelism);
                assert!(sum <= memory.0, "{memory} at {parallelism}: {sum}");
            }
        }
    }

    #[test]
    fn a_full_batch_of_reads_can_be_in_flight_however_little_memory_there_is() {
        let (mut settings, wanted) = (settings(4), settings(4).controller);
        split(ByteSize::mib(64), &mut settings).unwrap();
        let lowered = wanted.max_in_flight_bytes / settings.controller.max_in_flight_bytes;
        assert!(wanted.max_in_flight / lowered < settings.controller.batch_reads);
        assert_eq!(settings.controller.max_in_flight, settings.controller.batch_reads);
    }

    #[test]
    fn what_operator_states_may_take_is_nobody_else_s() {
        let memory = ByteSize::mib(512);
        let without = split(memory, &mut settings(2)).unwrap();
        let mut with = JobSettings { operator_state_bytes: 8 << 20, ..settings(2) };
        let each = split(memory, &mut with).unwrap();
        // Two copies of 8 MiB, less the allocator's slack on them.
        assert_eq!(without.0 - each.0, (16 << 20) / 4 * 3);
        let sum = PROCESS.0 + (with.memory_bytes() + with.operator_state_memory_bytes()) as u64 + each.0 * 2;
        assert!(sum <= memory.0, "{sum}");
        assert!(
            split(ByteSize::mib(64), &mut JobSettings { operator_state_bytes: 8 << 20, ..settings(4) })
                .is_err()
        );
    }

    #[test]
    fn a_contradiction_names_both_options_and_a_budget_that_works() {
        let error = split(ByteSize::mib(40), &mut settings(16)).unwrap_err().to_string();
        assert!(error.contains("--memory 40MiB") && error.contains("--parallelism 16"), "{error}");
        let least = error.split("at least ").nth(1).unwrap().split(';').next().unwrap();
        let least: ByteSize = least.parse().unwrap();
        assert!(split(least, &mut settings(16)).is_ok(), "{error}");
        assert!(split(ByteSize(least.0 - (1 << 20)), &mut settings(16)).is_err(), "{error}");
    }
}
