//! Settings of both sides of a compaction that is done elsewhere.
use std::time::Duration;

use alluvium_env::{Error, Result};

use crate::settings::FetchSettings;

/// When a store has its compactions done by others, and how long it waits for them.
#[derive(Clone, Debug)]
pub struct RemoteCompactionSettings {
    /// Compactions of at least so many bytes of tables and values go out. Smaller ones cost more in requests than they
    /// spare; with less, more of them wait for a compactor's look at the store.
    pub min_input_bytes: u64,
    /// How long a job is offered. Longer than compactors sleep, or they miss it; all of it is lost where there is none.
    pub claim_patience: Duration,
    /// How long no job is offered after one that nobody took. Less finds a new compactor sooner, and waits for none more
    /// often.
    pub back_off: Duration,
    /// How long a compactor may give no sign of life, by the store's own clock, before its job is taken back. Several times
    /// [`CompactorSettings::beat`]. With less, a slow request looks like a death; with more, a death costs more time.
    pub lease: Duration,
}

impl Default for RemoteCompactionSettings {
    fn default() -> Self {
        Self {
            min_input_bytes: 8 << 20,
            claim_patience: Duration::from_secs(3),
            back_off: Duration::from_secs(30),
            lease: Duration::from_secs(15),
        }
    }
}

impl RemoteCompactionSettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// `Invalid`, naming what cannot be.
    pub fn validate(&self) -> Result<()> {
        if self.claim_patience.is_zero() || self.lease.is_zero() {
            return Err(Error::invalid(
                "remote_compaction.claim_patience and remote_compaction.lease must be more than nothing: every job would \
                 be taken back at once",
            ));
        }
        Ok(())
    }
}

/// What a compactor takes and does.
#[derive(Clone, Debug)]
pub struct CompactorSettings {
    /// Memory for one job: tables being written, read-ahead, filters and indexes of what it reads. A job's size does not
    /// matter, but that of its tables does: one of which four do not fit is left to others.
    pub memory_bytes: u64,
    /// How often it gives a sign of life while it has a job, and looks whether the job is still wanted. More often costs
    /// requests, less often wastes more work on jobs that are not.
    pub beat: Duration,
    /// Two blocks this close are fetched in one request; as [`crate::ForstSettings::coalesce_gap_bytes`].
    pub coalesce_gap_bytes: u64,
    /// As [`crate::ForstSettings::vectored_reads`].
    pub vectored_reads: bool,
    /// How patiently the object store is asked.
    pub fetch: FetchSettings,
}

impl CompactorSettings {
    /// Below this no job fits.
    pub const MIN_MEMORY_BYTES: u64 = 1 << 20;

    /// Checks the settings.
    ///
    /// # Errors
    /// `Invalid`, naming what cannot be.
    pub fn validate(&self) -> Result<()> {
        if self.memory_bytes < Self::MIN_MEMORY_BYTES || self.beat.is_zero() {
            let least = Self::MIN_MEMORY_BYTES;
            return Err(Error::invalid(format!(
                "a compactor needs at least {least} bytes of memory_bytes and a beat that is more than nothing"
            )));
        }
        self.fetch.validate()
    }
}

impl Default for CompactorSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            beat: Duration::from_secs(3),
            coalesce_gap_bytes: 16 << 10,
            vectored_reads: false,
            fetch: FetchSettings::default(),
        }
    }
}
