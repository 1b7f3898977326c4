//! What of a restored checkpoint is not as an operator has it now: what it gives up, and what does not fit, told all at once.
//!
//! **Invariants**: a state that differs is handed out like any, so that the operator goes on opening and the others are found
//! as well; no record ever runs on it, since [`TaskContext::opened`](super::TaskContext::opened) ends the task.
use std::cell::RefCell;

use alluvium_env::{Error, Result};

use crate::{KeyGroup, KeyGroupRange, KeyedStateBackend, StateDescriptor, StateId, TimeDomain, state_key};

/// What a state that differs is handed out as.
const NONE: StateId = StateId(u16::MAX);

/// See the module.
#[derive(Default)]
pub(crate) struct Migration {
    /// Names of keyed states that were opened as they are not, and how they differ.
    differing: RefCell<Vec<(String, String)>>,
    /// Names of keyed states that are given up, if there are any.
    given_up: RefCell<Vec<String>>,
    /// Under which entries of them may lie.
    dropped: RefCell<Vec<StateId>>,
    /// Whether nothing but this is what the operator is opened for.
    pub(super) is_rehearsal: bool,
}

impl Migration {
    pub(crate) fn is_rehearsal(&self) -> bool {
        self.is_rehearsal
    }

    /// Registers a state, which may have had another name.
    pub(crate) fn register(
        &self,
        state: &StateDescriptor,
        former: Option<&str>,
        backend: &mut dyn KeyedStateBackend,
    ) -> Result<StateId> {
        if self.given_up.borrow().contains(&state.name) {
            return Err(dropped_and_opened("state", &state.name));
        }
        if let Some(states) = backend.states() {
            if let Some(former) = former {
                states.rename(former, &state.name)?;
            }
            if let Some(difference) = states.difference(state) {
                self.differing.borrow_mut().push((state.name.clone(), difference));
                return Ok(NONE);
            }
        }
        backend.register(state)
    }

    /// Gives up a state of the checkpoint.
    pub(crate) fn drop_state(&self, name: &str, backend: &mut dyn KeyedStateBackend) {
        let dropped = backend.states().and_then(|states| states.drop_state(name));
        self.dropped.borrow_mut().extend(dropped);
        self.given_up.borrow_mut().push(name.to_owned());
    }

    /// Takes what was given up out of these key groups, by a tombstone for each.
    pub(super) fn delete_dropped(
        &self,
        key_groups: KeyGroupRange,
        backend: &mut dyn KeyedStateBackend,
    ) -> Result<()> {
        let dropped = self.dropped.take();
        let mut prefix = Vec::new();
        for group in (key_groups.start..key_groups.end).map(KeyGroup) {
            for state in &dropped {
                state_key::build(&mut prefix, group, *state, &[]);
                backend.delete_prefix(&prefix)?;
            }
        }
        Ok(())
    }

    /// How the keyed states of the checkpoint differ from those that are open.
    pub(super) fn differences(&self, backend: &mut dyn KeyedStateBackend) -> Vec<String> {
        let differing = self.differing.borrow();
        let mut differences: Vec<String> = differing.iter().map(|(_, how)| how.clone()).collect();
        let left = backend.states().into_iter().flat_map(|states| states.unregistered());
        let left = left.filter(|left| !differing.iter().any(|(name, _)| name == left));
        let (timers, mut left): (Vec<&str>, Vec<&str>) =
            left.partition(|name| TimeDomain::ALL.iter().any(|domain| domain.state_name() == *name));
        left.sort_unstable();
        differences.extend(left.iter().map(|name| format!("state {name} is not opened")));
        if !timers.is_empty() {
            differences.push(
                "its timers would never fire, as the function does not say `const USES_TIMERS: bool = true`"
                    .to_owned(),
            );
        }
        differences
    }
}

/// The next restore would drop it again, although it is another one by then.
pub(crate) fn dropped_and_opened(what: &str, name: &str) -> Error {
    Error::invalid(format!(
        "{what} {name} is dropped and opened, so that every restore would begin it anew: give the new state a name of its own"
    ))
}

/// The one error for all that differs.
pub(super) fn fits(differences: &[String]) -> Result<()> {
    let ways = match differences.len() {
        0 => return Ok(()),
        1 => String::new(),
        many => format!(" in {many} ways"),
    };
    Err(Error::invalid(format!(
        "the checkpoint does not fit the operator{ways}: {}. Open each state as it was stored, under a new name by \
         `States::formerly`, or drop it by `States::drop_state`, `States::drop_operator_state` or `States::drop_timers`",
        differences.join("; ")
    )))
}
