//! `alluvium savepoint export`: everything that a checkpoint holds, a line an entry.
use alluvium_env::{Entropy, IoRuntime, Result};
use alluvium_forst::Operands;
use serde::Serialize;

use super::held::{Held, HeldEntry};
use super::keys::{Split, user_key};
use super::output::Output;
use super::savepoint_args::{ExportArgs, Format};
use super::shown::Shown;
use super::state_args::TypeArgs;
use super::text::utc;
use super::values::{Content, Kind, Values};

/// An entry, as a line of JSON.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    state: &'a str,
    kind: &'a str,
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

/// Prints all entries.
///
/// # Errors
/// What opening or reading the checkpoint fails with; `Invalid` if there is no such state.
pub(super) fn run(args: &ExportArgs, io: &IoRuntime) -> Result<()> {
    let Format::Jsonl = args.format;
    let held = Held::open(args.location(), args.checkpoint.0, io)?;
    if let Some(only) = &args.only {
        held.check(only)?;
    }
    let operands = Operands::new(&Entropy::from_os());
    let mut out = Output::new();
    for (state, kind) in &held.states {
        if args.only.as_ref().is_some_and(|only| only != state) {
            continue;
        }
        let values = values(kind, &args.types, &operands);
        let mut pass = held.pass(state);
        while let Some(HeldEntry { key_group, encoded, values: stored }) = pass.next_entry()? {
            let Split { key, rest } = args.types.key_type.split(&encoded);
            let user_key = (!rest.is_empty()).then(|| user_key(rest));
            let (content, updated) = values.shown_of(&stored)?;
            let updated_at = updated.map(utc);
            out.json(&Line { state, kind, key_group, key, user_key, content, updated_at })?;
        }
    }
    out.finish()
}

/// How values of a kind are shown.
pub(super) fn values<'a>(kind: &str, types: &TypeArgs, operands: &'a Operands) -> Values<'a> {
    let TypeArgs { value_type, sum, .. } = *types;
    Values { kind: Kind::named(kind), value_type, sum, operands }
}
