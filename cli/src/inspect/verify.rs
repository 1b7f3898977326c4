//! `alluvium sst verify`: checks every byte of tables, value files and deltas, and what checkpoints say of them; says what is
//! wrong, where, and what is missing.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_env::{Error, ErrorKind, IoRuntime, Result};
use alluvium_forst::inspect::{
    Finding, Report, verify_delta, verify_hint, verify_pack, verify_page, verify_table, verify_values,
};
use alluvium_state_api::CheckpointId;
use serde::Serialize;

use super::named::NamedObjects;
use super::objects::{Found, Kind, Objects};
use super::output::Output;
use crate::progress::{Pace, ProgressLine, Seen};
use crate::results::grouped;

/// What to verify, and how to tell.
pub(super) struct ToVerify<'a> {
    pub(super) url: &'a str,
    /// Only the ends of objects are read.
    pub(super) quick: bool,
    pub(super) json: bool,
    /// Only what checkpoints name.
    pub(super) named_only: bool,
    /// Only what this one names.
    pub(super) checkpoint: Option<u64>,
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Finding { object: &'a str, offset: u64, part: &'a str, expected: &'a str, found: &'a str },
    Missing { object: &'a str, size_bytes: u64, needed_by: &'a str },
    Orphan { object: &'a str, size_bytes: u64 },
    Summary(&'a Total),
}

/// What was verified.
#[derive(Default, Serialize)]
struct Total {
    tables: u64,
    value_files: u64,
    deltas: u64,
    /// Of manifests.
    pages: u64,
    /// Of canonical savepoints.
    entry_files: u64,
    bytes: u64,
    /// Of tables and deltas.
    entries: u64,
    /// Of value files.
    values: u64,
    damaged_objects: u64,
    findings: u64,
    /// Objects that retained checkpoints name.
    named_objects: u64,
    /// Those of them that are not there.
    missing_objects: u64,
    /// Objects that no retained checkpoint names; 0 if there is no checkpoint.
    orphans: u64,
    orphan_bytes: u64,
    /// Objects that a running job deleted before they could be read.
    gone_objects: u64,
}

/// Checks the objects that a URL names.
///
/// # Errors
/// `Corruption` if something is wrong with one of them or missing, or what reading fails with.
pub(super) fn run(args: &ToVerify<'_>, io: &IoRuntime) -> Result<()> {
    let (objects, mut named) = Objects::all(args.url, io)?;
    if let Some(id) = args.checkpoint {
        named.keep(CheckpointId(id))?;
    }
    if args.quick && named.is_empty() {
        return Err(Error::invalid(format!(
            "--quick compares objects with what checkpoints say of them, and there is no checkpoint in {}; give a state's \
             URL",
            args.url
        )));
    }
    let mut total = Total { named_objects: named.iter().count() as u64, ..Total::default() };
    let mut out = Output::new();
    check_all(args, (&objects, &named), (&mut out, &mut total))?;
    lost_and_found(args, (&objects, &named), (&mut out, &mut total))?;
    if args.json {
        out.json(&Line::Summary(&total))?;
    } else {
        out.line(&total.for_a_person(args.quick))?;
    }
    out.finish()?;
    total.verdict(&objects.found)
}

/// Checks what is there.
fn check_all(
    args: &ToVerify<'_>,
    (objects, named): (&Objects, &NamedObjects),
    (out, total): (&mut Output, &mut Total),
) -> Result<()> {
    let to_check = || {
        let only_named = args.quick || args.named_only;
        objects.found.iter().filter(move |object| !only_named || named.get(&object.name).is_some())
    };
    let checked = Arc::new(AtomicU64::new(0));
    let all_bytes = to_check().map(|object| object.size_bytes).sum();
    let (seen, mut pace) = (Arc::clone(&checked), Pace::default());
    let _progress = ProgressLine::start(Some(all_bytes), move |now| {
        let position = seen.load(Ordering::Relaxed);
        let rate = pace.rate(position, now) >> 20;
        Seen { position, message: format!("{} MiB  {rate} MiB/s", grouped(position >> 20)) }
    })?;
    for object in to_check() {
        let mut advance = |bytes| {
            checked.fetch_add(bytes, Ordering::Relaxed);
        };
        let report = if args.quick {
            advance(object.size_bytes);
            Ok(total.count(object))
        } else {
            total.verify(objects, object, &mut advance)
        };
        // Of a damaged object more need not be said.
        let compared = report.and_then(|report| match named.get(&object.name) {
            Some(named) if report.is_sound() || named.size_bytes() != object.size_bytes => {
                named.check(&objects.read(object)).map(|compared| joined(compared, report))
            }
            _ => Ok(report),
        });
        match compared {
            Ok(report) => told(&objects.url(&object.name), &report, (args, out, total))?,
            Err(_) if objects.is_gone(object) => total.gone_objects += 1,
            Err(error) => return Err(error.context(objects.url(&object.name))),
        }
    }
    Ok(())
}

/// Names what checkpoints need and is not there, and what is there and no checkpoint needs.
fn lost_and_found(
    args: &ToVerify<'_>,
    (objects, named): (&Objects, &NamedObjects),
    (out, total): (&mut Output, &mut Total),
) -> Result<()> {
    let (missing, dropped) = objects.missing(named)?;
    total.missing_objects = missing.len() as u64;
    total.gone_objects += dropped;
    for (name, needed) in missing.iter().filter_map(|name| Some((name, named.get(name)?))) {
        let (object, size_bytes, needed_by) = (objects.url(name), needed.size_bytes(), needed.needed_by());
        if args.json {
            out.json(&Line::Missing { object: &object, size_bytes, needed_by: &needed_by })?;
        } else {
            out.line(&format!("{object} is missing: its {size_bytes} bytes are needed by {needed_by}"))?;
        }
    }
    if named.is_empty() || args.named_only {
        return Ok(());
    }
    for orphan in objects.found.iter().filter(|object| named.get(&object.name).is_none()) {
        total.orphans += 1;
        total.orphan_bytes += orphan.size_bytes;
        if args.json {
            out.json(&Line::Orphan { object: &objects.url(&orphan.name), size_bytes: orphan.size_bytes })?;
        }
    }
    Ok(())
}

/// Prints the findings of one object and adds them up.
fn told(
    object: &str,
    report: &Report<()>,
    (args, out, total): (&ToVerify<'_>, &mut Output, &mut Total),
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

/// The findings of both.
fn joined(mut one: Report<()>, other: Report<()>) -> Report<()> {
    one.findings.extend(other.findings);
    one.more_findings += other.more_findings;
    one
}

/// The findings of a report, whatever they are of.
fn findings<S>(report: Report<S>) -> Report<()> {
    let Report { findings, more_findings, .. } = report;
    Report { summary: (), findings, more_findings }
}

/// What is wrong with a file of entries; the error says where.
fn of_entries(error: &Error) -> Report<()> {
    let (part, expected, found) = ("entries".to_owned(), "what was written".to_owned(), error.to_string());
    Report { findings: vec![Finding { offset: 0, part, expected, found }], ..Report::default() }
}

impl Total {
    /// Counts an object without looking into it.
    fn count(&mut self, object: &Found) -> Report<()> {
        let count = match object.kind {
            Kind::Table => &mut self.tables,
            Kind::ValueFile => &mut self.value_files,
            Kind::Delta | Kind::Pack | Kind::Hint => &mut self.deltas,
            Kind::Page => &mut self.pages,
            Kind::Entries => &mut self.entry_files,
        };
        *count += 1;
        self.bytes += object.size_bytes;
        Report::default()
    }

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
                self.entries += report.summary.entries;
                findings(report)
            }
            Kind::ValueFile => {
                let report = verify_values(&bytes, progress)?;
                self.values += report.summary.records;
                findings(report)
            }
            Kind::Delta | Kind::Pack | Kind::Hint => {
                let verify = match object.kind {
                    Kind::Pack => verify_pack,
                    Kind::Hint => verify_hint,
                    _ => verify_delta,
                };
                let report = verify(&bytes, progress)?;
                self.entries += report.summary.entries;
                findings(report)
            }
            Kind::Page => verify_page(&bytes, progress)?,
            Kind::Entries => {
                progress(object.size_bytes);
                match objects.verify_entries(object) {
                    Ok(entries) => self.entries += entries,
                    Err(error) if error.kind() == ErrorKind::Corruption => {
                        self.count(object);
                        return Ok(of_entries(&error));
                    }
                    Err(error) => return Err(error),
                }
                Report::default()
            }
        };
        self.count(object);
        Ok(report)
    }

    fn for_a_person(&self, quick: bool) -> String {
        let Self { findings, damaged_objects, missing_objects, gone_objects, .. } = self;
        let verdict = match (findings, missing_objects) {
            (0, 0) => "sound".to_owned(),
            (0, missing) => format!("{} missing", grouped(*missing)),
            (_, 0) => format!("{} wrong in {} of them", grouped(*findings), grouped(*damaged_objects)),
            (_, missing) => format!(
                "{} wrong in {} of them, {} more missing",
                grouped(*findings),
                grouped(*damaged_objects),
                grouped(*missing)
            ),
        };
        let gone = match gone_objects {
            0 => String::new(),
            _ => format!("; {} more were deleted by their job meanwhile", grouped(*gone_objects)),
        };
        let orphans = match self.orphans {
            0 => String::new(),
            orphans => format!(
                "; {} of {} bytes are in no retained checkpoint",
                grouped(orphans),
                grouped(self.orphan_bytes)
            ),
        };
        let [tables, value_files, deltas, bytes, entries, values] =
            [self.tables, self.value_files, self.deltas, self.bytes, self.entries, self.values].map(grouped);
        // What was not read was not counted.
        let held = if quick { String::new() } else { format!(", {entries} entries, {values} values apart") };
        let seldom =
            |count, what| if count == 0 { String::new() } else { format!(", {} {what}", grouped(count)) };
        let [pages, canonical] = [seldom(self.pages, "pages"), seldom(self.entry_files, "files of entries")];
        format!(
            "{tables} tables, {value_files} value files, {deltas} deltas{pages}{canonical}; {bytes} bytes{held}: {verdict}{orphans}{gone}"
        )
    }

    fn verdict(&self, objects: &[Found]) -> Result<()> {
        let (damaged, missing, all) = (self.damaged_objects, self.missing_objects, objects.len());
        let missed = format!("{missing} objects that retained checkpoints need are missing");
        let found = match (self.findings, missing) {
            (0, 0) => return Ok(()),
            (0, _) => missed,
            (_, 0) => format!("of {all} objects {damaged} are damaged"),
            _ => format!("of {all} objects {damaged} are damaged, and {missed}"),
        };
        Err(Error::corruption(format!(
            "{found}; restore a checkpoint that does not need them, or the objects from a copy"
        )))
    }
}
