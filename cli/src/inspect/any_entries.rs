//! The entries of one subtask's part of a checkpoint, whichever backend wrote it.
use std::sync::Arc;

use alluvium_checkpoint::CanonicalEntries;
use alluvium_env::{Entropy, IoRuntime, Result};
use alluvium_forst::SubtaskEntries;
use alluvium_state_api::{CANONICAL, HeapEntries, RestoredPart, StateEntries};
use object_store::ObjectStore;

/// Starts a pass over a part's key groups.
///
/// # Errors
/// `Invalid` if no backend of this build wrote it, `Corruption` or `Unavailable` from the store.
pub(super) fn open_entries(
    part: &RestoredPart,
    store: &Arc<dyn ObjectStore>,
    (io, entropy): (&IoRuntime, &Entropy),
) -> Result<Box<dyn StateEntries>> {
    let store = Arc::clone(store);
    Ok(match part.backend.as_str() {
        CANONICAL => Box::new(CanonicalEntries::open(part, store, io.clone())?),
        "heap" => Box::new(HeapEntries::open(part)?),
        _ => Box::new(SubtaskEntries::open(part, store, io.clone(), entropy)?),
    })
}
