//! What the golden stores hold: the operations that made them, and what a map says comes of these. Never changed: a new
//! thing to hold is a new generation.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium::state_api::{
    KeyCodec as _, MaxParallelism, MergeOperator, OperatorStateKind, OperatorStatePart, Result,
    StateDescriptor, StateId, StateKind, StateTtl, StoredSchema, key_hash, push_list_element, state_key,
};
use bytes::Bytes;

/// When the stores were written: a day in 2023.
pub(crate) const WRITTEN_AT: Duration = Duration::from_secs(1_700_000_000);
/// How much later the second half was.
pub(crate) const PAUSE: Duration = Duration::from_mins(30);
/// When they are read, in a golden world: what was updated before the pause has expired.
pub(crate) const READ_AFTER: Duration = Duration::from_mins(61);

/// Addition of `u64le`.
struct Sum;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        *acc = (number(acc) + number(operand)).to_le_bytes().to_vec();
        Ok(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("a sum has eight bytes"))
}

/// The states by number, which is the id that each store has given them.
pub(crate) fn states() -> Vec<StateDescriptor> {
    let ttl = StateTtl::new(Duration::from_hours(1));
    let sum = || StateKind::Reducing(Arc::new(Sum));
    vec![
        StateDescriptor::new("profile", StateKind::Value),
        StateDescriptor::new("total", sum()),
        StateDescriptor::new("events", StateKind::List),
        StateDescriptor::new("cart", StateKind::Map),
        StateDescriptor::new("session", StateKind::Value).with_ttl(ttl),
        StateDescriptor::new("rate", sum()).with_ttl(ttl),
        StateDescriptor::new("alerts", StateKind::List).with_ttl(ttl),
    ]
}

/// The operator states that a subtask of two writes; a list of three elements, a union of one each, and rules.
pub(crate) fn operator_states(subtask: usize) -> Vec<OperatorStatePart> {
    use OperatorStateKind::{Broadcast, List, Union};
    let part = |name: &str, kind, keys: &[&'static str], elements: &[&'static str]| {
        let bytes = |all: &[&'static str]| all.iter().copied().map(Bytes::from).collect();
        let schema = StoredSchema { codec: "text".to_owned(), versions: vec![1] };
        OperatorStatePart {
            name: name.to_owned(),
            kind,
            schema,
            keys: bytes(keys),
            elements: bytes(elements),
        }
    };
    if subtask == 0 {
        let rules = part("rules", Broadcast, &["eu", "us"], &["block", "allow"]);
        vec![part("offsets", List, &[], &["a", "b"]), part("workers", Union, &[], &["first"]), rules]
    } else {
        vec![part("offsets", List, &[], &["c"]), part("workers", Union, &[], &["second"])]
    }
}

const PROFILE: u16 = 0;
const TOTAL: u16 = 1;
const EVENTS: u16 = 2;
const CART: u16 = 3;
const SESSION: u16 = 4;
const RATE: u16 = 5;
const ALERTS: u16 = 6;

/// One step in a store's life; keys are state keys.
pub(crate) enum Step {
    Put(Vec<u8>, Vec<u8>),
    Merge(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Clear(Vec<u8>),
    /// What was written so far becomes tables.
    Flush,
    Pause,
    Checkpoint,
}

/// The state key of a record, or of its map's entry.
pub(crate) fn key_of(state: u16, record: u64, entry: Option<u32>) -> Vec<u8> {
    let (mut encoded, mut key) = (Vec::new(), Vec::new());
    record.encode_key(&mut encoded);
    state_key::build(
        &mut key,
        MaxParallelism::DEFAULT.key_group(key_hash(&encoded)),
        StateId(state),
        &encoded,
    );
    if let Some(entry) = entry {
        entry.encode_key(&mut key);
    }
    key
}

fn put(state: u16, record: u64, value: &str) -> Step {
    Step::Put(key_of(state, record, None), value.as_bytes().to_vec())
}

fn add(state: u16, record: u64, number: u64) -> Step {
    Step::Merge(key_of(state, record, None), number.to_le_bytes().to_vec())
}

fn append(state: u16, record: u64, element: &str) -> Step {
    let mut operand = Vec::new();
    push_list_element(&mut operand, element.as_bytes());
    Step::Merge(key_of(state, record, None), operand)
}

/// Long enough to be kept apart from its key.
fn long(what: &str) -> String {
    what.repeat(6000 / what.len())
}

/// The whole life: two checkpoints, tables of two flushes, deltas of what came later.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    for record in 0..24 {
        let name = format!("user {record}, ");
        steps.push(put(PROFILE, record, &if record % 10 == 0 { long(&name) } else { name.clone() }));
        steps.push(put(SESSION, record, &if record % 10 == 1 { long(&name) } else { name }));
        steps.push(add(TOTAL, record, record));
        steps.push(add(RATE, record, 1));
        steps.push(append(EVENTS, record, &format!("login {record}")));
        steps.push(append(ALERTS, record, "first"));
        steps.extend((0..5).map(|item| Step::Put(key_of(CART, record, Some(item)), vec![item as u8; 9])));
    }
    steps.extend([Step::Flush, Step::Pause]);
    for record in 0..24 {
        match record % 3 {
            0 => steps.push(put(PROFILE, record, "changed")),
            1 => steps.push(Step::Delete(key_of(PROFILE, record, None))),
            _ => steps.push(Step::Clear(key_of(CART, record, None))),
        }
        if record % 2 == 0 {
            steps.push(add(TOTAL, record, 100));
            steps.push(add(RATE, record, 10));
            steps.push(append(ALERTS, record, "second"));
            steps.push(put(
                SESSION,
                record,
                &if record % 8 == 0 { long("renewed ") } else { "renewed".into() },
            ));
        } else {
            steps.push(append(EVENTS, record, ""));
            steps.push(Step::Delete(key_of(CART, record, Some(1))));
        }
        if record % 5 == 0 {
            steps.push(Step::Put(key_of(CART, record, Some(9)), b"again".to_vec()));
        }
    }
    steps.push(Step::Flush);
    for record in (0..24).step_by(4) {
        steps.push(put(PROFILE, record, "changed again"));
        steps.push(add(TOTAL, record, 1000));
        steps.push(append(EVENTS, record, "last"));
        steps.push(Step::Clear(key_of(CART, record + 1, None)));
    }
    steps.push(Step::Checkpoint);
    for record in 24..30 {
        steps.push(put(PROFILE, record, "late"));
        steps.push(add(TOTAL, record - 1, 5));
        steps.push(Step::Delete(key_of(TOTAL, record - 20, None)));
    }
    steps.push(Step::Checkpoint);
    steps
}

