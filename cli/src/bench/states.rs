//! The states of the benchmark's operator: one of each kind, of which a case uses some.
use std::rc::Rc;

use alluvium_env::Result;
use alluvium_state_api::{ReducingState, StateDescriptor, StateId, StateKind, Sum, TaskContext, ValueState};

use super::workload::Action;

/// See the module.
#[derive(Clone)]
pub(super) struct BenchStates {
    pub(super) values: Rc<ValueState<Vec<u8>>>,
    pub(super) sums: Rc<ReducingState<Sum<u64>>>,
    lists: StateId,
    maps: StateId,
}

impl BenchStates {
    /// Registers all of them.
    ///
    /// # Errors
    /// What the backend says.
    pub(super) fn open(task: &TaskContext<()>) -> Result<Self> {
        let states = task.states();
        let other = |name: &str, kind| {
            task.with_backend(|backend| backend.register(&StateDescriptor::new(name, kind)))
        };
        Ok(Self {
            values: Rc::new(states.value("values")?),
            sums: Rc::new(states.reducing("sums")?),
            lists: other("lists", StateKind::List)?,
            maps: other("maps", StateKind::Map)?,
        })
    }

    /// The state that an action is about.
    #[inline]
    pub(super) fn id(&self, action: Action) -> StateId {
        match action {
            Action::Load | Action::Get | Action::GetAbsent | Action::Rmw => self.values.id(),
            Action::Add => self.sums.id(),
            Action::Append => self.lists,
            Action::LoadMap | Action::MapScan => self.maps,
        }
    }
}
