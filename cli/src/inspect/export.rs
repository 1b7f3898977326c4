//! `alluvium savepoint export`: everything that a checkpoint holds, a line an entry.
use alluvium_env::{Entropy, IoRuntime, Result};
use alluvium_forst::Operands;
use serde::Serialize;

use super::entries::Line as EntryLine;
use super::held::{Held, HeldEntry};
use super::output::Output;
use super::savepoint_args::{ExportArgs, Format};
use super::state_args::TypeArgs;
use super::values::{Kind, Values};

/// An entry, as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    state: &'a str,
    kind: &'a str,
    #[serde(flatten)]
    entry: EntryLine,
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
            let entry = EntryLine::of((key_group, &encoded), values.shown_of(&stored)?, &args.types);
            out.json(&Line { state, kind, entry })?;
        }
    }
    out.finish()
}

/// How values of a kind are shown.
pub(super) fn values<'a>(kind: &str, types: &TypeArgs, operands: &'a Operands) -> Values<'a> {
    let TypeArgs { value_type, sum, .. } = *types;
    Values { kind: Kind::named(kind), value_type, sum, operands }
}
