//! `alluvium sst verify`: checks every byte of tables, value files and deltas and says what is wrong, where.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_forst::inspect::{Finding, Report, verify_delta, verify_table, verify_values};
use serde::Serialize;

use super::objects::{Found, Kind, Objects};
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
    value_files: u64,
    deltas: u64,
    bytes: u64,
    /// Of tables and deltas.
    entries: u64,
    /// Of value files.
    values: u64,
    damaged_objects: u64,
    findings: u64,
    /// Objects that a running job deleted before they could be read.
    gone_objects: u64,
}

/// Checks the objects that a URL names.
///
/// # Errors
/// `Corruption` if something is wrong with one of them, or what reading fails with.
pub(super) fn run(args: &VerifyArgs, io: &IoRuntime) -> Result<()> {
    let objects = Objects::all(&args.url, io)?;
    let checked = Arc::new(AtomicU64::new(0));
    let all_bytes = objects.found.iter().map(|object| object.size_bytes).sum();
    let (seen, mut pace) = (Arc::clone(&checked), Pace::default());
    let progress = ProgressLine::start(Some(all_bytes), move |now| {
        let position = seen.load(Ordering::Relaxed);
        let rate = pace.rate(position, now) >> 20;
        Seen { position, message: format!("{} MiB  {rate} MiB/s", grouped(position >> 20)) }
    })?;
    let (mut out, mut total) = (Output::new(), Total::default());
    for object in &objects.found {
        let mut advance = |bytes| {
            checked.fetch_add(bytes, Ordering::Relaxed);
        };
        match total.verify(&objects, object, &mut advance) {
            Ok(report) => told(&objects.url(object), &report, (args, &mut out, &mut total))?,
            Err(_) if objects.is_gone(object) => total.gone_objects += 1,
            Err(error) => return Err(error.context(objects.url(object))),
        }
    }
    drop(progress);
    if args.json {
        out.json(&Line::Summary(&total))?;
    } else {
        out.line(&total.for_a_person())?;
    }
    out.finish()?;
    total.verdict(&objects.found)
}

/// Prints the findings of one object and adds them up.
fn told(
    object: &str,
    report: &Report<()>,
    (args, out, total): (&VerifyArgs, &mut Output, &mut Total),
) -> Result<()> {
    total.findings += report.findings.len() as u64 + report.more_findings;
    total.damaged_objects += u64::from(!report.is_sound());
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

/// The findings of a report, whatever they are of.
fn findings<S>(report: Report<S>) -> Report<()> {
    let Report { findings, more_findings, .. } = report;
    Report { summary: (), findings, more_findings }
}

impl Total {
    /// Checks an object and counts what it holds.
    fn verify(
        &mut self,
        objects: &Objects,
        object: &Found,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Report<()>> {
        let bytes = objects.read(object);
        let report = match object.kind {
            Kind::Table => {
                let report = verify_table(&bytes, progress)?;
                self.tables += 1;
                self.entries += report.summary.entries;
                findings(report)
            }
            Kind::ValueFile => {
                let report = verify_values(&bytes, progress)?;
                self.value_files += 1;
                self.values += report.summary.records;
                findings(report)
            }
            Kind::Delta => {
                let report = verify_delta(&bytes, progress)?;
                self.deltas += 1;
                self.entries += report.summary.entries;
                findings(report)
            }
        };
        self.bytes += object.size_bytes;
        Ok(report)
    }

    fn for_a_person(&self) -> String {
        let Self { findings, damaged_objects, gone_objects, .. } = self;
        let verdict = match findings {
            0 => "sound".to_owned(),
            _ => format!("{} wrong in {} of them", grouped(*findings), grouped(*damaged_objects)),
        };
        let gone = match gone_objects {
            0 => String::new(),
            _ => format!("; {} more were deleted by their job meanwhile", grouped(*gone_objects)),
        };
        let [tables, value_files, deltas, bytes, entries, values] =
            [self.tables, self.value_files, self.deltas, self.bytes, self.entries, self.values].map(grouped);
        format!(
            "{tables} tables, {value_files} value files, {deltas} deltas; {bytes} bytes, {entries} entries, {values} values \
             apart: {verdict}{gone}"
        )
    }

    fn verdict(&self, objects: &[Found]) -> Result<()> {
        if self.findings == 0 {
            return Ok(());
        }
        let (damaged, all) = (self.damaged_objects, objects.len());
        Err(Error::corruption(format!(
            "of {all} objects {damaged} are damaged; restore a checkpoint that does not need them, or the objects from a copy"
        )))
    }
}
