//! What a state holds as whoever is about to take it over finds it: a job that does not fit is refused while nothing is written.
use alluvium_env::Result;
use alluvium_state_api::CheckpointId;

use crate::metadata::CheckpointMetadata;
use crate::retained::by_id;

/// What can be restored, before anything is taken over.
#[derive(Clone, Debug, Default)]
pub struct Prospect<'a> {
    /// With their entries' numbers, oldest first.
    pub(crate) retained: &'a [(u64, CheckpointMetadata)],
    pub(crate) origin: Option<&'a CheckpointMetadata>,
    pub(crate) begun_from: Option<String>,
}

/// Whoever takes a state over is asked by it once more before anything is written, and again each time that the state has
/// changed meanwhile: what it has seen last is what it gets. Its error ends the takeover, and nothing has changed.
pub type Check<'a> = &'a mut (dyn FnMut(&Prospect<'_>) -> Result<()> + Send);

impl Prospect<'_> {
    /// The newest own checkpoint.
    pub fn latest(&self) -> Option<&CheckpointMetadata> {
        self.retained.last().map(|(_, checkpoint)| checkpoint)
    }

    /// An own checkpoint by number.
    ///
    /// # Errors
    /// `Invalid` if it is not retained; says which are.
    pub fn checkpoint(&self, id: CheckpointId) -> Result<&CheckpointMetadata> {
        by_id(self.retained.iter().map(|(_, checkpoint)| checkpoint), id)
    }

    /// Another root's checkpoint, if the state is to be begun from that; it has no own ones then.
    pub fn origin(&self) -> Option<&CheckpointMetadata> {
        self.origin
    }

    /// What the state was begun from, for a message, as long as nothing of its own can be restored.
    pub fn begun_from(&self) -> Option<&str> {
        self.begun_from.as_deref()
    }
}
