//! `alluvium checkpoint ls`, `show` and `rm`: the checkpoints that a state retains, as its ledger has them.
use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_checkpoint::{CheckpointMetadata, RetainedCheckpoints, retire_checkpoints};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_state_api::CheckpointId;
use serde::Serialize;

use super::checkpoint_args::{RmArgs, RootArgs, ShowArgs};
use super::output::Output;
use super::text::utc;
use crate::results::grouped;
use crate::state;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Checkpoint(Head<'a>),
    Subtask(Part<'a>),
    Object { object: &'a str, size_bytes: u64, subtasks: u64 },
    Removed { retained: Vec<u64>, deleted_objects: u64, left_objects: u64 },
}

/// A checkpoint as a whole.
#[derive(Serialize)]
pub(super) struct Head<'a> {
    url: &'a str,
    checkpoint: u64,
    job: &'a str,
    incarnation: u64,
    finished: bool,
    completed_at: String,
    max_parallelism: u16,
    subtasks: usize,
    objects: u64,
    bytes: u64,
    kept_inputs: u64,
    source_bytes: usize,
}

/// What one subtask added.
#[derive(Serialize)]
struct Part<'a> {
    key_groups: [u16; 2],
    backend: &'a str,
    objects: u64,
    bytes: u64,
    payload_bytes: usize,
    kept_inputs: u64,
}

impl<'a> Head<'a> {
    pub(super) fn of(url: &'a str, metadata: &'a CheckpointMetadata) -> Self {
        let (objects, bytes) = metadata.totals();
        Self {
            url,
            checkpoint: metadata.id.0,
            job: &metadata.job,
            incarnation: metadata.incarnation,
            finished: metadata.finished,
            completed_at: utc(metadata.completed_at_millis),
            max_parallelism: metadata.max_parallelism,
            subtasks: metadata.subtasks.len(),
            objects,
            bytes,
            kept_inputs: metadata.subtasks.iter().map(|one| one.inputs_count).sum(),
            source_bytes: metadata.source.len(),
        }
    }

    /// Prints it.
    pub(super) fn json(self, out: &mut Output) -> Result<()> {
        out.json(&Line::Checkpoint(self))
    }

    /// A row of a table, see [`ROWS`].
    pub(super) fn row(&self) -> String {
        let Self { checkpoint, completed_at, incarnation, subtasks, job, .. } = self;
        let (objects, bytes) = (grouped(self.objects), grouped(self.bytes));
        let ended = if self.finished { " (input ended)" } else { "" };
        format!(
            "{checkpoint:>10}  {completed_at}  {incarnation:>11}  {subtasks:>8}  {objects:>9}  {bytes:>19}  {job}{ended}"
        )
    }
}

/// What heads the rows.
pub(super) const ROWS: &str =
    "checkpoint  completed             incarnation  subtasks    objects                bytes  job";

/// Size, and how many subtasks name it, of each object that the checkpoint names itself.
fn objects(metadata: &CheckpointMetadata) -> BTreeMap<&str, (u64, u64)> {
    let mut objects = BTreeMap::new();
    for file in metadata.files() {
        objects.entry(file.name.as_str()).or_insert((file.size_bytes, 0)).1 += 1;
    }
    objects
}

/// Prints the retained checkpoints.
///
/// # Errors
/// What opening the state or reading its ledger fails with.
pub(super) fn ls(args: &RootArgs, io: &IoRuntime) -> Result<()> {
    let storage = state::open_read_only(&state::locate(args.location())?, io)?;
    let retained = RetainedCheckpoints::read(Arc::clone(&storage.store), io)?;
    if retained.latest().is_none() {
        return Err(none_in(args.location()));
    }
    let mut out = Output::new();
    if !args.json {
        out.line(ROWS)?;
    }
    for checkpoint in retained.all() {
        let head = Head::of(storage.url(), checkpoint);
        if args.json { head.json(&mut out)? } else { out.line(&head.row())? }
    }
    out.finish()
}

fn none_in(location: &str) -> Error {
    Error::invalid(format!("there is no checkpoint in {location}; give the URL of a state or a savepoint"))
}

