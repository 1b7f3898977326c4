//! What the runs of a job came to: as a table for a person, as one JSON object for a script.
use std::time::Duration;

use alluvium_checkpoint::CompletedCheckpoint;
use alluvium_env::{Error, Result};
use alluvium_host::storage::StoreRequests;
use serde::Serialize;

use super::Run;
use super::conductor::Seen;
use super::script::Script;
use crate::bench::Place;
use crate::bench::args::BenchArgs;
use crate::bench::figures::{ratio, rounded};
use crate::bench::keys::KEY_BYTES;
use crate::results::{grouped, peak_rss_bytes, print_figures, print_line};
use crate::units::ByteSize;

#[derive(Debug, Serialize)]
struct Summary {
    case: &'static str,
    state: String,
    keys: u64,
    value_bytes: usize,
    memory_bytes: u64,
    latency_micros: u64,
    bandwidth_bytes_per_second: Option<u64>,
    interval_millis: u64,
    updates_per_second: u64,
    parallelism: u16,
    states: u16,
    load_seconds: f64,
    /// On the store when all runs were over.
    stored_bytes: u64,
    checkpoints: Checkpoints,
    restores: Vec<Restored>,
    peak_rss_bytes: u64,
}

/// Checkpoints that were triggered and completed while values changed.
#[derive(Debug, Serialize)]
struct Checkpoints {
    completed: usize,
    failed: u64,
    /// How long a task thread stood still.
    sync_micros: Spread,
    /// From the trigger to the entry in the ledger.
    millis: Spread,
    uploaded_bytes: f64,
    /// All that was sent to the store, by flushes and compactions too.
    written_bytes: f64,
    /// Keys and values that were written in the meantime.
    changed_bytes: f64,
    inputs_kept: f64,
    /// All requests, those of flushes, compactions and reads included.
    gets: f64,
    puts: f64,
    deletes: f64,
    lists: u64,
}

#[derive(Debug, Serialize)]
struct Spread {
    p50: u64,
    p99: u64,
    max: u64,
}

#[derive(Debug, Serialize)]
struct Restored {
    parallelism: u16,
    checkpoint: Option<u64>,
    /// From the start of the job until its first record was done.
    millis_to_first_record: Option<u64>,
    /// Until updates were as many as before.
    millis_to_old_rate: Option<u64>,
    /// Until every key was read back and found right.
    millis_to_all_read_back: Option<u64>,
    gets: u64,
    bytes_read: u64,
}

/// Prints the table, or the object with `--json`.
///
/// # Errors
/// `Unavailable` if stdout cannot be written, or the store not listed.
pub(super) fn print(
    args: &BenchArgs,
    place: &Place,
    script: &Script,
    begun: &Run,
    restored: &[Run],
) -> Result<()> {
    let summary = summary(args, place, script, begun, restored)?;
    if !args.json {
        return print_figures(&rows(&summary));
    }
    let json = serde_json::to_string(&summary);
    print_line(&json.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?)
}

