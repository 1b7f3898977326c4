//! Operator state of a checkpoint: which states there are, and the elements of one. All of it stands in the ledger's entry.
use alluvium_checkpoint::CheckpointMetadata;
use alluvium_env::{Error, Result};
use alluvium_state_api::{OperatorStateKind, OperatorStatePart};
use serde::Serialize;

use super::keys::user_key;
use super::shown::Shown;
use super::values::ValueType;

/// An operator state of all subtasks together.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct OperatorState<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    pub(super) elements: u64,
    /// With the keys of a broadcast state.
    pub(super) bytes: u64,
    /// Subtasks that wrote any of it; of a broadcast state that is one for all.
    pub(super) subtasks: u64,
}

/// An element of one.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Element {
    subtask: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<Shown>,
    pub(super) value: Shown,
}

fn parts(metadata: &CheckpointMetadata) -> impl Iterator<Item = (usize, &OperatorStatePart)> {
    let subtasks = metadata.subtasks.iter().enumerate();
    subtasks.flat_map(|(subtask, one)| one.operator_states.iter().map(move |part| (subtask, part)))
}

/// The operator states of a checkpoint, in the order in which they were opened.
pub(super) fn all(metadata: &CheckpointMetadata) -> Vec<OperatorState<'_>> {
    let mut states: Vec<OperatorState<'_>> = Vec::new();
    for (_, part) in parts(metadata) {
        let found = states.iter().position(|state| state.name == part.name);
        let place = found.unwrap_or_else(|| {
            let (name, kind) = (part.name.as_str(), part.kind.name());
            states.push(OperatorState { name, kind, elements: 0, bytes: 0, subtasks: 0 });
            states.len() - 1
        });
        let Some(state) = states.get_mut(place) else { continue };
        state.elements += part.elements.len() as u64;
        state.bytes += part.keys.iter().chain(&part.elements).map(|bytes| bytes.len() as u64).sum::<u64>();
        state.subtasks += u64::from(!part.elements.is_empty());
    }
    states
}

/// The elements of a state, subtask by subtask, in the order in which each has them.
///
/// # Errors
/// `Invalid` if there is none of that name, and says which there are.
pub(super) fn elements(
    metadata: &CheckpointMetadata,
    name: &str,
    value_type: ValueType,
) -> Result<Vec<Element>> {
    let known = all(metadata);
    if !known.iter().any(|state| state.name == name) {
        let known: Vec<&str> = known.iter().map(|state| state.name).collect();
        let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let id = metadata.id;
        return Err(Error::invalid(format!(
            "checkpoint {id} has no operator state {name:?}: there are {there}"
        )));
    }
    let wanted = parts(metadata).filter(|(_, part)| part.name == name);
    let elements = wanted.flat_map(|(subtask, part)| {
        let is_map = part.kind == OperatorStateKind::Broadcast;
        part.elements.iter().enumerate().map(move |(nth, element)| {
            let key = part.keys.get(nth).filter(|_| is_map).map(|key| user_key(key));
            Element { subtask, key, value: value_type.shown(element) }
        })
    });
    Ok(elements.collect())
}