/// Prints what a checkpoint is made of.
///
/// # Errors
/// What opening the state or reading its ledger fails with; `Invalid` if it is not retained.
pub(super) fn show(args: &ShowArgs, io: &IoRuntime) -> Result<()> {
    let storage = state::open_read_only(&state::locate(args.root.location())?, io)?;
    let retained = RetainedCheckpoints::read(Arc::clone(&storage.store), io)?;
    let checkpoint = match args.id {
        Some(id) => retained.checkpoint(CheckpointId(id))?,
        None => retained.latest().ok_or_else(|| none_in(args.root.location()))?,
    };
    let parts = checkpoint.subtasks.iter().map(|subtask| Part {
        key_groups: [subtask.key_groups.start, subtask.key_groups.end],
        backend: &subtask.backend,
        objects: subtask.totals().0,
        bytes: subtask.totals().1,
        payload_bytes: subtask.payload.len(),
        kept_inputs: subtask.inputs_count,
    });
    let head = Head::of(storage.url(), checkpoint);
    let mut out = Output::new();
    if args.root.json {
        head.json(&mut out)?;
        parts.map(Line::Subtask).try_for_each(|part| out.json(&part))?;
        for (object, (size_bytes, subtasks)) in objects(checkpoint) {
            out.json(&Line::Object { object, size_bytes, subtasks })?;
        }
    } else {
        for_a_person(&head, parts, &mut out)?;
        out.line("\n              bytes  object")?;
        for (object, (size_bytes, _)) in objects(checkpoint) {
            out.line(&format!("{:>19}  {object}", grouped(size_bytes)))?;
        }
    }
    out.finish()
}

fn for_a_person<'a>(head: &Head<'_>, parts: impl Iterator<Item = Part<'a>>, out: &mut Output) -> Result<()> {
    let ended = if head.finished { ", when the input had ended" } else { "" };
    out.figures(&[
        ("checkpoint", format!("{} in {}", head.checkpoint, head.url)),
        ("job", format!("{}, incarnation {}", head.job, head.incarnation)),
        ("completed", format!("{}{ended}", head.completed_at)),
        ("key groups", head.max_parallelism.to_string()),
        ("objects", format!("{} of {} bytes", grouped(head.objects), grouped(head.bytes))),
        ("kept inputs", grouped(head.kept_inputs)),
        ("source", format!("{} bytes of positions", grouped(head.source_bytes as u64))),
    ])?;
    out.line("\n    key groups  backend     objects                bytes  kept inputs")?;
    for Part { key_groups: [start, end], backend, objects, bytes, kept_inputs, .. } in parts {
        let (range, bytes, inputs) = (format!("[{start}, {end})"), grouped(bytes), grouped(kept_inputs));
        out.line(&format!("{range:>14}  {backend:<9}  {objects:>8}  {bytes:>19}  {inputs:>11}"))?;
    }
    Ok(())
}

/// Gives checkpoints up.
///
/// # Errors
/// `Invalid` if one of them is not retained, or a job has the folder; what the store fails with.
pub(super) fn rm(args: &RmArgs, io: &IoRuntime) -> Result<()> {
    let url = state::locate(args.root.location())?;
    // Only looked at first: what is not there is not made.
    drop(state::open_read_only(&url, io)?);
    let storage = state::open(Some(&url), "", io)?;
    let ids: Vec<CheckpointId> = args.ids.iter().copied().map(CheckpointId).collect();
    let retired = retire_checkpoints(Arc::clone(&storage.store), io, &Entropy::from_os(), &ids)?;
    let retained: Vec<u64> = retired.retained.iter().map(|id| id.0).collect();
    let mut out = Output::new();
    if args.root.json {
        let (deleted_objects, left_objects) = (retired.deleted, retired.left);
        out.json(&Line::Removed { retained, deleted_objects, left_objects })?;
    } else {
        let stay = match retained.as_slice() {
            [] => "none is left".to_owned(),
            ids => format!("left: {}", ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        };
        let later = match retired.left {
            0 => String::new(),
            left => {
                let why = retired.why_left.map(|why| format!(" ({why})")).unwrap_or_default();
                format!("; {} more could not be{why}, the next job on the state deletes them", grouped(left))
            }
        };
        out.line(&format!("{} objects deleted{later}; {stay}", grouped(retired.deleted)))?;
    }
    out.finish()
}
