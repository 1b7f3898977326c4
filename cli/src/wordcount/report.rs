//! What the user reads at the end: on stdout the table and the figures, on stderr what is worth knowing besides.
use std::path::PathBuf;
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_host::storage::Storage;
use alluvium_host::{JobReport, Outcome};

use super::{Counts, resume};
use crate::args::WordcountArgs;
use crate::results::{
    Cache, Checkpoints, LastCheckpoint, Restored, Store, Summary, grouped, peak_rss_bytes, per_second,
    print_line, print_table,
};
use crate::units::ByteSize;

/// Says which files were left out.
pub(super) fn skipped(files: &[PathBuf]) {
    match files {
        [] => {}
        [one] => eprintln!("Skipped {}: not text (a NUL byte in its first KiB).", one.display()),
        [first, rest @ ..] => {
            let (first, more) = (first.display(), rest.len());
            eprintln!("Skipped {first} and {more} more: not text (a NUL byte in their first KiB).");
        }
    }
}

/// Prints everything about a job that ended well.
pub(super) fn print(
    args: &WordcountArgs,
    storage: &Storage,
    report: &JobReport,
    counts: Option<&Counts>,
) -> Result<()> {
    for note in &report.notes {
        eprintln!("{}", crate::sentence(note));
    }
    if let Some(counts) = counts.filter(|_| args.top > 0) {
        print_table(&counts.top)?;
    }
    let summary = summary(storage, report, counts);
    if args.json {
        let json = serde_json::to_string(&summary);
        print_line(&json.map_err(|e| Error::internal("cannot write the summary as JSON").with_source(e))?)?;
    } else {
        print_line(&for_a_person(&summary))?;
    }
    if report.outcome == Outcome::Stopped {
        eprintln!("{}", how_to_continue(args, report));
    } else if let Some(output) = args.output.as_ref().filter(|_| !args.json) {
        print_line(&format!("All counts, sorted by word: {}", output.display()))?;
    }
    Ok(())
}

fn how_to_continue(args: &WordcountArgs, report: &JobReport) -> String {
    match report.checkpoints.last {
        Some(_) if args.state_in_memory() => {
            "Stopped; its state was in memory only, so the next run starts from the beginning.".to_owned()
        }
        Some(last) => {
            let command = resume::command(std::env::args_os());
            format!("Stopped after checkpoint {}; continue with: {command}", last.id)
        }
        None => "Stopped before its first checkpoint; the next run starts from the beginning.".to_owned(),
    }
}

fn summary(storage: &Storage, report: &JobReport, counts: Option<&Counts>) -> Summary {
    let (requests, checkpoints) = (storage.requests.snapshot(), &report.checkpoints);
    Summary {
        records: report.records,
        distinct_keys: counts.map(|counts| counts.distinct),
        seconds: (report.seconds * 1e6).round() / 1e6,
        records_per_second: per_second(report.records, Duration::from_secs_f64(report.seconds)),
        parallelism: report.parallelism,
        peak_rss_bytes: peak_rss_bytes(),
        checkpoints: Checkpoints {
            completed: checkpoints.completed,
            failed: checkpoints.failed,
            last: checkpoints.last.map(|last| LastCheckpoint {
                id: last.id.0,
                sync_micros: last.sync_micros,
                async_millis: last.async_millis,
                uploaded_bytes: last.uploaded_bytes,
                inputs_kept: last.inputs_kept,
            }),
        },
        restore: Restored {
            checkpoint: report.restore.checkpoint,
            millis_to_first_record: report.restore.millis_to_first_record,
        },
        store: Store {
            gets: requests.gets,
            puts: requests.puts,
            deletes: requests.deletes,
            lists: requests.lists,
            bytes_read: requests.bytes_read,
            bytes_written: requests.bytes_written,
        },
        cache: Cache {
            memory_hits: report.backend.memory_hits,
            disk_hits: report.backend.disk_hits,
            misses: report.backend.misses,
        },
    }
}

fn for_a_person(summary: &Summary) -> String {
    let Summary { records, seconds, records_per_second, .. } = summary;
    let distinct =
        summary.distinct_keys.map_or_else(String::new, |keys| format!(", {} distinct", grouped(keys)));
    let checkpoints = match summary.checkpoints.completed {
        1 => "1 checkpoint".to_owned(),
        n => format!("{} checkpoints", grouped(n)),
    };
    format!(
        "{} words{distinct}, in {seconds:.2} s ({}/s); {checkpoints}; peak memory {}",
        grouped(*records),
        grouped(*records_per_second),
        ByteSize(summary.peak_rss_bytes)
    )
}
