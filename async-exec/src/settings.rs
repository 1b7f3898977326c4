//! What bounds the records in flight.
use alluvium_env::{Error, Result};

use crate::EpochMode;

/// Limits of an [`AsyncExecutionController`](crate::AsyncExecutionController).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    /// Records that may be in flight at once, waiting for state or behind their key. More hides more latency. Of the
    /// records that wait behind one key a [part](Self::KEY_SHARE) counts at most, so that a hot key does not keep the
    /// others out; the bytes of all count. Default: [`Self::DEFAULT_MAX_IN_FLIGHT`].
    pub max_in_flight: usize,
    /// Bytes that records in flight may take: the futures of those that have started, and the batches that they came
    /// in, which one of them keeps alive whole. Admission closes at the record that reaches it, so one of any size
    /// can run. Default: [`Self::DEFAULT_MAX_IN_FLIGHT_BYTES`].
    pub max_in_flight_bytes: usize,
    /// Reads at which a batch is submitted without waiting for a flush. More coalesce better in the store; fewer start
    /// sooner. Above `max_in_flight` only flushes close a batch, unless records read several states at once. Default:
    /// [`Self::DEFAULT_BATCH_READS`].
    pub batch_reads: usize,
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
    /// Room for 200 batches of a host, and 6000 futures of 500 bytes.
    pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 12 << 20;
    /// Of `max_in_flight`, those that wait behind one key count as one part in so many at most, and so many of them have
    /// begun their preludes. More would have a hot key's futures fill the limit; with fewer its preludes would hide less of a
    /// service's latency: 375 of them, by default, in the time of one.
    pub const KEY_SHARE: usize = 16;

    /// Of the records that wait behind one key so many count at most.
    pub(crate) fn max_counted_of_key(&self) -> usize {
        self.max_in_flight.div_ceil(Self::KEY_SHARE)
    }

    /// Refuses settings with which no record could run.
    ///
    /// # Errors
    /// `Invalid` if one of them is zero, or too large for what it counts.
    pub fn validate(&self) -> Result<()> {
        let fields = [
            ("max_in_flight", self.max_in_flight),
            ("batch_reads", self.batch_reads),
            ("max_in_flight_bytes", self.max_in_flight_bytes),
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
            max_in_flight_bytes: Self::DEFAULT_MAX_IN_FLIGHT_BYTES,
            batch_reads: Self::DEFAULT_BATCH_READS,
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
