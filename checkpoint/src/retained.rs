//! The checkpoints that a ledger retains, for whoever only looks.
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_state_api::CheckpointId;
use object_store::ObjectStore;

use crate::ledger::Ledger;
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;

/// The checkpoints of a state URL at the moment they were read. The job that owns them goes on: it may add some, drop
/// some, and delete what only those need.
#[derive(Clone, Debug)]
pub struct RetainedCheckpoints {
    /// Oldest first.
    checkpoints: Vec<CheckpointMetadata>,
}

impl RetainedCheckpoints {
    /// Reads the ledger below the root of `store`; writes and claims nothing. Blocks; not for the I/O runtime's own
    /// threads.
    ///
    /// # Errors
    /// `Corruption` names the ledger object that is damaged; `Invalid` if a newer Alluvium wrote it, or bucket or keys
    /// are wrong; `Unavailable` if the store does not answer.
    pub fn read(store: Arc<dyn ObjectStore>, io: &IoRuntime) -> Result<Self> {
        io.block_on(Self::look(store))
    }

    /// [`RetainedCheckpoints::read`] for who must not block.
    ///
    /// # Errors
    /// The same.
    pub async fn look(store: Arc<dyn ObjectStore>) -> Result<Self> {
        Ok(Self { checkpoints: Ledger::new(Objects::new(store)).look().await? })
    }

    /// All of them, oldest first.
    pub fn all(&self) -> &[CheckpointMetadata] {
        &self.checkpoints
    }

    /// The newest.
    pub fn latest(&self) -> Option<&CheckpointMetadata> {
        self.checkpoints.last()
    }

    /// A checkpoint by number.
    ///
    /// # Errors
    /// `Invalid` if it is not retained; says which are.
    pub fn checkpoint(&self, id: CheckpointId) -> Result<&CheckpointMetadata> {
        by_id(self.checkpoints.iter(), id)
    }
}

/// The checkpoint with a number, or which there are.
pub(crate) fn by_id<'a>(
    checkpoints: impl Iterator<Item = &'a CheckpointMetadata> + Clone,
    id: CheckpointId,
) -> Result<&'a CheckpointMetadata> {
    checkpoints.clone().find(|checkpoint| checkpoint.id == id).ok_or_else(|| {
        let ids: Vec<String> = checkpoints.map(|checkpoint| checkpoint.id.to_string()).collect();
        let there =
            if ids.is_empty() { "there is none".to_owned() } else { format!("there are {}", ids.join(", ")) };
        Error::invalid(format!("checkpoint {id} is not retained: {there}"))
    })
}
