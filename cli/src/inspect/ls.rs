//! `alluvium state ls`: which states a checkpoint holds.
use std::sync::Arc;

use alluvium_env::{Entropy, IoRuntime, Result};
use alluvium_forst::{Operands, StateSize};
use alluvium_state_api::MergeOperator;
use serde::Serialize;

use super::checkpoint::{self, Checkpoint};
use super::operator_states::{self, OperatorState};
use super::output::Output;
use super::state_args::LsArgs;
use super::text::utc;
use crate::results::grouped;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Checkpoint(Head<'a>),
    State { name: &'a str, kind: &'a str, entries: u64, bytes: u64, exact: bool, key_groups: u64 },
    OperatorState(&'a OperatorState<'a>),
}

/// The checkpoint as a whole.
#[derive(Serialize)]
struct Head<'a> {
    url: &'a str,
    checkpoint: u64,
    retained: Vec<u64>,
    job: &'a str,
    incarnation: u64,
    finished: bool,
    completed_at: String,
    max_parallelism: u16,
    /// First key group and the one behind the last, of each subtask.
    subtasks: Vec<[u16; 2]>,
    objects: u64,
    bytes: u64,
    kept_inputs: u64,
}

/// A state of all subtasks together.
struct Total {
    size: StateSize,
    /// Of the subtasks that know it.
    key_groups: u64,
}

/// Prints the states of a checkpoint.
///
/// # Errors
/// What opening or reading it fails with.
pub(super) fn run(args: &LsArgs, io: &IoRuntime) -> Result<()> {
    checkpoint::read(&args.checkpoint, io, |checkpoint| {
        let totals = totals(checkpoint, args.exact)?;
        let (head, of_operator) = (head(checkpoint), operator_states::all(&checkpoint.metadata));
        let mut out = Output::new();
        if args.checkpoint.json {
            out.json(&Line::Checkpoint(head))?;
            for Total { size: StateSize { name, kind, entries, bytes }, key_groups } in &totals {
                let (entries, bytes, key_groups) = (*entries, *bytes, *key_groups);
                out.json(&Line::State { name, kind, entries, bytes, exact: args.exact, key_groups })?;
            }
            of_operator.iter().try_for_each(|state| out.json(&Line::OperatorState(state)))?;
        } else {
            for_a_person(&head, &totals, (args.exact, &mut out))?;
            of_operator_for_a_person(&of_operator, &mut out)?;
        }
        out.finish()
    })
}

fn totals(checkpoint: &Checkpoint, exact: bool) -> Result<Vec<Total>> {
    let fold: Arc<dyn MergeOperator> = Arc::new(Operands::new(&Entropy::from_os()));
    let mut totals: Vec<Total> = Vec::new();
    for reader in checkpoint.readers(checkpoint.key_groups(), &fold) {
        let reader = reader?;
        let mut sizes = reader.sizes()?;
        let key_groups = reader.key_groups();
        for mut size in sizes.drain(..) {
            if exact {
                (size.entries, size.bytes) = (0, 0);
                let mut scan = reader.scan(&size.name, key_groups, &[])?;
                while let Some(scan) = &mut scan
                    && let Some((key, value)) = scan.next_entry()?
                {
                    size.entries += 1;
                    size.bytes += key.len() as u64 + value.bytes();
                }
            }
            let groups = u64::from(key_groups.end - key_groups.start);
            match totals.iter_mut().find(|total| total.size.name == size.name) {
                Some(total) => {
                    total.size.entries += size.entries;
                    total.size.bytes += size.bytes;
                    total.key_groups += groups;
                }
                None => totals.push(Total { size, key_groups: groups }),
            }
        }
    }
    Ok(totals)
}

fn head(checkpoint: &Checkpoint) -> Head<'_> {
    let metadata = &checkpoint.metadata;
    let (objects, bytes) = metadata.totals();
    let mut subtasks: Vec<_> =
        metadata.subtasks.iter().map(|one| [one.key_groups.start, one.key_groups.end]).collect();
    subtasks.sort_unstable();
    Head {
        url: checkpoint.url(),
        checkpoint: metadata.id.0,
        retained: checkpoint.retained.iter().map(|id| id.0).collect(),
        job: &metadata.job,
        incarnation: metadata.incarnation,
        finished: metadata.finished,
        completed_at: utc(metadata.completed_at_millis),
        max_parallelism: metadata.max_parallelism,
        subtasks,
        objects,
        bytes,
        kept_inputs: metadata.subtasks.iter().map(|one| one.inputs_count).sum(),
    }
}

fn for_a_person(head: &Head<'_>, totals: &[Total], (exact, out): (bool, &mut Output)) -> Result<()> {
    let listed = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let ended = if head.finished { ", when the input had ended" } else { "" };
    let subtasks: Vec<String> =
        head.subtasks.iter().map(|[start, end]| format!("[{start}, {end})")).collect();
    out.figures(&[
        ("checkpoint", format!("{} in {}", head.checkpoint, head.url)),
        ("retained", listed(&head.retained)),
        ("job", format!("{}, incarnation {}", head.job, head.incarnation)),
        ("completed", format!("{}{ended}", head.completed_at)),
        ("key groups", format!("{}: {}", head.max_parallelism, subtasks.join(" "))),
        ("objects", format!("{} of {} bytes", grouped(head.objects), grouped(head.bytes))),
        ("kept inputs", grouped(head.kept_inputs)),
    ])?;
    let about = if exact { "" } else { "≈ " };
    let width = totals.iter().map(|total| total.size.name.chars().count()).max().unwrap_or(0).max(5);
    out.line("")?;
    out.line(&format!("{:width$}  {:<11}  {:>17}  {:>19}  key groups", "state", "kind", "entries", "bytes"))?;
    for Total { size: StateSize { name, kind, entries, bytes }, key_groups } in totals {
        let entries = format!("{about}{}", grouped(*entries));
        let bytes = format!("{about}{}", grouped(*bytes));
        out.line(&format!("{name:width$}  {kind:<11}  {entries:>17}  {bytes:>19}  {key_groups:>10}"))?;
    }
    Ok(())
}

fn of_operator_for_a_person(states: &[OperatorState<'_>], out: &mut Output) -> Result<()> {
    if states.is_empty() {
        return Ok(());
    }
    let width = states.iter().map(|state| state.name.chars().count()).max().unwrap_or(0).max(14);
    out.line("")?;
    out.line(&format!(
        "{:width$}  {:<11}  {:>17}  {:>19}  subtasks",
        "operator state", "kind", "elements", "bytes"
    ))?;
    for OperatorState { name, kind, elements, bytes, subtasks } in states {
        let (elements, bytes) = (grouped(*elements), grouped(*bytes));
        out.line(&format!("{name:width$}  {kind:<11}  {elements:>17}  {bytes:>19}  {subtasks:>8}"))?;
    }
    Ok(())
}
