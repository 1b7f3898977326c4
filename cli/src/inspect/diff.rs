//! `alluvium savepoint diff`: in what two checkpoints differ, state by state and key by key.
//!
//! Both are passed over once a state, in step, so that memory holds one entry of each. Entries of a reducing or aggregating
//! state that nobody has folded cannot be compared without the function: where the operands differ they are said to be
//! *uncertain*, unless `--sum` folds them.
use std::cmp::Ordering;

use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_forst::Operands;
use serde::Serialize;

use super::export::values;
use super::held::{Held, HeldEntry, Pass};
use super::keys::{Split, user_key};
use super::output::Output;
use super::savepoint_args::{DiffArgs, located};
use super::shown::Shown;
use super::values::{Content, Values};
use crate::results::grouped;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Difference(&'a Difference<'a>),
    State { state: &'a str, only_in: &'static str },
    Summary(&'a Summary),
}

/// A key of which both hold something else.
#[derive(Serialize)]
struct Difference<'a> {
    state: &'a str,
    change: Change,
    key_group: u16,
    key: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_key: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Content>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Content>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Added,
    Removed,
    Changed,
    /// Operands differ, and what they fold to is not known.
    Uncertain,
}

#[derive(Default, Serialize)]
struct Summary {
    equal: u64,
    added: u64,
    removed: u64,
    changed: u64,
    uncertain: u64,
}

struct Diff<'a> {
    args: &'a DiffArgs,
    out: Output,
    left: u64,
    summary: Summary,
}

/// Prints the differences.
///
/// # Errors
/// What opening or reading either fails with; `Invalid` if neither has the state that is asked for.
pub(super) fn run(args: &DiffArgs, io: &IoRuntime) -> Result<()> {
    let open = |text: &str| {
        let (location, id) = located(text);
        Held::open(location, id, io)
    };
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    if let Some(only) = &args.only {
        before.check(only).or_else(|_| after.check(only))?;
    }
    let (out, left) = (Output::new(), args.limit.unwrap_or(u64::MAX));
    let mut diff = Diff { args, out, left, summary: Summary::default() };
    let mut states: Vec<&(String, String)> = before.states.iter().chain(&after.states).collect();
    states.sort();
    states.dedup();
    let operands = Operands::new(&Entropy::from_os());
    for (state, kind) in
        states.into_iter().filter(|(name, _)| args.only.as_ref().is_none_or(|only| only == name))
    {
        let here =
            |held: &Held| held.states.iter().find(|(name, _)| name == state).map(|(_, kind)| kind.clone());
        let kinds = (here(&before), here(&after));
        if let (Some(a), Some(b)) = &kinds
            && a != b
        {
            return Err(Error::invalid(format!(
                "state {state} is a {a} in {} and a {b} in {}: they cannot be compared",
                before.place(),
                after.place()
            )));
        }
        diff.only_in(state, (kinds.0.is_some(), kinds.1.is_some()))?;
        diff.state(state, &values(kind, &args.types, &operands), (before.pass(state), after.pass(state)))?;
    }
    diff.finish()
}

impl Diff<'_> {
    fn only_in(&mut self, state: &str, there: (bool, bool)) -> Result<()> {
        let only_in = match there {
            (true, false) => "before",
            (false, true) => "after",
            _ => return Ok(()),
        };
        if self.args.json {
            return self.out.json(&Line::State { state, only_in });
        }
        let which = if only_in == "before" { &self.args.before } else { &self.args.after };
        self.out.line(&format!("only {which} has state {state}"))
    }

    /// Passes over a state of both, in step.
    fn state(
        &mut self,
        state: &str,
        values: &Values<'_>,
        (mut a, mut b): (Pass<'_>, Pass<'_>),
    ) -> Result<()> {
        let (mut before, mut after) = (a.next_entry()?, b.next_entry()?);
        loop {
            let order = match (&before, &after) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(x), Some(y)) => (x.key_group, &x.encoded).cmp(&(y.key_group, &y.encoded)),
            };
            let (gone, come) = match order {
                Ordering::Less => (std::mem::replace(&mut before, a.next_entry()?), None),
                Ordering::Greater => (None, std::mem::replace(&mut after, b.next_entry()?)),
                Ordering::Equal => (
                    std::mem::replace(&mut before, a.next_entry()?),
                    std::mem::replace(&mut after, b.next_entry()?),
                ),
            };
            self.key(state, values, (gone, come))?;
        }
    }

    fn key(
        &mut self,
        state: &str,
        values: &Values<'_>,
        (before, after): (Option<HeldEntry>, Option<HeldEntry>),
    ) -> Result<()> {
        let Some(HeldEntry { key_group, encoded, .. }) = before.clone().or_else(|| after.clone()) else {
            return Ok(());
        };
        let content = |entry: Option<HeldEntry>| {
            entry.map(|entry| values.shown_of(&entry.values).map(|(content, _)| content)).transpose()
        };
        let same_bytes = before == after;
        let (before, after) = (content(before)?, content(after)?);
        let change = match (&before, &after) {
            _ if same_bytes || before == after => {
                self.summary.equal += 1;
                return Ok(());
            }
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(Content::Operands(_)), _) | (_, Some(Content::Operands(_))) => Change::Uncertain,
            _ => Change::Changed,
        };
        *match change {
            Change::Added => &mut self.summary.added,
            Change::Removed => &mut self.summary.removed,
            Change::Changed => &mut self.summary.changed,
            Change::Uncertain => &mut self.summary.uncertain,
        } += 1;
        let Some(left) = self.left.checked_sub(1) else { return Ok(()) };
        self.left = left;
        let Split { key, rest } = self.args.types.key_type.split(&encoded);
        let user_key = (!rest.is_empty()).then(|| user_key(rest));
        self.tell(&Difference { state, change, key_group, key, user_key, before, after })
    }

    fn tell(&mut self, difference: &Difference<'_>) -> Result<()> {
        if self.args.json {
            return self.out.json(&Line::Difference(difference));
        }
        let Difference { state, change, key, user_key, before, after, .. } = difference;
        let shown = |content: &Option<Content>| content.as_ref().map_or_else(String::new, Content::to_string);
        let sign = match change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed => '~',
            Change::Uncertain => '?',
        };
        let place =
            user_key.as_ref().map_or_else(|| key.to_string(), |user_key| format!("{key}\t{user_key}"));
        let (before, after) = (shown(before), shown(after));
        let arrow = if before.is_empty() || after.is_empty() { "" } else { " → " };
        self.out.line(&format!("{sign} {state}\t{place}\t{before}{arrow}{after}"))
    }

    fn finish(mut self) -> Result<()> {
        if self.args.json {
            self.out.json(&Line::Summary(&self.summary))?;
        } else {
            let Summary { equal, added, removed, changed, uncertain } = self.summary;
            let [equal, added, removed, changed] = [equal, added, removed, changed].map(grouped);
            let unsure = match uncertain {
                0 => String::new(),
                keys => format!(", {} not folded and therefore uncertain (see --sum)", grouped(keys)),
            };
            self.out.line(&format!(
                "{added} added, {removed} removed, {changed} changed, {equal} equal{unsure}"
            ))?;
        }
        self.out.finish()
    }
}
