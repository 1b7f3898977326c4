//! What a listing of `compaction/` says: which jobs nobody has, and what is left over of those that are gone.
use std::collections::BTreeMap;

use crate::naming::COMPACTION;
use crate::remote::objects::Objects;

/// A job's objects, by what their names have in common: `compaction/{incarnation}/{subtask}/{number}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobName(String);

impl JobName {
    pub(super) fn job(&self) -> String {
        format!("{}.job", self.0)
    }

    pub(super) fn claim(&self) -> String {
        format!("{}.claim", self.0)
    }

    pub(super) fn beat(&self) -> String {
        format!("{}.beat", self.0)
    }

    pub(super) fn result(&self) -> String {
        format!("{}.result", self.0)
    }

    /// The attempt that posted it; `None` where stores are named otherwise.
    fn incarnation(&self) -> Option<u64> {
        let rest = self.0.strip_prefix(COMPACTION)?.strip_prefix('/')?;
        rest.split_once('/')?.0.parse().ok()
    }
}

/// Which objects a job has.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    job: bool,
    claim: bool,
    others: bool,
}

/// See the module.
pub(super) struct Listing {
    jobs: BTreeMap<JobName, Seen>,
}

impl Listing {
    pub(super) fn of(names: Vec<String>) -> Self {
        let mut jobs: BTreeMap<JobName, Seen> = BTreeMap::new();
        for name in names {
            let Some((common, kind)) = name.rsplit_once('.') else { continue };
            let mut set = |mark: fn(&mut Seen) -> &mut bool| {
                *mark(jobs.entry(JobName(common.to_owned())).or_default()) = true;
            };
            match kind {
                "job" => set(|seen| &mut seen.job),
                "claim" => set(|seen| &mut seen.claim),
                "beat" | "result" => set(|seen| &mut seen.others),
                _ => {}
            }
        }
        Self { jobs }
    }

    /// Jobs that nobody has, of the latest attempt: earlier ones wait for nothing any more.
    pub(super) fn open(&self) -> Vec<JobName> {
        let latest =
            self.jobs.iter().filter(|(_, seen)| seen.job).filter_map(|(name, _)| name.incarnation()).max();
        let is_open = |name: &JobName, seen: &Seen| {
            seen.job && !seen.claim && !seen.others && name.incarnation().is_none_or(|it| Some(it) == latest)
        };
        self.jobs.iter().filter(|(name, seen)| is_open(name, seen)).map(|(name, _)| name.clone()).collect()
    }

    /// Deletes what compactors that died have left of jobs which are gone: claims and beats that they wrote too late. Their
    /// numbers are never used again.
    pub(super) async fn tidy(&self, objects: &Objects) {
        for (name, _) in self.jobs.iter().filter(|(_, seen)| !seen.job) {
            // It may have been posted while the listing went on.
            if matches!(objects.exists(&name.job()).await, Ok(false)) {
                delete_rest(objects, name).await;
            }
        }
    }
}

/// Deletes what a compactor writes of a job beside its outputs.
pub(super) async fn delete_rest(objects: &Objects, name: &JobName) {
    for left in [name.result(), name.beat(), name.claim()] {
        // What is not deleted now is found by the next one that looks, or by the next attempt's sweep.
        let _ = objects.delete(&left).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_jobs_of_the_latest_attempt_that_nobody_has_are_open() {
        let names = [
            "compaction/00000001/0000/000000000003.job",
            "compaction/00000002/0000/000000000003.job",
            "compaction/00000002/0001/000000000003.job",
            "compaction/00000002/0001/000000000003.claim",
            "compaction/00000002/0001/000000000009.job",
            "compaction/00000002/0001/000000000009.result",
            "compaction/00000003/0001/000000000009.beat",
            "compaction/00000002/0001/000000000009.other",
            "compaction/foreign",
        ];
        let listing = Listing::of(names.map(str::to_owned).to_vec());
        let open: Vec<_> = listing.open().iter().map(JobName::job).collect();
        assert_eq!(open, ["compaction/00000002/0000/000000000003.job"]);
        // Stores that are used alone name themselves as they like.
        let listing = Listing::of(vec!["compaction/mine/000000000001.job".to_owned()]);
        assert_eq!(listing.open().len(), 1);
    }
}
