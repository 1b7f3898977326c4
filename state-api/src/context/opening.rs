//! The opening of an operator in its task: where its states come from, and what of a checkpoint must not be overlooked.
use alluvium_env::{Error, Result};

use super::TaskContext;
use crate::timers::TimerQueue;
use crate::{KeyGroup, KeyGroupRange, KeyedProcess, OperatorStatePart, States, TimeDomain, state_key};

impl<Out> TaskContext<Out> {
    /// Takes over the operator states that a checkpoint hands out to the subtask.
    #[must_use]
    pub fn with_operator_states(self, parts: Vec<OperatorStatePart>) -> Self {
        self.apart.operator_states.restore(parts);
        self
    }

    /// The subtask's operator states may take so many bytes, instead of [`OperatorStates::MAX_BYTES`](crate::OperatorStates::MAX_BYTES).
    #[must_use]
    pub fn with_operator_state_limit(self, max_bytes: usize) -> Self {
        self.apart.operator_states.limit(max_bytes);
        self
    }

    /// What the subtask's operator states add to a checkpoint.
    pub fn snapshot_operator_states(&self) -> Vec<OperatorStatePart> {
        self.apart.operator_states.snapshot()
    }

    /// Where an operator registers its states.
    pub fn states(&self) -> States<'_> {
        States::new(&self.backend, &self.apart.operator_states, &self.apart.drops_timers)
    }

    /// To be called when a function has opened its states: opens its timers, if it uses any, and looks whether anything of
    /// the checkpoint would be overlooked.
    ///
    /// # Errors
    /// `Invalid` if the checkpoint has timers and the function uses none, or operator states that it has not opened; and as
    /// [`TaskContext::open_timers`].
    pub fn opened<P: KeyedProcess<Out = Out>>(&self, key_groups: KeyGroupRange) -> Result<()> {
        self.apart.operator_states.all_opened()?;
        if P::USES_TIMERS {
            self.open_timers(key_groups)?;
            return if self.apart.drops_timers.get() { self.drop_timers(key_groups) } else { Ok(()) };
        }
        let stored = self.backend.borrow().stored_states();
        let had =
            TimeDomain::ALL.into_iter().any(|domain| stored.iter().any(|name| name == domain.state_name()));
        if !had {
            return Ok(());
        }
        if !self.apart.drops_timers.get() {
            return Err(Error::invalid(
                "the checkpoint is of a function with timers, and this one has none, so they would never fire: say \
                 `const USES_TIMERS: bool = true` in its `KeyedProcess`, or drop them by `States::drop_timers`",
            ));
        }
        self.open_timers(key_groups)?;
        self.drop_timers(key_groups)?;
        self.timers.borrow_mut().clear();
        Ok(())
    }

    /// Takes all timers out of state, by a tombstone a key group, before any is in memory.
    fn drop_timers(&self, key_groups: KeyGroupRange) -> Result<()> {
        let states: Vec<_> = self.timers.borrow().iter().map(TimerQueue::state).collect();
        let mut prefix = Vec::new();
        for group in (key_groups.start..key_groups.end).map(KeyGroup) {
            for state in &states {
                prefix.clear();
                state_key::append(&mut prefix, group, *state, &[]);
                self.backend.borrow_mut().delete_prefix(&prefix)?;
            }
        }
        Ok(())
    }
}
