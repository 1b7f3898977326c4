//! The operator: reads, changes and writes a value, or touches no state.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use alluvium_host::Operator;
use alluvium_state_api::{Context, KeyedProcess, States, ValueState};

use crate::script::{Phase, Script};

/// See the module.
pub(crate) struct Update {
    values: ValueState<Vec<u8>>,
    script: Arc<Script>,
    touches_state: bool,
}

impl Update {
    pub(crate) fn open(
        states: &States<'_>,
        script: Arc<Script>,
        touches_state: bool,
    ) -> Result<Operator<Self>> {
        Ok(Operator::new(Self { values: states.value("values")?, script, touches_state }))
    }
}

impl KeyedProcess for Update {
    type In = ();
    type Out = ();

    async fn process(&self, (): (), context: &Context<()>) -> Result<()> {
        if !self.touches_state {
            return Ok(());
        }
        let (key, values) = (context.key::<u64>()?, self.script.values);
        if self.script.phase() == Phase::Load {
            return self.values.put(context, &values.first(key));
        }
        let Some(mut value) = self.values.get(context).await? else {
            return Err(Error::corruption(format!("the store answered wrongly: key {key} has no value")));
        };
        values.advance(key, &mut value)?;
        self.values.put(context, &value)
    }
}
