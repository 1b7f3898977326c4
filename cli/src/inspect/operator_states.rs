//! Operator state of a checkpoint: which states there are, and the elements of one. All of it stands in the ledger's entry.
use alluvium_checkpoint::CheckpointMetadata;
use alluvium_env::{Error, Result};
use alluvium_state_api::{OperatorStateKind, OperatorStatePart};
use serde::Serialize;

use super::keys::{KeyType, user_key};
use super::shown::Shown;
use super::state_args::{GetArgs, TypeArgs};
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
    known(metadata, name)?;
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

/// The entry of a broadcast state with a key: as the key is stored, or as [`elements`] shows it.
///
/// # Errors
/// `Invalid` if there is no state of that name, if its elements have no keys, or if none has this one.
pub(super) fn entry(metadata: &CheckpointMetadata, args: &GetArgs) -> Result<Element> {
    let (id, name, given) = (metadata.id, &args.state, &args.key);
    let state = known(metadata, name)?;
    if state.kind != OperatorStateKind::Broadcast.name() {
        let kind = state.kind;
        return Err(Error::invalid(format!(
            "operator state {name:?} of checkpoint {id} is a {kind}, whose elements have no keys: `alluvium state scan {name} \
             --operator` shows them all"
        )));
    }
    let TypeArgs { key_type, value_type, .. } = args.types;
    let encoded = key_type.encode(given)?;
    let is_shown_so = |key: &[u8]| key_type == KeyType::Auto && user_key(key).to_string() == given.as_str();
    let entries = parts(metadata).filter(|(_, part)| part.name == *name).flat_map(|(subtask, part)| {
        part.keys.iter().zip(&part.elements).map(move |(key, element)| (subtask, key, element))
    });
    // Text may look like the digits that another key is shown as: then it is the text.
    let entries: Vec<_> = entries.collect();
    let found = entries.iter().find(|(_, key, _)| **key == encoded);
    let found = found.or_else(|| entries.iter().find(|(_, key, _)| is_shown_so(key)));
    let &(subtask, key, element) = found.ok_or_else(|| {
        Error::invalid(format!("checkpoint {id} has nothing of key {given:?} in operator state {name:?}"))
    })?;
    let key = if key_type == KeyType::Auto { user_key(key) } else { key_type.split(key).key };
    Ok(Element { subtask, key: Some(key), value: value_type.shown(element) })
}

/// The operator state of a name.
fn known<'a>(metadata: &'a CheckpointMetadata, name: &str) -> Result<OperatorState<'a>> {
    let mut known = all(metadata);
    if let Some(place) = known.iter().position(|state| state.name == name) {
        return Ok(known.swap_remove(place));
    }
    let names: Vec<&str> = known.iter().map(|state| state.name).collect();
    let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let id = metadata.id;
    Err(Error::invalid(format!("checkpoint {id} has no operator state {name:?}: there are {there}")))
}

#[cfg(test)]
mod tests {
    use alluvium_checkpoint::SubtaskMetadata;
    use alluvium_state_api::{CheckpointId, KeyGroupRange, StoredSchema};
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        get: GetArgs,
    }

    fn checkpoint_with(keys: &[Vec<u8>]) -> CheckpointMetadata {
        let part = OperatorStatePart {
            name: "rules".to_owned(),
            kind: OperatorStateKind::Broadcast,
            schema: StoredSchema { codec: String::new(), versions: vec![0] },
            keys: keys.iter().map(|key| key.clone().into()).collect(),
            elements: (0_u8..).zip(keys).map(|(nth, _)| vec![nth].into()).collect(),
        };
        let subtask = SubtaskMetadata {
            key_groups: KeyGroupRange { start: 0, end: 128 },
            backend: String::new(),
            payload: Vec::new().into(),
            files: Vec::new(),
            pages: Vec::new(),
            inputs: Vec::new().into(),
            inputs_count: 0,
            operator_states: vec![part],
        };
        CheckpointMetadata {
            id: CheckpointId(1),
            incarnation: 1,
            max_parallelism: 128,
            finished: false,
            completed_at_millis: 0,
            job: String::new(),
            source: Vec::new().into(),
            subtasks: vec![subtask],
        }
    }

    #[test]
    fn an_entry_is_found_as_it_is_stored_before_any_that_is_shown_so() {
        let text = |key| KeyType::Text.encode(key).unwrap();
        // The first one is shown as the second one reads.
        let keys = [vec![0xEE], text("0xee"), text("eu"), b"eu".to_vec()];
        let checkpoint = checkpoint_with(&keys);
        let value = |given: &[&str]| {
            let arguments = ["get", "rules"].iter().chain(given);
            let Given { get } = Given::try_parse_from(arguments).unwrap();
            entry(&checkpoint, &get).map(|element| element.value.to_string()).ok()
        };
        assert_eq!(value(&["eu"]).as_deref(), Some("0x02"));
        assert_eq!(value(&["0xee"]).as_deref(), Some("0x01"));
        assert_eq!(
            value(&["0x6575"]).as_deref(),
            Some("0x03"),
            "what no key is stored as is looked for as it is shown"
        );
        assert_eq!(value(&["ee", "--key-type", "hex"]).as_deref(), Some("0x00"));
        assert_eq!(value(&["us"]), None);
    }
}
