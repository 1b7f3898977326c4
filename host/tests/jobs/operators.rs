//! The counting operators of the tests.
use alluvium_env::{Error, Result};
use alluvium_host::Operator;
use alluvium_state_api::{Context, KeyedProcess, ReducingState, States, Sum, ValueState};

/// Adds blindly, never reads.
pub(crate) struct Add(ReducingState<Sum<u64>>);

impl Add {
    pub(crate) fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let count = states.reducing("count")?;
        let id = count.id();
        Ok(Operator::new(Self(count)).with_result(id))
    }
}

impl KeyedProcess for Add {
    type In = u64;
    type Out = ();
    async fn process(&self, times: u64, ctx: &Context<()>) -> Result<()> {
        self.0.add(ctx, &times)
    }
}

/// Counts twice, each time by get and put: a record that ran by half, or twice, makes the two differ. Emits the count.
pub(crate) struct TwoSteps {
    first: ValueState<u64>,
    second: ValueState<u64>,
}

impl TwoSteps {
    pub(crate) fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let two = Self { first: states.value("first")?, second: states.value("second")? };
        let id = two.second.id();
        Ok(Operator::new(two).with_result(id))
    }
}

impl KeyedProcess for TwoSteps {
    type In = u64;
    type Out = u64;
    async fn process(&self, times: u64, ctx: &Context<u64>) -> Result<()> {
        let first = self.first.get(ctx).await?.unwrap_or(0) + times;
        self.first.put(ctx, &first)?;
        let second = self.second.get(ctx).await?.unwrap_or(0) + times;
        if first != second {
            let word = ctx.key::<str>()?;
            return Err(Error::internal(format!("{word} was counted {first} and {second} times")));
        }
        self.second.put(ctx, &second)?;
        ctx.emit(second);
        Ok(())
    }
}
