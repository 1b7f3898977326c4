//! States as a compactor has to know them: what their operators are called, and how long their values live.
//!
//! A store describes its states; another process, which knows functions by their names, does with entries what the store
//! would have done.
use std::sync::Arc;
use std::time::Duration;

use alluvium_state_api::{
    Error, Lifetimes, OperatorRegistry, Result, StateDescriptor, StateId, StateKind, StateTtl, TtlTime,
    TtlUpdate, TtlVisibility,
};
use bytes::Bytes;

use super::keyed::ByState;
use crate::merge::{DescribedOperators, MergeOperators};

/// All states that are registered (`docs/formats/compaction.md`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatesDescription {
    #[prost(message, repeated, tag = "1")]
    pub(super) states: Vec<StateDescription>,
    /// Time is at least this.
    #[prost(uint64, tag = "2")]
    pub(super) time_millis: u64,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct StateDescription {
    #[prost(uint32, tag = "1")]
    id: u32,
    #[prost(string, tag = "2")]
    kind: String,
    /// Of a reducing or an aggregating state.
    #[prost(string, optional, tag = "3")]
    operator: Option<String>,
    #[prost(message, optional, tag = "4")]
    ttl: Option<TtlDescription>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct TtlDescription {
    #[prost(uint64, tag = "1")]
    duration_millis: u64,
    #[prost(bool, tag = "2")]
    renewed_by_reads: bool,
    #[prost(bool, tag = "3")]
    shows_expired: bool,
    /// What was updated before had expired.
    #[prost(uint64, tag = "4")]
    expired_before_millis: u64,
}

impl StateDescription {
    /// Describes a state; `None` if its operator has no name.
    pub(super) fn of(id: StateId, state: &StateDescriptor) -> Option<Self> {
        let operator = match &state.kind {
            StateKind::Reducing(operator) | StateKind::Aggregating(operator) => {
                Some(operator.name()?.to_owned())
            }
            _ => None,
        };
        let ttl = state.ttl.map(|ttl| TtlDescription {
            duration_millis: u64::try_from(ttl.duration.as_millis()).unwrap_or(u64::MAX),
            renewed_by_reads: ttl.update == TtlUpdate::OnReadAndWrite,
            shows_expired: ttl.visibility == TtlVisibility::ReturnExpiredIfNotCleanedUp,
            expired_before_millis: 0,
        });
        Some(Self { id: u32::from(id.0), kind: state.kind.name().to_owned(), operator, ttl })
    }

    /// The same as of now: what has expired stays so.
    pub(super) fn expired_before(&self, lifetimes: &Lifetimes) -> Self {
        let mut state = self.clone();
        if let Some(ttl) = &mut state.ttl {
            ttl.expired_before_millis = lifetimes.expired_before(StateId(self.id as u16));
        }
        state
    }

    fn open(&self, registry: &OperatorRegistry) -> Result<(StateId, StateDescriptor)> {
        let operator = || {
            let name = self.operator.as_deref().unwrap_or_default();
            registry.get(name).cloned().ok_or_else(|| {
                Error::invalid(format!(
                    "a job's state folds with {name:?}, which this compactor does not know: use the one that was built \
                     with the job's functions"
                ))
            })
        };
        let kind = match self.kind.as_str() {
            "value" => StateKind::Value,
            "list" => StateKind::List,
            "map" => StateKind::Map,
            "reducing" => StateKind::Reducing(operator()?),
            "aggregating" => StateKind::Aggregating(operator()?),
            other => {
                return Err(Error::invalid(format!(
                    "a job has a state of kind {other:?}, which this compactor does not know: run compactors of the job's \
                     build"
                )));
            }
        };
        let id = u16::try_from(self.id).map(StateId);
        let id = id.map_err(|_| Error::corruption(format!("a job has a state with id {}", self.id)))?;
        let state = StateDescriptor::new(String::new(), kind);
        Ok((
            id,
            match self.ttl {
                None => state,
                Some(ttl) => state.with_ttl(ttl.open()),
            },
        ))
    }
}

impl TtlDescription {
    fn open(self) -> StateTtl {
        let (update, visibility) = (
            if self.renewed_by_reads { TtlUpdate::OnReadAndWrite } else { TtlUpdate::OnCreateAndWrite },
            if self.shows_expired {
                TtlVisibility::ReturnExpiredIfNotCleanedUp
            } else {
                TtlVisibility::NeverReturnExpired
            },
        );
        let duration = Duration::from_millis(self.duration_millis);
        StateTtl::new(duration).with_update(update).with_visibility(visibility)
    }
}

impl StatesDescription {
    pub(super) fn encode(&self) -> Bytes {
        prost::Message::encode_to_vec(self).into()
    }
}

/// For a compactor: the operators of typed states, by the names that a registry has.
///
/// ```
/// use std::sync::Arc;
/// use alluvium_env::{Entropy, IoRuntime, SystemClock};
/// use alluvium_forst::{Compactor, CompactorOptions, CompactorSettings, StateOperators, Turn};
/// use alluvium_state_api::OperatorRegistry;
/// use object_store::memory::InMemory;
///
/// let compactor = Compactor::new(CompactorOptions {
///     store: Arc::new(InMemory::new()),
///     io: IoRuntime::new(2)?,
///     settings: CompactorSettings::default(),
///     // With functions of your own: `OperatorRegistry::default().with::<Mine>()`.
///     operators: Arc::new(StateOperators::new(OperatorRegistry::default())),
///     clock: Arc::new(SystemClock::new()),
///     entropy: Entropy::from_os(),
/// })?;
/// assert!(matches!(compactor.turn()?, Turn::Idle), "nobody has offered anything");
/// # Ok::<(), alluvium_env::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct StateOperators {
    registry: OperatorRegistry,
}

impl StateOperators {
    /// Those of this registry.
    pub fn new(registry: OperatorRegistry) -> Self {
        Self { registry }
    }
}

impl DescribedOperators for StateOperators {
    fn operators(&self, description: &[u8]) -> Result<Arc<dyn MergeOperators>> {
        let described: StatesDescription = prost::Message::decode(description).map_err(|e| {
            Error::corruption("a job's states are not the message they should be").with_source(e)
        })?;
        let lifetimes = Lifetimes::new(Arc::new(TtlTime::default()));
        lifetimes.time().never_before(described.time_millis);
        let mut by_state = ByState::described(lifetimes);
        for state in &described.states {
            let (id, descriptor) = state.open(&self.registry)?;
            by_state.register(id, &descriptor, state.ttl.map_or(0, |ttl| ttl.expired_before_millis));
        }
        Ok(Arc::new(by_state))
    }
}
