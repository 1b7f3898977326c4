//! `alluvium sst verify`: checks every byte of tables and says what is wrong, where.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_forst::inspect::{Finding, TableReport, verify_table};
use serde::Serialize;

use super::objects::{Table, Tables};
use super::output::Output;
use super::sst_args::VerifyArgs;
use crate::progress::{Pace, ProgressLine, Seen};
use crate::results::grouped;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Finding { object: &'a str, offset: u64, part: &'a str, expected: &'a str, found: &'a str },
    Summary(&'a Total),
}

/// What was verified.
#[derive(Default, Serialize)]
struct Total {
    tables: u64,
    bytes: u64,
    entries: u64,
    damaged_tables: u64,
    findings: u64,
    /// Tables that a running job deleted before they could be read.
    gone_tables: u64,
}

/// Checks the tables that a URL names.
///
/// # Errors
/// `Corruption` if something is wrong with one of them, or what reading fails with.
pub(super) fn run(args: &VerifyArgs, io: &IoRuntime) -> Result<()> {
    let tables = Tables::all(&args.url, io)?;
    let checked = Arc::new(AtomicU64::new(0));
    let all_bytes = tables.found.iter().map(|table| table.size_bytes).sum();
    let (seen, mut pace) = (Arc::clone(&checked), Pace::default());
    let progress = ProgressLine::start(Some(all_bytes), move |now| {
        let position = seen.load(Ordering::Relaxed);
        let rate = pace.rate(position, now) >> 20;
        Seen { position, message: format!("{} MiB  {rate} MiB/s", grouped(position >> 20)) }
    })?;
    let (mut out, mut total) = (Output::new(), Total::default());
    for table in &tables.found {
        let object = tables.read(table);
        let mut advance = |bytes| {
            checked.fetch_add(bytes, Ordering::Relaxed);
        };
        match verify_table(&object, &mut advance) {
            Ok(report) => told(&tables.url(table), &report, (args, &mut out, &mut total))?,
            Err(_) if tables.is_gone(table) => total.gone_tables += 1,
            Err(error) => return Err(error),
        }
    }
    drop(progress);
    if args.json {
        out.json(&Line::Summary(&total))?;
    } else {
        out.line(&total.for_a_person())?;
    }
    out.finish()?;
    total.verdict(&tables.found)
}

/// Prints the findings of one table and adds it up.
fn told(
    object: &str,
    report: &TableReport,
    (args, out, total): (&VerifyArgs, &mut Output, &mut Total),
) -> Result<()> {
    total.tables += 1;
    total.bytes += report.summary.size_bytes;
    total.entries += report.summary.entries;
    total.findings += report.findings.len() as u64 + report.more_findings;
    total.damaged_tables += u64::from(!report.is_sound());
    for finding in &report.findings {
        if args.json {
            let Finding { offset, part, expected, found } = finding;
            out.json(&Line::Finding { object, offset: *offset, part, expected, found })?;
        } else {
            out.line(&format!("{object}: {finding}"))?;
        }
    }
    if report.more_findings > 0 && !args.json {
        out.line(&format!("{object}: and {} more", grouped(report.more_findings)))?;
    }
    out.finish()
}

impl Total {
    fn for_a_person(&self) -> String {
        let Self { tables, bytes, entries, findings, damaged_tables, gone_tables } = self;
        let verdict = match findings {
            0 => "sound".to_owned(),
            _ => format!("{} wrong in {} of them", grouped(*findings), grouped(*damaged_tables)),
        };
        let gone = match gone_tables {
            0 => String::new(),
            _ => format!("; {} more were deleted by their job meanwhile", grouped(*gone_tables)),
        };
        let (tables, bytes, entries) = (grouped(*tables), grouped(*bytes), grouped(*entries));
        format!("{tables} tables, {bytes} bytes, {entries} entries: {verdict}{gone}")
    }

    fn verdict(&self, tables: &[Table]) -> Result<()> {
        if self.findings == 0 {
            return Ok(());
        }
        let (damaged, all) = (self.damaged_tables, tables.len());
        Err(Error::corruption(format!(
            "of {all} tables {damaged} are damaged; restore a checkpoint that does not need them, or the objects from a copy"
        )))
    }
}
