//! The other root that a word count is begun from, kept open while the job runs.
use std::sync::Arc;

use alluvium_checkpoint::{Origin, RestoreMode};
use alluvium_env::{IoRuntime, Result};
use alluvium_host::storage::{Storage, transfer};
use alluvium_state_api::CheckpointId;

use crate::args::{RestoreFrom, WordcountArgs};
use crate::state;

/// A root that a job is begun from; in claim mode its folder is locked.
pub(super) struct Begun {
    storage: Storage,
    checkpoint: Option<CheckpointId>,
}

impl Begun {
    /// Opens what `--restore` names, if that is another root.
    ///
    /// # Errors
    /// `Invalid` if it cannot be used or is not there; `Unavailable` if it does not answer.
    pub(super) fn open(args: &WordcountArgs, io: &IoRuntime) -> Result<Option<Self>> {
        let RestoreFrom::Elsewhere(location, id) = &args.restore else { return Ok(None) };
        let url = state::locate(location)?;
        // Only looked at first: what is not there is not made.
        let looked = state::open_read_only(&url, io)?;
        let storage = match mode(args) {
            RestoreMode::NoClaim => looked,
            RestoreMode::Claim => state::open(Some(&url), "", io)?,
        };
        Ok(Some(Self { storage, checkpoint: id.map(CheckpointId) }))
    }

    /// As the job takes it.
    pub(super) fn origin(&self, args: &WordcountArgs, own: &Storage) -> Arc<Origin> {
        let transfer = transfer(&self.storage, own);
        Arc::new(Origin::new(transfer, self.storage.url(), self.checkpoint, mode(args)))
    }
}

fn mode(args: &WordcountArgs) -> RestoreMode {
    args.restore_mode.map_or(RestoreMode::default(), RestoreMode::from)
}
