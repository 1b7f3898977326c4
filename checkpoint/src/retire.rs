//! Retires retained checkpoints of a state that nobody runs: a claim that drops them, then their files.
//!
//! **Invariants**: what counts changes by one entry, so a crash leaves either everything retained or orphans, which the
//! sweep of the next attempt finds. A file goes if no checkpoint that stays retained names it.
//!
//! **Failure**: whoever runs on the state is fenced by the claim: ask before.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_state_api::CheckpointId;
use futures_util::TryStreamExt;
use object_store::ObjectStore;

use crate::ledger::{Begin, Ledger, name_of};
use crate::objects::{Objects, Undeleted};
use crate::pages::PageReader;
use crate::retained::by_id;
use crate::survey::{named, survey};
use crate::sweep::{FOLDERS, incarnation_of};

/// What was retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retired {
    /// The checkpoints that stay, oldest first.
    pub retained: Vec<CheckpointId>,
    /// Objects that were deleted, ledger entries included.
    pub deleted: u64,
    /// Objects that could not be deleted; the next attempt on the state deletes them.
    pub left: u64,
    /// What the store said of the last of those.
    pub why_left: Option<String>,
}

/// Drops checkpoints from the ledger below the root of `store`, and deletes what none of the others needs. Fences a job that
/// runs there. Blocks; not for the I/O runtime's own threads.
///
/// # Errors
/// `Invalid` if one of them is not retained, `Unavailable` if the job that runs there drops checkpoints faster than their pages are
/// read, and nothing is changed; otherwise as [`crate::CheckpointStore::open`].
pub fn retire_checkpoints(
    store: Arc<dyn ObjectStore>,
    io: &IoRuntime,
    entropy: &Entropy,
    ids: &[CheckpointId],
) -> Result<Retired> {
    let objects = Objects::new(store);
    io.block_on(async {
        // A page that cannot be read is found while nothing is dropped and nobody fenced.
        let mut pages = PageReader::over(&objects);
        let (there, _) = survey(&objects, &mut pages, &|checkpoint| !ids.contains(&checkpoint.id)).await?;
        ids.iter().try_for_each(|id| by_id(there.retained.iter(), *id).map(|_| ()))?;
        retire((&objects, &mut pages), entropy.next_u64(), ids).await
    })
}

/// As [`retire_checkpoints`], of those that are retained: what was interrupted is done to its end.
pub(crate) async fn retire(
    (objects, pages): (&Objects, &mut PageReader),
    token: u64,
    ids: &[CheckpointId],
) -> Result<Retired> {
    let ledger = Ledger::new(objects.clone());
    let claimed = ledger.claim(token, &Begin::Without(ids.to_vec())).await?;
    let claim = &claimed.claim;
    let mut unneeded: Vec<String> = claim.dropped.iter().copied().map(name_of).collect();
    let retired = |error: Error| {
        error.context(
            "the checkpoints are retired and their files still there; the next job on the state deletes them",
        )
    };
    let stays = |sequence: &u64| claim.retained.contains(sequence);
    let staying = claimed.retained.iter().filter(|(sequence, _)| stays(sequence)).map(|(_, one)| one);
    let needed = named(pages, staying.clone()).await.map_err(retired)?;
    for folder in FOLDERS {
        let names: Vec<String> = objects.list(folder).try_collect().await.map_err(retired)?;
        let former = |name: &String| {
            incarnation_of(folder, name).is_some_and(|writer| writer < claim.writer.incarnation)
        };
        unneeded.extend(names.into_iter().filter(|name| former(name) && !needed.contains(name.as_str())));
    }
    let all = unneeded.len();
    let Undeleted { names, why } = objects.delete_all(unneeded).await;
    let left = names.len();
    Ok(Retired {
        retained: staying.map(|checkpoint| checkpoint.id).collect(),
        deleted: (all - left) as u64,
        left: left as u64,
        why_left: why.map(|why| why.to_string()),
    })
}
