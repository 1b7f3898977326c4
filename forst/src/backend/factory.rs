//! Opens one store a subtask, all on one I/O runtime, one background pool and one disk tier; what they upload for a checkpoint
//! travels together.
use std::sync::Arc;

use alluvium_env::{Background, IoRuntime, cores};
use alluvium_state_api::{
    BackendFactory, CANONICAL, Error, FileOwnership, KeyedStateBackend, Lifetimes, OpenRequest, RestoredPart,
    Result, StateTable, StoredStates, TtlBackend, TtlTime,
};
use object_store::ObjectStore;

use super::keyed::{ForstBackend, Payload};
use crate::fetch::{DiskCache, DiskLimits};
use crate::merge::NoMerges;
use crate::metrics::ForstMetrics;
use crate::settings::ForstSettings;
use crate::store::{Packer, Restored, Store, StoreOptions};
use crate::table::Ownership;

/// The backend's name in checkpoints.
pub(super) const NAME: &str = "forst";

/// Opens `ForSt` backends.
pub struct ForstBackendFactory {
    settings: ForstSettings,
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    background: Arc<Background>,
    disk: Option<Arc<DiskCache>>,
    metrics: Option<Arc<ForstMetrics>>,
    packer: Arc<Packer>,
}

impl ForstBackendFactory {
    /// A factory on a store; `settings` are of each backend it opens, but the disk tier is shared by all.
    ///
    /// # Errors
    /// `Invalid` for contradicting settings or a cache folder that cannot be used.
    pub fn new(settings: ForstSettings, store: Arc<dyn ObjectStore>, io: IoRuntime) -> Result<Self> {
        settings.validate()?;
        let limits = DiskLimits {
            size_bytes: settings.cache_size_bytes,
            min_free_bytes: settings.cache_min_free_bytes,
        };
        let open = |folder| DiskCache::open(folder, limits);
        let disk = settings.cache_dir.as_deref().map(open).transpose()?;
        let background = Arc::new(Background::new(cores())?);
        Ok(Self { settings, store, io, background, disk, metrics: None, packer: Packer::new() })
    }

    /// Has the stores it opens report to these metrics.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<ForstMetrics>) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// Has what its stores upload for a checkpoint travel with what other factories' do.
    #[must_use]
    pub fn with_packer(self, packer: Arc<Packer>) -> Self {
        Self { packer, ..self }
    }

    /// The disk tier, if there is one: to tell a person what troubles it.
    pub fn disk_cache(&self) -> Option<&Arc<DiskCache>> {
        self.disk.as_ref()
    }
}

/// The protocol's ownership, as the engine calls it.
struct Adapted(Arc<dyn FileOwnership>);

impl Ownership for Adapted {
    fn hold(&self, name: &str) {
        self.0.hold(name);
    }

    fn release(&self, name: &str) {
        self.0.release(name);
    }
}

/// A part as the engine takes it: its manifest, and its key groups as a range of keys.
fn restored(part: &RestoredPart, states: &mut StateTable, lifetimes: &mut Lifetimes) -> Result<Restored> {
    let payload = payload(part)?;
    for state in &payload.states {
        let id = state.restore(states)?;
        lifetimes.restore(id, state.expired_before_millis);
    }
    lifetimes.time().never_before(payload.time_millis);
    Ok(clipped(part, payload))
}

/// What is stored of a part.
pub(super) fn payload(part: &RestoredPart) -> Result<Payload> {
    if part.backend != NAME {
        let other = &part.backend;
        return Err(Error::invalid(format!(
            "the checkpoint was written by the {other} backend, not by {NAME}"
        )));
    }
    prost::Message::decode(part.payload.clone())
        .map_err(|e| Error::corruption("a subtask's payload is not the message it should be").with_source(e))
}

/// A part's manifest, with its key groups as a range of keys.
pub(super) fn clipped(part: &RestoredPart, payload: Payload) -> Restored {
    let end =
        if part.key_groups.end == u16::MAX { Vec::new() } else { part.key_groups.end.to_be_bytes().to_vec() };
    Restored { manifest: payload.manifest, start: part.key_groups.start.to_be_bytes().to_vec(), end }
}

/// The parts that are this backend's, as the engine takes them, and the states of all.
fn taken_over(
    parts: &[RestoredPart],
    states: &mut StateTable,
    lifetimes: &mut Lifetimes,
) -> Result<Vec<Restored>> {
    let mut own = Vec::new();
    for part in parts {
        if part.backend == CANONICAL {
            // Its entries come once the states are registered.
            StoredStates::decode_canonical(&part.payload)?.0.restore(states, lifetimes)?;
        } else {
            own.push(restored(part, states, lifetimes)?);
        }
    }
    Ok(own)
}

impl BackendFactory for ForstBackendFactory {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        let mut states = StateTable::default();
        let mut lifetimes = Lifetimes::new(Arc::new(TtlTime::new(Arc::clone(&request.clock))));
        let parts = taken_over(&request.restored, &mut states, &mut lifetimes)?;
        let mut store = Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.store),
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: self.disk.clone(),
            operators: Arc::new(NoMerges),
            ownership: Arc::new(Adapted(request.files)),
            notify: request.notify,
            prefix: format!("state/{:08}/{:04}", request.incarnation, request.subtask),
            restored: parts,
        })?;
        store.pack_with(&self.packer);
        store.use_clock(request.clock);
        if let Some(metrics) = &self.metrics {
            store.report_to(metrics);
        }
        let backend = ForstBackend::new(store, request.key_groups, states, lifetimes);
        Ok(Box::new(TtlBackend::new(backend)))
    }

    fn stored_states(&self, parts: &[RestoredPart]) -> Result<Option<StateTable>> {
        let mut states = StateTable::default();
        taken_over(parts, &mut states, &mut Lifetimes::default())?;
        Ok(Some(states))
    }
}
