//! The word-count operator, twice: by reading the count, and by adding to it blindly.
use alluvium_host::Operator;
use alluvium_state_api::{Context, KeyedProcess, ReducingState, Result, States, Sum, ValueState};

/// Counts each word with one read and one write. A read of what memory does not hold suspends this word only; the
/// thread goes on with others.
pub(super) struct CountByGetPut {
    counts: ValueState<u64>,
}

impl CountByGetPut {
    pub(super) fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let counts = states.value("counts")?;
        let id = counts.id();
        Ok(Operator::new(Self { counts }).with_result(id))
    }
}

impl KeyedProcess for CountByGetPut {
    type In = ();
    type Out = ();

    async fn process(&self, (): (), word: &Context<()>) -> Result<()> {
        let count = self.counts.get(word).await?.unwrap_or(0);
        self.counts.put(word, &(count + 1))
    }
}

/// Counts each word with one add, which never reads: memtable, compaction and reads fold the ones into sums.
pub(super) struct CountByAdd {
    counts: ReducingState<Sum<u64>>,
}

impl CountByAdd {
    pub(super) fn open(states: &States<'_>) -> Result<Operator<Self>> {
        let counts = states.reducing("counts")?;
        let id = counts.id();
        Ok(Operator::new(Self { counts }).with_result(id))
    }
}

impl KeyedProcess for CountByAdd {
    type In = ();
    type Out = ();

    async fn process(&self, (): (), word: &Context<()>) -> Result<()> {
        self.counts.add(word, &1)
    }
}