fn summary(
    args: &BenchArgs,
    place: &Place,
    script: &Script,
    begun: &Run,
    restored: &[Run],
) -> Result<Summary> {
    Ok(Summary {
        case: "checkpoint",
        state: place.storage.url().to_owned(),
        keys: script.keys.count,
        value_bytes: script.values.bytes,
        memory_bytes: args.memory.0,
        latency_micros: args.latency.map_or(0, |delay| delay.0.as_micros() as u64),
        bandwidth_bytes_per_second: args.bandwidth.map(|size| size.0),
        interval_millis: millis(args.job.interval()),
        updates_per_second: script.rate,
        parallelism: begun.parallelism,
        states: script.states,
        load_seconds: rounded(begun.seen.load.as_secs_f64()),
        stored_bytes: place.scratch.stored_bytes()?,
        checkpoints: checkpoints(script, begun),
        restores: restored.iter().map(restore).collect(),
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn checkpoints(script: &Script, run: &Run) -> Checkpoints {
    let Seen { before, updates, requests, .. } = run.seen;
    let history = &run.report.checkpoints.history;
    // The first has what was there before; the last is that of the stop.
    let last = run.report.checkpoints.last.map_or(0, |last| last.id.0);
    let counted: Vec<&CompletedCheckpoint> =
        history.iter().filter(|checkpoint| (before + 2..last).contains(&checkpoint.id.0)).collect();
    let mean = |figure: &dyn Fn(&CompletedCheckpoint) -> u64| {
        let sum: u64 = counted.iter().map(|checkpoint| figure(checkpoint)).sum();
        ratio(sum, counted.len() as u64).unwrap_or(0.0)
    };
    let spread = |figure: &dyn Fn(&CompletedCheckpoint) -> u64| {
        let mut all: Vec<u64> = counted.iter().map(|checkpoint| figure(checkpoint)).collect();
        all.sort_unstable();
        let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().saturating_sub(1)));
        Spread {
            p50: at(50).copied().unwrap_or(0),
            p99: at(99).copied().unwrap_or(0),
            max: all.last().copied().unwrap_or(0),
        }
    };
    // Requests and updates are those of all the time of updates, in which one more was taken.
    let each = |count: u64| ratio(count, counted.len() as u64 + 1).unwrap_or(0.0);
    let record_bytes = (KEY_BYTES + script.values.bytes) as u64;
    let StoreRequests { gets, puts, deletes, lists, bytes_written, .. } = requests;
    Checkpoints {
        completed: counted.len(),
        failed: run.report.checkpoints.failed,
        sync_micros: spread(&|checkpoint| checkpoint.sync_micros),
        millis: spread(&|checkpoint| checkpoint.async_millis),
        uploaded_bytes: mean(&|checkpoint| checkpoint.uploaded_bytes),
        written_bytes: each(bytes_written),
        changed_bytes: each(updates * record_bytes),
        inputs_kept: mean(&|checkpoint| checkpoint.inputs_kept),
        gets: each(gets),
        puts: each(puts),
        deletes: each(deletes),
        lists,
    }
}

fn restore(run: &Run) -> Restored {
    Restored {
        parallelism: run.parallelism,
        checkpoint: run.report.restore.checkpoint,
        millis_to_first_record: run.seen.first_record.map(millis),
        millis_to_old_rate: run.seen.old_rate.map(millis),
        millis_to_all_read_back: run.seen.read_back.map(millis),
        gets: run.seen.requests.gets,
        bytes_read: run.seen.requests.bytes_read,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let taken = &summary.checkpoints;
    let spread = |Spread { p50, p99, max }: &Spread, unit: &str| {
        format!("p50 {} {unit}, p99 {}, at most {}", grouped(*p50), grouped(*p99), grouped(*max))
    };
    let size = |bytes: f64| ByteSize(whole(bytes)).to_string();
    let mut rows = vec![
        ("state", format!("{} keys of {} bytes", grouped(summary.keys), summary.value_bytes)),
        ("on the store", ByteSize(summary.stored_bytes).to_string()),
        ("updates", format!("{}/s", grouped(summary.updates_per_second))),
        ("checkpoints", format!("{} completed, {} given up", taken.completed, taken.failed)),
        ("tasks stood still", spread(&taken.sync_micros, "µs")),
        ("from trigger to end", spread(&taken.millis, "ms")),
        (
            "uploaded",
            format!("{} each; {} were changed", size(taken.uploaded_bytes), size(taken.changed_bytes)),
        ),
        ("inputs kept", format!("{:.0} each", taken.inputs_kept)),
        (
            "requests",
            format!("{:.1} PUT, {:.1} GET, {:.1} DELETE each", taken.puts, taken.gets, taken.deletes),
        ),
    ];
    for restored in &summary.restores {
        let Restored { parallelism, gets, bytes_read, .. } = restored;
        let after = |millis: Option<u64>, what: &str| {
            millis.map(|millis| format!("{what} after {} ms", grouped(millis)))
        };
        let told = [
            after(restored.millis_to_first_record, "first record"),
            after(restored.millis_to_old_rate, "old rate"),
            after(restored.millis_to_all_read_back, "all read back"),
        ];
        let told: Vec<String> = told.into_iter().flatten().collect();
        let read = ByteSize(*bytes_read);
        rows.push(("restored", format!("at {parallelism}: {}; {gets} GET, {read}", told.join(", "))));
    }
    rows.push(("peak memory", ByteSize(summary.peak_rss_bytes).to_string()));
    rows
}

#[expect(clippy::cast_sign_loss, reason = "bytes are not negative")]
fn whole(bytes: f64) -> u64 {
    bytes.round() as u64
}
