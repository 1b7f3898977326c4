//! The lifetimes of all states of a subtask, by state id: what the backend inside asks, on any thread.
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::TtlTime;
use super::lifetime::{Left, Lifetime};
use crate::{StateDescriptor, StateId, state_key};

/// What time has done to stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// The state has no TTL, or is not registered.
    Lasting,
    /// Something of it lives on.
    Alive {
        /// The state.
        state: StateId,
        /// Of an accumulator, the first add of its chain; else `updated_millis`.
        since_millis: u64,
        /// The latest update.
        updated_millis: u64,
    },
    /// Nothing of it lives.
    Expired {
        /// Whether older bytes of the key must stay hidden; if not, they have expired as well and nobody sees them.
        hides_older: bool,
    },
}

/// See the module. Cheap to share: a change makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    time: Arc<TtlTime>,
    states: Vec<Option<Lifetime>>,
    /// For each state of a restored checkpoint, registered or not.
    floors_millis: Vec<u64>,
    longest_millis: u64,
}

impl Lifetimes {
    /// No states yet.
    pub fn new(time: Arc<TtlTime>) -> Self {
        Self { time, ..Self::default() }
    }

    /// The subtask's time.
    pub fn time(&self) -> &TtlTime {
        &self.time
    }

    /// Whether no state has a TTL.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// Takes over a registered state.
    pub fn register(&mut self, id: StateId, descriptor: &StateDescriptor) {
        let Some(ttl) = descriptor.ttl else { return };
        let index = usize::from(id.0);
        let floor_millis = self.floors_millis.get(index).copied().unwrap_or(0);
        self.states.resize(self.states.len().max(index + 1), None);
        if let Some(state) = self.states.get_mut(index) {
            *state = Some(Lifetime::new(&descriptor.kind, ttl, floor_millis));
        }
        self.longest_millis = self.longest_millis.max(ttl.millis());
    }

    /// Takes over what [`Lifetimes::expired_before`] was when a checkpoint was made.
    pub fn restore(&mut self, id: StateId, expired_before_millis: u64) {
        let index = usize::from(id.0);
        self.floors_millis.resize(self.floors_millis.len().max(index + 1), 0);
        if let Some(floor) = self.floors_millis.get_mut(index) {
            *floor = expired_before_millis.max(*floor);
        }
    }

    /// Values of a state that were updated before this have expired; 0 for a state without TTL. Time itself is not
    /// asked: it is as of what was read or written last.
    pub fn expired_before(&self, id: StateId) -> u64 {
        let index = usize::from(id.0);
        match self.states.get(index) {
            Some(Some(state)) => state.expired_before(self.time.latest_millis()),
            _ => self.floors_millis.get(index).copied().unwrap_or(0),
        }
    }

    /// When bytes of a state that were updated last at `updated_millis` expire; `None` for a state without TTL.
    pub fn expires_at(&self, id: StateId, updated_millis: u64) -> Option<u64> {
        let state = self.states.get(usize::from(id.0))?.as_ref()?;
        Some(updated_millis.saturating_add(state.ttl().millis()))
    }

    /// Whether all bytes of a state that were updated last at `updated_millis` can be cleaned up at `now_millis`, newer
    /// adds having been made at `horizon_millis` or later; and if so, whether they hide older ones.
    pub fn age_of(&self, id: StateId, updated_millis: u64, now_millis: u64, horizon_millis: u64) -> Age {
        let Some(Some(state)) = self.states.get(usize::from(id.0)) else { return Age::Lasting };
        let before = if state.is_accumulated() {
            state.unreachable_before(now_millis.min(horizon_millis))
        } else {
            state.expired_before(now_millis)
        };
        if updated_millis < before {
            return Age::Expired { hides_older: hides_older(state) };
        }
        Age::Alive { state: id, since_millis: updated_millis, updated_millis }
    }

    /// Takes out of stored bytes what has expired at `now_millis`, newer adds having been made at `horizon_millis` or
    /// later.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not stamped as the state's are.
    pub fn clean(
        &self,
        key: &[u8],
        stored: &mut Vec<u8>,
        now_millis: u64,
        horizon_millis: u64,
    ) -> Result<Age> {
        let Some((id, state)) = self.of(key) else { return Ok(Age::Lasting) };
        let left = state.clean(stored, now_millis, horizon_millis).map_err(|e| in_state(e, id))?;
        Ok(match left {
            Left::Nothing => Age::Expired { hides_older: hides_older(state) },
            Left::Updated(chain) => {
                Age::Alive { state: id, since_millis: chain.since, updated_millis: chain.updated }
            }
        })
    }

    /// The longest duration of any state.
    pub fn longest_millis(&self) -> u64 {
        self.longest_millis
    }

    /// The lifetime of a key's state, if it has one.
    #[inline]
    pub(super) fn of(&self, key: &[u8]) -> Option<(StateId, &Lifetime)> {
        if self.states.is_empty() {
            return None;
        }
        let (_, id, _) = state_key::split(key).ok()?;
        Some((id, self.states.get(usize::from(id.0))?.as_ref()?))
    }

    /// Whether any state under a prefix can have a TTL.
    pub(super) fn reach(&self, prefix: &[u8]) -> bool {
        !self.states.is_empty() && (prefix.len() < state_key::PREFIX_BYTES || self.of(prefix).is_some())
    }
}

/// Of an expired accumulator nothing older may come back: what was added to it is not known to have expired alone. Of
/// other kinds it may, since nobody sees it, unless expired values are seen.
fn hides_older(state: &Lifetime) -> bool {
    state.is_accumulated() || state.shows_expired()
}

#[cold]
pub(super) fn in_state(error: Error, id: StateId) -> Error {
    error.context(format!("state {}", id.0))
}
