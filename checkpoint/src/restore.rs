//! Restore and rescale are the same: a subtask takes over key groups by reference, with a clip on each former
//! subtask that overlaps them. Nothing but metadata is read.
use alluvium_env::{Error, Result};
use alluvium_state_api::{KeyGroupRange, RestoredPart};
use bytes::Bytes;

use crate::metadata::CheckpointMetadata;
use crate::settings::JobShape;

/// What a subtask starts from.
#[derive(Clone, Debug, Default)]
pub struct RestorePlan {
    /// What its backend is opened with: one part for each former subtask that overlaps, clipped.
    pub parts: Vec<RestoredPart>,
    /// Inputs that former subtasks had kept. They are not sorted by key group: take those that are the subtask's.
    pub inputs: Vec<Bytes>,
}

impl CheckpointMetadata {
    /// Whether a job may restore this checkpoint; its parallelism does not matter.
    ///
    /// # Errors
    /// `Invalid` names all that differs, with both values.
    pub fn check(&self, shape: &JobShape) -> Result<()> {
        let (id, stored, wanted) = (self.id, self.max_parallelism, shape.max_parallelism.get());
        let mut differences = Vec::new();
        if self.job != shape.job {
            let (stored, wanted) = (&self.job, &shape.job);
            differences.push(format!(
                "checkpoint {id} belongs to job {stored:?}, not to {wanted:?}: give that job's name or another state URL"
            ));
        }
        if stored != wanted {
            differences.push(format!(
                "checkpoint {id} has {stored} key groups and the job asks for a max parallelism of {wanted}: \
                 it is fixed for the life of the state"
            ));
        }
        if differences.is_empty() { Ok(()) } else { Err(Error::invalid(differences.join("; "))) }
    }

    /// What the owner of these key groups takes over.
    pub fn restore_for(&self, key_groups: KeyGroupRange) -> RestorePlan {
        let mut plan = RestorePlan::default();
        for subtask in &self.subtasks {
            let Some(clip) = subtask.key_groups.intersect(key_groups) else { continue };
            let (backend, payload) = (subtask.backend.clone(), subtask.payload.clone());
            plan.parts.push(RestoredPart { key_groups: clip, backend, payload });
            if !subtask.inputs.is_empty() {
                plan.inputs.push(subtask.inputs.clone());
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use alluvium_state_api::{CheckpointId, MaxParallelism};

    use super::*;
    use crate::metadata::SubtaskMetadata;

    fn written_at(parallelism: u16) -> CheckpointMetadata {
        let subtask = |index| SubtaskMetadata {
            key_groups: MaxParallelism::DEFAULT.range_of(index, parallelism).unwrap(),
            backend: "heap".into(),
            payload: Bytes::from(vec![index as u8]),
            files: Vec::new(),
            pages: Vec::new(),
            inputs: if index == 0 { Bytes::from("input") } else { Bytes::new() },
            inputs_count: u64::from(index == 0),
            operator_states: Vec::new(),
        };
        CheckpointMetadata {
            id: CheckpointId(1),
            incarnation: 1,
            max_parallelism: 128,
            finished: false,
            completed_at_millis: 0,
            job: "j".into(),
            source: Bytes::new(),
            subtasks: (0..parallelism).map(subtask).collect(),
        }
    }

    #[test]
    fn at_any_parallelism_every_key_group_is_taken_over_exactly_once_from_its_former_owner() {
        let max = MaxParallelism::DEFAULT;
        for (before, after) in (1..=9).flat_map(|before| (1..=9).map(move |after| (before, after))) {
            let checkpoint = written_at(before);
            let mut next = 0;
            for index in 0..after {
                let range = max.range_of(index, after).unwrap();
                for part in checkpoint.restore_for(range).parts {
                    assert_eq!(part.key_groups.start, next, "{before} to {after}");
                    next = part.key_groups.end;
                    let owner = max.range_of(u16::from(part.payload[0]), before).unwrap();
                    assert_eq!(owner.intersect(part.key_groups), Some(part.key_groups));
                }
            }
            assert_eq!(next, 128, "{before} to {after}");
        }
    }

    #[test]
    fn all_that_differs_of_a_job_is_told() {
        let shape = |job: &str, groups| JobShape {
            job: job.to_owned(),
            max_parallelism: MaxParallelism::new(groups).unwrap(),
            subtasks: 1,
            sources: 1,
        };
        let told =
            |shape| written_at(1).check(&shape).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(told(shape("j", 128)), "");
        let both = told(shape("k", 64));
        assert!(
            both.contains("belongs to job \"j\", not to \"k\"") && both.contains("128 key groups"),
            "{both}"
        );
    }

    #[test]
    fn inputs_go_to_whoever_overlaps_their_former_subtask() {
        let checkpoint = written_at(2);
        let at = |start, end| checkpoint.restore_for(KeyGroupRange { start, end }).inputs.len();
        assert_eq!((at(0, 128), at(0, 10), at(60, 70), at(64, 128)), (1, 1, 1, 0));
    }
}
