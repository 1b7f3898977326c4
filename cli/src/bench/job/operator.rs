//! The operator: puts, reads and changes values, and compares every one it reads with what it was made of.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_env::{Error, Result};
use alluvium_host::Operator;
use alluvium_state_api::{Context, KeyedProcess, States, ValueState};

use super::script::Script;
use crate::bench::workload::{Action, Command};

/// See the module.
pub(super) struct Update {
    /// A key has its value in one of them.
    values: Vec<ValueState<Vec<u8>>>,
    script: Arc<Script>,
}

impl Update {
    pub(super) fn open(states: &States<'_>, script: Arc<Script>) -> Result<Operator<Self>> {
        let values = (0..script.states)
            .map(|number| states.value(&format!("values{number}")))
            .collect::<Result<_>>()?;
        Ok(Operator::new(Self { values, script }))
    }

    fn state(&self, index: u64) -> Result<&ValueState<Vec<u8>>> {
        let state = self.values.get((index % self.values.len() as u64) as usize);
        state.ok_or_else(|| Error::internal("a job of no states has no values"))
    }

    /// A value, and how often it was changed.
    async fn checked(&self, index: u64, key: &Context<()>) -> Result<(Vec<u8>, u64)> {
        let Some(value) = self.state(index)?.get(key).await? else {
            return Err(Error::corruption(format!("the store answered wrongly: key {index} has no value")));
        };
        let version = self.script.values.version(index, &value)?;
        self.script.values.check(index, version, &value)?;
        Ok((value, version))
    }
}

impl KeyedProcess for Update {
    type In = Command;
    type Out = ();

    async fn process(&self, Command { action, index }: Command, key: &Context<()>) -> Result<()> {
        let script = &self.script;
        match action {
            Action::Load => {
                let mut value = Vec::new();
                script.values.write(index, 0, &mut value);
                self.state(index)?.put(key, &value)?;
                script.done(&script.loaded);
            }
            Action::Get => {
                let (_, version) = self.checked(index, key).await?;
                script.versions.fetch_add(version, Ordering::Relaxed);
                script.done(&script.read_back);
            }
            Action::Rmw => {
                let (mut value, _) = self.checked(index, key).await?;
                script.values.advance(index, &mut value)?;
                self.state(index)?.put(key, &value)?;
                script.done(&script.updated);
            }
            _ => return Err(Error::internal("this job loads, reads and updates only")),
        }
        Ok(())
    }
}
