//! What a checkpoint holds of one subtask, entry by entry, for whoever knows no `ForSt`: a canonical savepoint.
//!
//! What folds the operands of a state only its job knows. Those that no flush or compaction has folded are given one by one.
use std::sync::Arc;

use alluvium_env::{Entropy, IoRuntime};
use alluvium_state_api::{
    MergeOperator, RestoredPart, Result, StateEntries, StoredEntry, StoredStates, push_list_element,
};
use object_store::ObjectStore;

use super::factory::{clipped, payload};
use super::operands::Operands;
use super::reader::SubtaskReader;
use crate::store::ReaderScan;

/// A pass over a subtask's part of a checkpoint.
pub struct SubtaskEntries {
    scan: ReaderScan,
    states: StoredStates,
    operands: Arc<Operands>,
    values: Vec<u8>,
}

impl SubtaskEntries {
    /// Starts a pass over the part's key groups.
    ///
    /// # Errors
    /// `Invalid` if another backend wrote it, `Corruption` or `Unavailable` from the store.
    pub fn open(
        part: &RestoredPart,
        store: Arc<dyn ObjectStore>,
        io: IoRuntime,
        entropy: &Entropy,
    ) -> Result<Self> {
        let payload = payload(part)?;
        let states = StoredStates {
            time_millis: payload.time_millis,
            states: payload.states.iter().map(super::keyed::StateRecord::stored).collect(),
        };
        let operands = Arc::new(Operands::new(entropy));
        let fold: Arc<dyn MergeOperator> = Arc::clone(&operands) as Arc<dyn MergeOperator>;
        let range = clipped(part, payload);
        let scan = SubtaskReader::open(part, store, io, &fold)?.scan_all(range.start, range.end)?;
        Ok(Self { scan, states, operands, values: Vec::new() })
    }
}

impl StateEntries for SubtaskEntries {
    fn states(&self) -> &StoredStates {
        &self.states
    }

    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
        let Some((key, value)) = self.scan.next_entry()? else { return Ok(None) };
        self.values.clear();
        match self.operands.of(value) {
            Some(operands) => self.values.extend_from_slice(operands),
            None => push_list_element(&mut self.values, value),
        }
        Ok(Some(StoredEntry { key, values: &self.values }))
    }
}
