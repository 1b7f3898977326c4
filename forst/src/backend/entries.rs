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
use super::reader::SubtaskReader;
use crate::store::ReaderScan;

/// A pass over a subtask's part of a checkpoint.
pub struct SubtaskEntries {
    scan: ReaderScan,
    states: StoredStates,
    operands: Arc<Operands>,
    values: Vec<u8>,
}

/// Keeps operands apart, oldest first, behind a mark that no value begins with but by an accident of one in 2^128.
struct Operands {
    mark: [u8; 16],
}

impl MergeOperator for Operands {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let mut all = self.mark.to_vec();
        for part in [acc.as_slice(), operand] {
            match part.strip_prefix(&self.mark) {
                Some(operands) => all.extend_from_slice(operands),
                None => push_list_element(&mut all, part),
            }
        }
        *acc = all;
        Ok(())
    }
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
        let mark = u128::from(entropy.next_u64()) << 64 | u128::from(entropy.next_u64());
        let operands = Arc::new(Operands { mark: mark.to_be_bytes() });
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
        match value.strip_prefix(&self.operands.mark) {
            Some(operands) => self.values.extend_from_slice(operands),
            None => push_list_element(&mut self.values, value),
        }
        Ok(Some(StoredEntry { key, values: &self.values }))
    }
}
