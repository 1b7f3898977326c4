//! `--memory`, split: what the process takes anyway, channels and records in flight, and the rest for the stores (D14).
//!
//! **Failure**: a budget that cannot hold its parts is `Invalid` and names the options that contradict each other.
use alluvium_env::{Error, Result};
use alluvium_forst::ForstSettings;
use alluvium_host::JobSettings;

use crate::units::ByteSize;

/// Code, thread stacks, the I/O runtime, an HTTP client: measured with a job of three words (25 MiB), rounded up.
const PROCESS: ByteSize = ByteSize::mib(28);
/// Of what is left for the stores, what the allocator may take besides: pages that are partly free, one part in so many.
const SLACK_SHARE: u64 = 4;
/// Of the stages of a job, what one subtask's records in flight and its channels may take at most.
const JOB_SHARE: u64 = 5;
/// Fewer held batches than this would stop a subtask for every single miss.
const MIN_HELD_BATCHES: usize = 8;

/// Gives each subtask its share of `memory`, and lowers the job's limits where they would not fit.
///
/// # Errors
/// `Invalid` if a store's share is too small for a store.
pub(crate) fn split(memory: ByteSize, settings: &mut JobSettings) -> Result<ByteSize> {
    let job_share = memory.0 / JOB_SHARE;
    while settings.memory_bytes() as u64 > job_share
        && settings.controller.max_held_batches > MIN_HELD_BATCHES
    {
        settings.controller.max_held_batches =
            (settings.controller.max_held_batches / 2).max(MIN_HELD_BATCHES);
        settings.controller.max_in_flight = (settings.controller.max_in_flight / 2).max(1000);
    }
    let (job, subtasks) = (settings.memory_bytes() as u64, u64::from(settings.parallelism));
    let each = ByteSize(memory.0.saturating_sub(PROCESS.0 + job) / subtasks);
    if each.0 < ForstSettings::MIN_MEMORY_BYTES {
        let least = ByteSize(
            (PROCESS.0 + job + subtasks * ForstSettings::MIN_MEMORY_BYTES).next_multiple_of(1 << 20),
        );
        return Err(Error::invalid(format!(
            "--memory {memory} is too little for --parallelism {subtasks}, which needs at least {least}; \
             give more memory or fewer subtasks"
        )));
    }
    Ok(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(parallelism: u16) -> JobSettings {
        JobSettings { parallelism, sources: 2, ..JobSettings::default() }
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
    fn a_contradiction_names_both_options_and_a_budget_that_works() {
        let error = split(ByteSize::mib(40), &mut settings(16)).unwrap_err().to_string();
        assert!(error.contains("--memory 40MiB") && error.contains("--parallelism 16"), "{error}");
        let least = error.split("at least ").nth(1).unwrap().split(';').next().unwrap();
        assert!(split(least.parse().unwrap(), &mut settings(16)).is_ok(), "{error}");
    }
}
