//! Opens `ForSt` for the commands: what a store may take of this machine, and how it reads from near and from far.
use std::path::PathBuf;
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result, SystemClock};
use alluvium_forst::{
    FetchSettings, ForstBackendFactory, ForstMetrics, ForstSettings, RemoteCompactionSettings,
};
use clap::ValueEnum;
use object_store::ObjectStore;
use prometheus_client::registry::Registry;

use crate::state::is_in_memory;
use crate::units::ByteSize;

/// Where compactions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompactionPlace {
    /// In this process
    Home,
    /// Offered to processes of `alluvium compactor` on the same state first; here, if there is none
    Remote,
}

impl CompactionPlace {
    /// Whether a state URL allows it.
    ///
    /// # Errors
    /// `Invalid`, naming both options.
    pub(crate) fn check(self, state: Option<&str>) -> Result<()> {
        if self == Self::Remote && state.is_some_and(is_in_memory) {
            return Err(Error::invalid(
                "--compaction remote contradicts --state memory:///, which no other process can see; use a file:// or \
                 s3:// state",
            ));
        }
        Ok(())
    }
}

/// What one process gives to its stores.
pub(crate) struct Local {
    /// Memory of each store.
    pub(crate) memory: ByteSize,
    pub(crate) cache_dir: Option<PathBuf>,
    /// Disk for all stores together.
    pub(crate) cache_size: ByteSize,
    /// Where compactions run.
    pub(crate) compaction: CompactionPlace,
    /// When a slow read is asked a second time.
    pub(crate) hedge_factor: Option<f64>,
    /// What the stores report to, if anybody looks.
    pub(crate) metrics: Option<Arc<ForstMetrics>>,
}

/// Metrics of stores, in a registry.
pub(crate) fn metrics(registry: &mut Registry) -> Arc<ForstMetrics> {
    let metrics = ForstMetrics::new(Arc::new(SystemClock::new()));
    metrics.register(registry);
    metrics
}

/// A factory on a store; `near` if its requests stay on this machine.
///
/// # Errors
/// `Invalid` for a cache folder that cannot be used.
pub(crate) fn open(
    local: Local,
    store: &Arc<dyn ObjectStore>,
    near: bool,
    io: &IoRuntime,
) -> Result<Arc<ForstBackendFactory>> {
    let defaults = ForstSettings::default();
    let settings = ForstSettings {
        memory_bytes: local.memory.0,
        cache_dir: local.cache_dir,
        cache_size_bytes: local.cache_size.0,
        vectored_reads: near,
        // Beside a round trip a few blocks too many cost nothing; beside a `pread` they cost more than the next one.
        coalesce_gap_bytes: if near { 0 } else { defaults.coalesce_gap_bytes },
        remote_compaction: match local.compaction {
            CompactionPlace::Home => None,
            CompactionPlace::Remote => Some(RemoteCompactionSettings::default()),
        },
        fetch: FetchSettings { hedge_factor: local.hedge_factor, ..defaults.fetch },
        ..defaults
    };
    let factory = ForstBackendFactory::new(settings, Arc::clone(store), io.clone())?;
    Ok(Arc::new(match local.metrics {
        Some(metrics) => factory.with_metrics(metrics),
        None => factory,
    }))
}
