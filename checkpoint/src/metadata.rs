//! What a completed checkpoint is: the sources' positions and, for each subtask, what its backend wrote.
//!
//! **Invariants**: the subtasks' key groups partition `0..max_parallelism`, checked when a checkpoint is written
//! and when it is read; file names are relative to the root of the state URL, so that the same state can be
//! opened through another endpoint.
use alluvium_env::{HashSet, Result};
use alluvium_state_api::{CheckpointId, FileRef, KeyGroupRange, OperatorStatePart};
use bytes::Bytes;

use crate::pages::PageRef;

/// A completed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMetadata {
    /// Its number.
    pub id: CheckpointId,
    /// The attempt that completed it.
    pub incarnation: u64,
    /// The number of key groups.
    pub max_parallelism: u16,
    /// Whether the input had ended: nothing is left to do but to read the state.
    pub finished: bool,
    /// When it was completed, in milliseconds since the Unix epoch. For people: nothing is decided by age.
    pub completed_at_millis: u64,
    /// The job's name.
    pub job: String,
    /// The sources' positions; opaque to the protocol.
    pub source: Bytes,
    /// What each subtask added.
    pub subtasks: Vec<SubtaskMetadata>,
}

/// What one subtask added to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskMetadata {
    /// The key groups it covers.
    pub key_groups: KeyGroupRange,
    /// The backend that wrote it.
    pub backend: String,
    /// The backend's description of its state; opaque to the protocol.
    pub payload: Bytes,
    /// Every object that the payload names itself.
    pub files: Vec<FileRef>,
    /// Manifest pages that the payload names, which name objects in turn.
    pub pages: Vec<PageRef>,
    /// Records that were admitted and had done nothing yet, as `RecordRef::write_to` writes them.
    pub inputs: Bytes,
    /// How many records `inputs` holds.
    pub inputs_count: u64,
    /// Its operator states. A broadcast state, the same on all subtasks, stands with one of them only.
    pub operator_states: Vec<OperatorStatePart>,
}

impl SubtaskMetadata {
    /// Every object that it names itself, pages included.
    pub fn named(&self) -> impl Iterator<Item = &FileRef> {
        self.files.iter().chain(self.pages.iter().map(|page| &page.object))
    }

    /// How many objects it needs, and their bytes, as its pages tell of theirs: for a person, without a look at one.
    pub fn totals(&self) -> (u64, u64) {
        totals(self.named(), &self.pages)
    }
}

impl CheckpointMetadata {
    /// Every object that the checkpoint names itself, pages included; one that two subtasks share comes twice. What pages
    /// name comes of [`PageReader::objects_of`](crate::PageReader::objects_of).
    pub fn files(&self) -> impl Iterator<Item = &FileRef> {
        self.subtasks.iter().flat_map(SubtaskMetadata::named)
    }

    /// Its manifest pages; one that two subtasks share comes twice.
    pub fn pages(&self) -> impl Iterator<Item = &PageRef> {
        self.subtasks.iter().flat_map(|subtask| &subtask.pages)
    }

    /// How many objects it needs, and their bytes, as its pages tell of theirs: for a person, without a look at one. What two
    /// subtasks share counts once, but for what two of their pages have in common.
    pub fn totals(&self) -> (u64, u64) {
        let (mut files, mut pages) = (HashSet::default(), HashSet::default());
        let files = self.files().filter(|file| files.insert(file.name.as_str()));
        totals(files, self.pages().filter(|page| pages.insert(page.object.name.as_str())))
    }

    /// What subtask `subtask` of `parallelism` takes over of the operator states.
    ///
    /// # Errors
    /// `Corruption` if what the former subtasks wrote contradicts itself.
    pub fn operator_states_for(&self, subtask: u16, parallelism: u16) -> Result<Vec<OperatorStatePart>> {
        let former: Vec<&[OperatorStatePart]> =
            self.subtasks.iter().map(|subtask| subtask.operator_states.as_slice()).collect();
        OperatorStatePart::redistribute(&former, subtask, parallelism)
            .map_err(|error| error.context(format!("checkpoint {}", self.id)))
    }

    /// The first place where the subtasks' key groups overlap, leave a gap or stop short, as expected and got.
    pub(crate) fn uncovered(&self) -> Option<(String, String)> {
        let mut ranges: Vec<KeyGroupRange> = self.subtasks.iter().map(|subtask| subtask.key_groups).collect();
        ranges.sort_by_key(|range| (range.start, range.end));
        let mut covered = 0;
        for range in ranges {
            if range.start != covered || range.end <= range.start {
                return Some((format!("key groups from {covered}"), range.to_string()));
            }
            covered = range.end;
        }
        let max = self.max_parallelism;
        (covered != max).then(|| (format!("key groups up to {max}"), format!("up to {covered}")))
    }
}

fn totals<'a>(
    files: impl Iterator<Item = &'a FileRef>,
    pages: impl IntoIterator<Item = &'a PageRef>,
) -> (u64, u64) {
    let of_files = files.map(|file| (1, file.size_bytes));
    let of_pages = pages.into_iter().map(|page| (page.files, page.files_bytes));
    of_files.chain(of_pages).fold((0, 0), |(count, bytes), one| (count + one.0, bytes.saturating_add(one.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covering(ranges: &[(u16, u16)]) -> CheckpointMetadata {
        let subtask = |&(start, end)| SubtaskMetadata {
            key_groups: KeyGroupRange { start, end },
            backend: "heap".into(),
            payload: Bytes::new(),
            files: Vec::new(),
            pages: Vec::new(),
            inputs: Bytes::new(),
            inputs_count: 0,
            operator_states: Vec::new(),
        };
        CheckpointMetadata {
            id: CheckpointId(1),
            incarnation: 1,
            max_parallelism: 128,
            finished: false,
            completed_at_millis: 0,
            job: String::new(),
            source: Bytes::new(),
            subtasks: ranges.iter().map(subtask).collect(),
        }
    }

    #[test]
    fn only_a_partition_of_the_key_groups_covers_them() {
        assert_eq!(covering(&[(64, 128), (0, 64)]).uncovered(), None);
        for bad in [
            &[(0, 64)][..],
            &[(0, 64), (65, 128)],
            &[(0, 65), (64, 128)],
            &[(0, 200)],
            &[],
            &[(5, 5), (0, 128)],
        ] {
            assert!(covering(bad).uncovered().is_some(), "{bad:?}");
        }
    }
}
