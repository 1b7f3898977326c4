//! Where a job begins: chosen and compared with the job before the state is taken over, so that one that does not fit stops
//! nobody's.
use alluvium_checkpoint::{CheckpointMetadata, JobShape, Prospect};
use alluvium_env::{Error, ErrorKind, Result};
use alluvium_state_api::CheckpointId;

use super::{Job, Restore};
use crate::source::{SourceProgress, SplitSource};

/// See the module.
pub(super) struct Beginning {
    pub(super) restored: Option<CheckpointMetadata>,
    /// Where the input is read on.
    pub(super) progress: SourceProgress,
    /// What is to be said about it.
    pub(super) notes: Vec<String>,
}

impl Beginning {
    /// At the beginning of the input.
    pub(super) fn afresh(source: &impl SplitSource) -> Self {
        Self { restored: None, progress: SourceProgress::start(source), notes: Vec::new() }
    }

    /// What the job's settings ask for.
    ///
    /// # Errors
    /// `Invalid` if it is not there, or is another job's; says all that differs.
    pub(super) fn choose<S: SplitSource>(job: &Job<S>, prospect: &Prospect<'_>) -> Result<Self> {
        let afresh = || Self::afresh(&job.source);
        let restored = match &job.settings.restore {
            Restore::None => return Ok(afresh()),
            Restore::Id(id) => Some(prospect.checkpoint(CheckpointId(*id))?),
            Restore::From(_) => prospect.origin(),
            Restore::Latest => {
                let url = &job.world.state_url;
                if let Some(origin) = prospect.begun_from() {
                    return Err(Error::invalid(format!(
                        "the state in {url} was begun from {origin} and has no checkpoint of its own yet: restore from that \
                         once more"
                    )));
                }
                let Some(latest) = prospect.latest() else {
                    let none = format!(
                        "there is no checkpoint in {url} yet; starting at the beginning of the input"
                    );
                    return Ok(Self { notes: vec![none], ..afresh() });
                };
                Some(latest)
            }
        };
        let Some(restored) = restored else { return Ok(afresh()) };
        let progress = go_on(&job.source, restored, &job.settings.shape())?;
        Ok(Self { restored: Some(restored.clone()), progress, notes: Vec::new() })
    }
}

/// Where the input is read on, if the checkpoint is of this job.
fn go_on(
    source: &impl SplitSource,
    metadata: &CheckpointMetadata,
    shape: &JobShape,
) -> Result<SourceProgress> {
    let place = || format!("cannot restore checkpoint {}", metadata.id);
    let progress = SourceProgress::restore(source, &metadata.source).map_err(|e| e.context(place()));
    match (metadata.check(shape), progress) {
        (Ok(()), progress) => progress,
        // All that differs at once.
        (Err(one), Err(two)) if two.kind() == ErrorKind::Invalid => {
            Err(Error::invalid(format!("{one}; {two}")))
        }
        (Err(one), _) => Err(one),
    }
}
