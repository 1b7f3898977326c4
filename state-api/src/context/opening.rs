//! The opening of an operator in its task: where its states come from, and what of a checkpoint must not be overlooked.
use alluvium_env::Result;

use super::migration::fits;
use super::{Apart, TaskContext};
use crate::{KeyGroupRange, KeyedProcess, OperatorStatePart, States};

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

    /// The operator is opened to see whether the checkpoint fits, and dropped: [`States::is_rehearsal`].
    #[must_use]
    pub fn rehearsing(mut self) -> Self {
        self.apart.migration.is_rehearsal = true;
        self
    }

    /// What the subtask's operator states add to a checkpoint.
    pub fn snapshot_operator_states(&self) -> Vec<OperatorStatePart> {
        self.apart.operator_states.snapshot()
    }

    /// Where an operator registers its states.
    pub fn states(&self) -> States<'_> {
        States::new(&self.backend, &self.apart.operator_states, &self.apart.migration)
    }

    /// To be called when a function has opened its states: opens its timers, if it uses any, looks whether the checkpoint
    /// fits, and deletes what of it was dropped. Entries of a canonical savepoint are imported afterwards.
    ///
    /// # Errors
    /// `Invalid` names all that differs: states of the checkpoint that the function opens as something else or by a codec that
    /// does not read them, states that it does not open, and timers that would never fire; and as
    /// [`TaskContext::open_timers`].
    pub fn opened<P: KeyedProcess<Out = Out>>(&self, key_groups: KeyGroupRange) -> Result<()> {
        if P::USES_TIMERS {
            self.open_timers(key_groups)?;
        }
        let Apart { migration, operator_states, .. } = &*self.apart;
        let mut backend = self.backend.borrow_mut();
        let mut differences = migration.differences(backend.as_mut());
        differences.extend(operator_states.differences());
        fits(&differences)?;
        migration.delete_dropped(key_groups, backend.as_mut())
    }
}
