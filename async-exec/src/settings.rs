//! What bounds the records in flight.
use alluvium_env::{Error, Result};

use crate::EpochMode;

/// Limits of an [`AsyncExecutionController`](crate::AsyncExecutionController).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// Records that may wait at once, for state or behind their key. More hides more latency; each costs the size of
    /// the user's future. Default: [`Self::DEFAULT_MAX_IN_FLIGHT`].
    pub max_in_flight: usize,
    /// Reads at which a batch is submitted without waiting for a flush. More coalesce better in the store; fewer start
    /// sooner. Above `max_in_flight` only flushes close a batch, unless records read several states at once. Default:
    /// [`Self::DEFAULT_BATCH_READS`].
    pub batch_reads: usize,
    /// Record batches that records in flight may keep alive: one waiting record pins the whole batch it came in, so
    /// this times the size of a batch bounds the bytes. Default: [`Self::DEFAULT_MAX_HELD_BATCHES`].
    pub max_held_batches: usize,
    /// Whether records behind an event run before it is done. Default: they do not.
    pub epoch_mode: EpochMode,
    /// Whether a barrier leaves records that have done nothing yet as they are, to be kept as inputs of the checkpoint
    /// and run again after a restore; otherwise it waits until nothing is in flight. Default: it leaves them.
    pub keep_inputs: bool,
}

impl ControllerSettings {
    /// FLIP-425's default of records in flight.
    pub const DEFAULT_MAX_IN_FLIGHT: usize = 6000;
    /// FLIP-425's default of reads in a batch.
    pub const DEFAULT_BATCH_READS: usize = 1000;
    /// 4 MiB of batches of 16 KiB.
    pub const DEFAULT_MAX_HELD_BATCHES: usize = 256;

    /// Refuses settings with which no record could run.
    ///
    /// # Errors
    /// `Invalid` if one of them is zero, or more records are allowed than can be numbered.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            ("max_in_flight", self.max_in_flight),
            ("batch_reads", self.batch_reads),
            ("max_held_batches", self.max_held_batches),
        ];
        for (name, value) in fields {
            if value == 0 || u32::try_from(value).is_err() {
                let message = format!("{name} is {value}; it must be at least 1 and below 2^32");
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self {
            max_in_flight: Self::DEFAULT_MAX_IN_FLIGHT,
            batch_reads: Self::DEFAULT_BATCH_READS,
            max_held_batches: Self::DEFAULT_MAX_HELD_BATCHES,
            epoch_mode: EpochMode::default(),
            keep_inputs: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_refused_by_name() {
        assert!(ControllerSettings::default().validate().is_ok());
        let settings = ControllerSettings { batch_reads: 0, ..ControllerSettings::default() };
        assert!(settings.validate().unwrap_err().to_string().contains("batch_reads is 0"));
    }
}
