//! `alluvium state get` and `alluvium state scan`: entries of one state of a checkpoint.
use std::sync::Arc;

use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_forst::Operands;
use alluvium_state_api::{KeyGroupRange, MaxParallelism, MergeOperator, key_hash, state_key};
use serde::Serialize;

use super::checkpoint::{self, Checkpoint};
use super::keys::{Split, user_key};
use super::operator_states;
use super::output::Output;
use super::part::{Part, Stored};
use super::shown::Shown;
use super::state_args::{CheckpointArgs, GetArgs, ScanArgs, TypeArgs};
use super::text::utc;
use super::values::{Content, Kind, Values};

/// An entry, as a line of JSON.
#[derive(Serialize)]
pub(super) struct Line {
    key_group: u16,
    key: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_key: Option<Shown>,
    #[serde(flatten)]
    content: Content,
    /// Of a state with a TTL.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<String>,
}

impl Line {
    /// Of an entry: its key as it is encoded, and what is stored, with when it was updated.
    pub(super) fn of(
        (key_group, encoded): (u16, &[u8]),
        (content, updated): (Content, Option<u64>),
        types: &TypeArgs,
    ) -> Self {
        let Split { key, rest } = types.key_type.split(encoded);
        let user_key = (!rest.is_empty()).then(|| user_key(rest));
        Self { key_group, key, user_key, content, updated_at: updated.map(utc) }
    }
}

/// Prints what a state holds of one key.
///
/// # Errors
/// `Invalid` if it holds nothing of it, or what reading fails with.
pub(super) fn get(args: &GetArgs, io: &IoRuntime) -> Result<()> {
    if args.operator {
        return get_of_operator_state(args, io);
    }
    let key = args.types.key_type.encode(&args.key)?;
    let lines = checkpoint::read(&args.checkpoint, io, |checkpoint| {
        let max = MaxParallelism::new(checkpoint.metadata.max_parallelism)?;
        let group = max.key_group(key_hash(&key)).0;
        let key_groups = KeyGroupRange { start: group, end: group + 1 };
        let mut lines = Vec::new();
        let wanted = Wanted { state: &args.state, key_groups, prefix: &key, types: &args.types };
        wanted.pass(checkpoint, &mut |line| {
            lines.push(line);
            Ok(true)
        })?;
        if lines.is_empty() {
            let (id, state, key) = (checkpoint.metadata.id, &args.state, &args.key);
            return Err(Error::invalid(format!(
                "checkpoint {id} has nothing of key {key:?} in state {state:?}"
            )));
        }
        Ok(lines)
    })?;
    let mut out = Output::new();
    for line in lines {
        match line.user_key {
            _ if args.checkpoint.json => out.json(&line)?,
            Some(user_key) => out.line(&format!("{user_key}\t{}", line.content))?,
            None => out.line(&line.content.to_string())?,
        }
    }
    out.finish()
}

/// Prints what a broadcast state holds of one key.
fn get_of_operator_state(args: &GetArgs, io: &IoRuntime) -> Result<()> {
    let checkpoint = Checkpoint::choose(&args.checkpoint, io)?;
    let entry = operator_states::entry(&checkpoint.metadata, args)?;
    let mut out = Output::new();
    if args.checkpoint.json {
        out.json(&entry)?;
    } else {
        out.line(&entry.value.to_string())?;
    }
    out.finish()
}

/// Prints the entries of a state.
///
/// # Errors
/// What opening or reading fails with.
pub(super) fn scan(args: &ScanArgs, io: &IoRuntime) -> Result<()> {
    let prefix =
        args.prefix.as_deref().map(|prefix| args.types.key_type.encode_prefix(prefix)).transpose()?;
    let CheckpointArgs { json, .. } = args.checkpoint;
    let checkpoint = Checkpoint::choose(&args.checkpoint, io)?;
    if args.operator {
        return scan_operator_state(args, &checkpoint);
    }
    let wanted = Wanted {
        state: &args.state,
        key_groups: checkpoint.key_groups(),
        prefix: prefix.as_deref().unwrap_or_default(),
        types: &args.types,
    };
    let (mut out, mut left) = (Output::new(), args.limit.unwrap_or(u64::MAX));
    // What was printed stays printed: a checkpoint that is dropped meanwhile is not replaced by another.
    let passed = wanted.pass(&checkpoint, &mut |line| {
        let Some(fewer) = left.checked_sub(1) else { return Ok(false) };
        left = fewer;
        match &line.user_key {
            _ if json => out.json(&line)?,
            Some(user_key) => out.line(&format!("{}\t{user_key}\t{}", line.key, line.content))?,
            None => out.line(&format!("{}\t{}", line.key, line.content))?,
        }
        Ok(left > 0)
    });
    passed.map_err(|error| checkpoint.explain(error))?;
    out.finish()
}

/// Prints the elements of an operator state.
fn scan_operator_state(args: &ScanArgs, checkpoint: &Checkpoint) -> Result<()> {
    let elements = operator_states::elements(&checkpoint.metadata, &args.state, args.types.value_type)?;
    let limit = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut out = Output::new();
    for element in elements.iter().take(limit) {
        match &element.key {
            _ if args.checkpoint.json => out.json(element)?,
            Some(key) => out.line(&format!("{key}\t{}", element.value))?,
            None => out.line(&element.value.to_string())?,
        }
    }
    out.finish()
}

/// Entries that are wanted.
struct Wanted<'a> {
    state: &'a str,
    key_groups: KeyGroupRange,
    /// Begins their encoded keys.
    prefix: &'a [u8],
    types: &'a TypeArgs,
}

impl Wanted<'_> {
    /// Passes over them until `seen` says that it is enough.
    fn pass(&self, checkpoint: &Checkpoint, seen: &mut dyn FnMut(Line) -> Result<bool>) -> Result<()> {
        let operands = Arc::new(Operands::new(&Entropy::from_os()));
        let fold: Arc<dyn MergeOperator> = Arc::clone(&operands) as Arc<dyn MergeOperator>;
        let (mut known, mut found) = (Vec::new(), false);
        for reader in checkpoint.readers(self.key_groups, &fold) {
            let reader = reader?;
            let states = reader.states();
            let Some((_, kind)) = states.iter().find(|(name, _)| *name == self.state) else {
                known = states.iter().map(|(name, _)| (*name).to_owned()).collect();
                continue;
            };
            found = true;
            let TypeArgs { value_type, sum, .. } = *self.types;
            let values = Values { kind: Kind::named(kind), value_type, sum, operands: &operands };
            if !self.pass_part(&reader, &values, seen)? {
                return Ok(());
            }
        }
        if found { Ok(()) } else { Err(checkpoint.no_state(self.state, &known)) }
    }

    /// Passes over those of one subtask; `false` if that is enough.
    fn pass_part(
        &self,
        reader: &Part,
        values: &Values<'_>,
        seen: &mut dyn FnMut(Line) -> Result<bool>,
    ) -> Result<bool> {
        let Some(mut scan) = reader.scan(self.state, self.key_groups, self.prefix)? else { return Ok(true) };
        while let Some((key, value)) = scan.next_entry()? {
            let (group, _, encoded) = state_key::split(key)?;
            let shown = match value {
                Stored::Value(value) => values.shown(value),
                Stored::Values(stored) => values.shown_of(stored)?,
            };
            if !seen(Line::of((group.0, encoded), shown, self.types))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