/// A key's value with the time of each update: of the whole, or of a list's elements.
type Updated = Vec<(Duration, Vec<u8>)>;
type Held = BTreeMap<Vec<u8>, Updated>;

/// What readers see at each checkpoint, at a time so long after the first step.
pub(crate) fn expected(read_after: Duration) -> Vec<BTreeMap<Vec<u8>, Vec<u8>>> {
    let (mut held, mut now, mut checkpoints) = (Held::new(), Duration::ZERO, Vec::new());
    for step in steps() {
        match step {
            Step::Put(key, value) => drop(held.insert(key, vec![(now, value)])),
            Step::Merge(key, operand) => merge(&key, held.entry(key.clone()).or_default(), now, operand),
            Step::Delete(key) => drop(held.remove(&key)),
            Step::Clear(prefix) => held.retain(|key, _| !key.starts_with(&prefix)),
            Step::Flush => {}
            Step::Pause => now += PAUSE,
            Step::Checkpoint => checkpoints.push(visible(&held, read_after)),
        }
    }
    checkpoints
}

fn merge(key: &[u8], updated: &mut Updated, now: Duration, operand: Vec<u8>) {
    let is_sum = matches!(state_of(key), TOTAL | RATE);
    match updated.last_mut() {
        Some((at, sum)) if is_sum => {
            *sum = (number(sum) + number(&operand)).to_le_bytes().to_vec();
            *at = now;
        }
        _ => updated.push((now, operand)),
    }
}

fn state_of(key: &[u8]) -> u16 {
    state_key::split(key).expect("a state key").1.0
}

fn visible(held: &Held, read_after: Duration) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut seen = BTreeMap::new();
    for (key, updated) in held {
        let state = usize::from(state_of(key));
        let ttl = states()[state].ttl.map(|ttl| ttl.duration);
        let lives = |at: Duration| ttl.is_none_or(|ttl| read_after < at + ttl);
        let parts: Vec<&[u8]> =
            updated.iter().filter(|(at, _)| lives(*at)).map(|(_, part)| &part[..]).collect();
        if !parts.is_empty() {
            seen.insert(key.clone(), parts.concat());
        }
    }
    seen
}
