//! `alluvium gc`: finds what no retained checkpoint names, says what and how much it is, and deletes it.
//!
//! **Failure**: whatever stops it half-way leaves garbage for the next time, and nothing else.
use std::sync::Arc;

use alluvium_checkpoint::{Garbage, GarbageReport, Orphan};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_host::storage::{self, Storage};
use clap::Args;
use serde::Serialize;

use crate::inspect::Output;
use crate::units::ByteSize;
use crate::{Failure, state};

/// After the options.
pub(crate) const EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  What would go, and how much it is:
    alluvium gc --state s3://bucket/words --dry-run

  Delete it; a job that still runs on it ends:
    alluvium gc --state s3://bucket/words --take-over

\x1b[1;33mExit codes:\x1b[0m
  0  all garbage is gone, or was shown
  1  failed, or something could not be deleted
  2  wrong usage";

/// Threads for requests.
const IO_THREADS: usize = 2;

/// Options of `alluvium gc`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(crate) struct GcArgs {
    #[arg(
        long,
        help = "Where the state lives: file:///… or s3://bucket/prefix, or a folder",
        value_name = "URL"
    )]
    state: String,

    /// Delete nothing, claim nothing: show what would go
    #[arg(long)]
    dry_run: bool,

    /// Fence a job that may still run on the state: it ends
    #[arg(long, conflicts_with = "dry_run")]
    take_over: bool,

    /// Give up a state that was begun from another one's checkpoint and has none of its own: what it brought from there goes as well,
    /// and it cannot be begun from there again
    #[arg(long, conflicts_with = "dry_run")]
    abandon: bool,

    /// A line of JSON for each object, and one for the sums
    #[arg(long)]
    json: bool,
}

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Orphan {
        name: &'a str,
        bytes: u64,
    },
    Garbage {
        url: &'a str,
        dry_run: bool,
        orphans: u64,
        bytes: u64,
        deleted: u64,
        named: u64,
        brought: u64,
        brought_bytes: u64,
    },
}

/// Shows and deletes.
///
/// # Errors
/// `Job` for what cannot be opened, listed or deleted.
pub(crate) fn run(args: &GcArgs) -> Result<(), Failure> {
    collect(args).map_err(Failure::Job)
}

fn collect(args: &GcArgs) -> Result<()> {
    let io = IoRuntime::new(IO_THREADS)?;
    let url = state::locate(&args.state)?;
    // What is not there is not made.
    let looked = storage::open_read_only(&url)?;
    // The lock of a folder tells whether a job runs on it.
    let owned = looked.local || !args.dry_run;
    let storage = if owned { state::open(Some(&url), "", &io)? } else { looked };
    if !storage.local && !args.dry_run && !args.take_over {
        return Err(Error::invalid(format!(
            "it cannot be seen whether a job runs on {}: look first with --dry-run, stop the job, and say --take-over, by \
             which a job that still runs ends",
            storage.url()
        )));
    }
    let mut out = Output::new();
    let report = io.block_on(async {
        let store = Arc::clone(&storage.store);
        let garbage = if args.dry_run {
            Garbage::look(store).await?
        } else if args.abandon {
            Garbage::abandon(store, &Entropy::from_os()).await?
        } else {
            Garbage::take_over(store, &Entropy::from_os()).await?
        };
        garbage.collect(&mut |orphan| show(orphan, args.json, &mut out)).await
    })?;
    sum_up(args, &storage, &report, &mut out)?;
    out.finish()?;
    let left = report.orphans - report.deleted;
    if !args.dry_run && left > 0 {
        let why = report.why_left.map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(Error::unavailable(format!(
            "{left} of {} objects could not be deleted in {}{why}; run it again",
            report.orphans,
            storage.url()
        )));
    }
    Ok(())
}

fn show(orphan: &Orphan, json: bool, out: &mut Output) -> Result<()> {
    let Orphan { name, size_bytes } = orphan;
    if json {
        return out.json(&Line::Orphan { name, bytes: *size_bytes });
    }
    out.line(&format!("{name}  {}", ByteSize(*size_bytes)))
}

fn sum_up(args: &GcArgs, storage: &Storage, report: &GarbageReport, out: &mut Output) -> Result<()> {
    let GarbageReport { orphans, orphan_bytes, deleted, named, brought, brought_bytes, .. } = *report;
    if args.json {
        let (url, dry_run, bytes) = (storage.url(), args.dry_run, orphan_bytes);
        return out.json(&Line::Garbage {
            url,
            dry_run,
            orphans,
            bytes,
            deleted,
            named,
            brought,
            brought_bytes,
        });
    }
    if let Some(from) = report.begun_from.as_ref().filter(|_| brought > 0) {
        let size = ByteSize(brought_bytes);
        out.line(&format!(
            "{brought} objects of {size} were brought from {from} and are kept for whoever begins the state from there again; \
             --abandon gives it up."
        ))?;
    }
    let size = ByteSize(orphan_bytes);
    let done =
        if args.dry_run { "Nothing was deleted".to_owned() } else { format!("{deleted} were deleted") };
    out.line(&format!(
        "{orphans} objects of {size} are garbage, {named} files are needed by checkpoints. {done}."
    ))
}
