//! What a state needs as whoever looks finds it, though its job goes on: the ledger, and every object that checkpoints name.
use alluvium_env::{Error, HashSet, Result};

use crate::ledger::{CLAIM_ATTEMPTS, Ledger, Survey};
use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
use crate::pages::PageReader;

/// The ledger, and what is named by those of its checkpoints that are wanted. A job that runs may drop a checkpoint while its pages are
/// read: then the ledger is read once more, and that one not asked for.
///
/// # Errors
/// As [`Ledger::survey`]; `Corruption` names a page of a retained checkpoint that is missing or damaged; `Unavailable` if
/// checkpoints come and go faster than their pages are read.
pub(crate) async fn survey(
    objects: &Objects,
    pages: &mut PageReader,
    wanted: &(dyn Fn(&CheckpointMetadata) -> bool + Sync),
) -> Result<(Survey, HashSet<String>)> {
    let ids = |survey: &Survey| -> Vec<_> {
        survey.retained.iter().map(|checkpoint| (checkpoint.id, checkpoint.incarnation)).collect()
    };
    let ledger = Ledger::new(objects.clone());
    let mut survey = ledger.survey().await?;
    for _ in 0..CLAIM_ATTEMPTS {
        let error = match named(pages, survey.retained.iter().filter(|one| wanted(one))).await {
            Ok(named) => return Ok((survey, named)),
            Err(error) => error,
        };
        let now = ledger.survey().await?;
        if ids(&now) == ids(&survey) {
            return Err(error);
        }
        survey = now;
    }
    let store = objects.store_name();
    Err(Error::unavailable(format!(
        "the job that runs in {store} drops checkpoints faster than their pages can be read: stop it, or ask again"
    )))
}

/// What must stay. A page that cannot be read fails it: what that names would look like garbage.
pub(crate) async fn named(
    pages: &mut PageReader,
    checkpoints: impl Iterator<Item = &CheckpointMetadata>,
) -> Result<HashSet<String>> {
    let mut named = HashSet::default();
    for checkpoint in checkpoints {
        named.extend(pages.objects_of(checkpoint).await?.into_iter().map(|file| file.name));
    }
    Ok(named)
}
