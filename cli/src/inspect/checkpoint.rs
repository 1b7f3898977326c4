//! A checkpoint that is looked into, beside the job that may drop it meanwhile.
use std::sync::Arc;

use alluvium_checkpoint::{CheckpointMetadata, RetainedCheckpoints};
use alluvium_env::{Error, ErrorKind, IoRuntime, Result};
use alluvium_host::storage::Storage;
use alluvium_state_api::{CheckpointId, KeyGroupRange, MergeOperator};

use super::operator_states;
use super::part::Part;
use super::state_args::CheckpointArgs;
use crate::args::DEFAULT_STATE;
use crate::state;

/// How often a latest checkpoint that was dropped is replaced by the one that is the latest then.
const ATTEMPTS: usize = 5;

/// A checkpoint of a state URL.
pub(super) struct Checkpoint {
    storage: Storage,
    io: IoRuntime,
    pub(super) metadata: CheckpointMetadata,
    /// The numbers of all that were retained when it was chosen.
    pub(super) retained: Vec<CheckpointId>,
}

/// Has `read` read the checkpoint that was asked for; again, if that was the latest and its job drops it meanwhile.
///
/// # Errors
/// `Invalid` if there is no such checkpoint, or what `read` fails with.
pub(super) fn read<T>(
    args: &CheckpointArgs,
    io: &IoRuntime,
    mut read: impl FnMut(&Checkpoint) -> Result<T>,
) -> Result<T> {
    let mut attempt = 1;
    loop {
        let checkpoint = Checkpoint::choose(args, io)?;
        match read(&checkpoint) {
            Err(error) if error.kind() == ErrorKind::Corruption && checkpoint.is_dropped() => {
                if args.id.is_some() || attempt == ATTEMPTS {
                    return Err(checkpoint.dropped());
                }
            }
            answer => return answer,
        }
        attempt += 1;
    }
}

impl Checkpoint {
    /// The checkpoint that was asked for.
    ///
    /// # Errors
    /// `Invalid` if there is none, or the URL cannot be used.
    pub(super) fn choose(args: &CheckpointArgs, io: &IoRuntime) -> Result<Self> {
        let location = args.checkpoint.as_deref().unwrap_or(DEFAULT_STATE);
        let storage = state::open_read_only(&state::locate(location)?, io)?;
        let all = RetainedCheckpoints::read(Arc::clone(&storage.store), io)?;
        let metadata = match args.id {
            Some(id) => all.checkpoint(CheckpointId(id))?,
            None => all.latest().ok_or_else(|| {
                Error::invalid(format!("there is no checkpoint in {location}; give a job's state URL"))
            })?,
        };
        let (metadata, retained) = (metadata.clone(), all.all().iter().map(|one| one.id).collect());
        Ok(Self { storage, io: io.clone(), metadata, retained })
    }

    /// Opens what the checkpoint holds of some key groups, one former subtask after the other, in order.
    ///
    /// # Errors
    /// `Invalid` if no backend of this build wrote it, `Corruption` or `Unavailable` from the store.
    pub(super) fn readers(
        &self,
        key_groups: KeyGroupRange,
        fold: &Arc<dyn MergeOperator>,
    ) -> impl Iterator<Item = Result<Part>> {
        let mut parts = self.metadata.restore_for(key_groups).parts;
        parts.sort_by_key(|part| part.key_groups.start);
        parts
            .into_iter()
            .map(move |part| Part::open(part, Arc::clone(&self.storage.store), self.io.clone(), fold))
    }

    /// Every key group there is.
    pub(super) fn key_groups(&self) -> KeyGroupRange {
        KeyGroupRange { start: 0, end: self.metadata.max_parallelism }
    }

    /// The URL for messages.
    pub(super) fn url(&self) -> &str {
        self.storage.url()
    }

    /// Says of a state that no subtask knows which there are.
    pub(super) fn no_state(&self, state: &str, known: &[String]) -> Error {
        let (id, url) = (self.metadata.id, self.url());
        let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let operator = operator_states::all(&self.metadata).iter().any(|known| known.name == state);
        let way = if operator { "; it is an operator state: add --operator" } else { "" };
        Error::invalid(format!("checkpoint {id} in {url} has no state {state:?}: there are {there}{way}"))
    }

    /// Whether it is no longer retained: what only it needs may be gone.
    fn is_dropped(&self) -> bool {
        let now = RetainedCheckpoints::read(Arc::clone(&self.storage.store), &self.io);
        now.is_ok_and(|now| now.checkpoint(self.metadata.id).is_err())
    }

    /// Says so in place of what was missing.
    pub(super) fn dropped(&self) -> Error {
        let id = self.metadata.id;
        Error::unavailable(format!(
            "checkpoint {id} was dropped by its job while it was being read; ask for the latest, or stop the job first"
        ))
    }

    /// What an error means if the checkpoint is no longer there.
    pub(super) fn explain(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Corruption && self.is_dropped() { self.dropped() } else { error }
    }
}
