//! The figures: as a table for a person, as one JSON object for a script.
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_host::storage::StoreRequests;
use alluvium_state_api::BackendStats;
use serde::Serialize;

use super::args::{Backend, BenchArgs, Case, Mode, name};
use super::gauge::{Latencies, latencies};
use super::keys::KEY_BYTES;
use super::subtask::Measured;
use crate::results::{grouped, peak_rss_bytes, print_figures, print_line};
use crate::units::ByteSize;

/// Counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phase {
    pub(super) requests: StoreRequests,
    pub(super) stats: BackendStats,
}

/// All that was measured.
pub(super) struct Figures {
    /// The longest load of a subtask.
    pub(super) load: Duration,
    pub(super) before: Phase,
    pub(super) after: Phase,
    pub(super) process_cpu: Duration,
    pub(super) measured: Vec<Measured>,
    pub(super) verified: u64,
    pub(super) stored_bytes: u64,
}

/// What was asked for.
#[derive(Debug, Serialize)]
struct Setting {
    case: String,
    mode: String,
    backend: String,
    state: Option<String>,
    keys: u64,
    value_bytes: usize,
    parallelism: u16,
    in_flight: usize,
    batch: usize,
    warm_up: u64,
    zipf: Option<f64>,
    absent_percent: u8,
    seed: u64,
    memory_bytes: Option<u64>,
    cache_size_bytes: Option<u64>,
    latency_micros: u64,
    bandwidth_bytes_per_second: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    /// `operation`, or `batch` where a batch is waited for.
    of: &'static str,
    p50_micros: f64,
    p99_micros: f64,
    p999_micros: f64,
    max_micros: f64,
}

#[derive(Debug, Serialize)]
struct Cpu {
    micros_per_operation: f64,
    task_micros_per_operation: f64,
}

#[derive(Debug, Serialize)]
struct Requests {
    gets: u64,
    puts: u64,
    deletes: u64,
    lists: u64,
    bytes_read: u64,
    bytes_written: u64,
    gets_per_operation: f64,
    puts_per_operation: f64,
    bytes_read_per_operation: f64,
    bytes_written_per_operation: f64,
}

#[derive(Debug, Serialize)]
struct Blocks {
    memory_hits: u64,
    disk_hits: u64,
    misses: u64,
    memory_hit_rate: Option<f64>,
    disk_hit_rate: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Amplification {
    /// `null` where the user wrote nothing.
    write: Option<f64>,
    space: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Load {
    seconds: f64,
    keys_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Summary {
    #[serde(flatten)]
    setting: Setting,
    operations: u64,
    seconds: f64,
    operations_per_second: f64,
    /// `null` for a scan.
    latency: Option<Latency>,
    cpu: Cpu,
    store: Requests,
    cache: Blocks,
    flushes: u64,
    compactions: u64,
    amplification: Amplification,
    /// What was loaded before; `null` for `load`.
    load: Option<Load>,
    /// Answers that were compared byte by byte.
    verified: u64,
    peak_rss_bytes: u64,
}

/// Prints the table, or the object with `--json`.
///
/// # Errors
/// `Unavailable` if stdout cannot be written.
pub(super) fn print(args: &BenchArgs, url: &str, figures: &Figures) -> Result<()> {
    let summary = summary(args, url, figures)?;
    if args.json {
        let json = serde_json::to_string(&summary);
        return print_line(
            &json.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?,
        );
    }
    print_figures(&rows(&summary))
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(ratio(part, whole)))
}

/// Six digits behind the point.
fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

fn micros(nanos: u64) -> f64 {
    ratio(nanos, 1000)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn setting(args: &BenchArgs, url: &str) -> Setting {
    let heap = args.backend == Backend::Heap;
    Setting {
        case: name(&args.case),
        mode: name(&args.mode),
        backend: name(&args.backend),
        state: (!heap).then(|| url.to_owned()),
        keys: args.keys.0,
        value_bytes: args.value_bytes(),
        parallelism: args.parallelism,
        in_flight: args.in_flight(),
        batch: args.batch(),
        warm_up: args.warm_up(),
        zipf: args.zipf,
        absent_percent: args.absent.unwrap_or(0),
        seed: args.seed,
        memory_bytes: (!heap).then_some(args.memory.0),
        cache_size_bytes: args.cache_dir.as_ref().map(|_| args.cache_size().0),
        latency_micros: args.latency.map_or(0, |delay| nanos(delay.0) / 1000),
        bandwidth_bytes_per_second: args.bandwidth.map(|size| size.0),
    }
}

fn summary(args: &BenchArgs, url: &str, figures: &Figures) -> Result<Summary> {
    let measured = &figures.measured;
    let operations: u64 = measured.iter().map(|one| one.readings.operations).sum();
    let took = measured.iter().map(|one| one.took.wall).max().unwrap_or_default();
    let thread_cpu: Duration = measured.iter().map(|one| one.took.thread_cpu).sum();
    let apart: Duration = measured.iter().map(|one| one.apart_cpu).sum();
    let user_bytes: u64 = measured.iter().map(|one| one.readings.user_bytes).sum();
    let mut all = latencies()?;
    for one in measured {
        all.add(&one.readings.latencies)
            .map_err(|e| Error::internal("cannot add up latencies").with_source(e))?;
    }
    let per_operation = |time: Duration| rounded(ratio(nanos(time), operations) / 1000.0);
    let requests = requests(figures, operations);
    let (before, after) = (figures.before.stats, figures.after.stats);
    let raw_bytes = args.keys.0 * (KEY_BYTES + args.value_bytes()) as u64;
    let is_stored = args.backend == Backend::Forst;
    Ok(Summary {
        setting: setting(args, url),
        operations,
        seconds: rounded(took.as_secs_f64()),
        operations_per_second: rounded(ratio(operations, nanos(took)) * 1e9),
        latency: (args.case != Case::Scan).then(|| latency(args, &all)),
        cpu: Cpu {
            micros_per_operation: per_operation(figures.process_cpu.saturating_sub(apart)),
            task_micros_per_operation: per_operation(thread_cpu),
        },
        amplification: Amplification {
            write: share(requests.bytes_written, user_bytes).filter(|_| is_stored),
            space: share(figures.stored_bytes, raw_bytes).filter(|_| is_stored),
        },
        store: requests,
        cache: blocks(before, after),
        flushes: after.flushes - before.flushes,
        compactions: after.compactions - before.compactions,
        load: (args.case != Case::Load).then(|| Load {
            seconds: rounded(figures.load.as_secs_f64()),
            keys_per_second: rounded(ratio(args.keys.0, nanos(figures.load)) * 1e9),
        }),
        verified: figures.verified,
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn latency(args: &BenchArgs, all: &Latencies) -> Latency {
    let at = |quantile| micros(all.value_at_quantile(quantile));
    Latency {
        of: if args.mode == Mode::Sync && args.batch() > 1 { "batch" } else { "operation" },
        p50_micros: at(0.5),
        p99_micros: at(0.99),
        p999_micros: at(0.999),
        max_micros: micros(all.max()),
    }
}

fn requests(figures: &Figures, operations: u64) -> Requests {
    let (before, after) = (figures.before.requests, figures.after.requests);
    let (gets, puts) = (after.gets - before.gets, after.puts - before.puts);
    let (read, written) = (after.bytes_read - before.bytes_read, after.bytes_written - before.bytes_written);
    let per_operation = |count| rounded(ratio(count, operations));
    Requests {
        gets,
        puts,
        deletes: after.deletes - before.deletes,
        lists: after.lists - before.lists,
        bytes_read: read,
        bytes_written: written,
        gets_per_operation: per_operation(gets),
        puts_per_operation: per_operation(puts),
        bytes_read_per_operation: per_operation(read),
        bytes_written_per_operation: per_operation(written),
    }
}

fn blocks(before: BackendStats, after: BackendStats) -> Blocks {
    let memory_hits = after.memory_hits - before.memory_hits;
    let disk_hits = after.disk_hits - before.disk_hits;
    let misses = after.misses - before.misses;
    let asked = memory_hits + disk_hits + misses;
    Blocks {
        memory_hits,
        disk_hits,
        misses,
        memory_hit_rate: share(memory_hits, asked),
        disk_hit_rate: share(disk_hits, disk_hits + misses),
    }
}

#[expect(clippy::cast_sign_loss, reason = "rates are not negative")]
fn rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let Summary { setting, store, cache, cpu, .. } = summary;
    let rate = |rate: f64| format!("{}/s", grouped(rate as u64));
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let times = |factor: Option<f64>| factor.map_or("–".to_owned(), |factor| format!("{factor:.2} ×"));
    let mut rows = vec![
        ("case", format!("{}, {}, {}", setting.case, setting.mode, setting.backend)),
        ("keys", format!("{} of {KEY_BYTES} + {} bytes", grouped(setting.keys), setting.value_bytes)),
    ];
    if let Some(load) = &summary.load {
        rows.push(("load", format!("{} in {:.2} s", rate(load.keys_per_second), load.seconds)));
    }
    let operations = grouped(summary.operations);
    rows.push(("operations", format!("{operations} in {:.2} s", summary.seconds)));
    rows.push(("rate", rate(summary.operations_per_second)));
    if let Some(latency) = &summary.latency {
        let Latency { of, p50_micros, p99_micros, p999_micros, max_micros } = latency;
        rows.push((
            "latency",
            format!(
                "p50 {p50_micros} µs, p99 {p99_micros} µs, p99.9 {p999_micros} µs, max {max_micros} µs ({of})"
            ),
        ));
    }
    let (process, task) = (cpu.micros_per_operation, cpu.task_micros_per_operation);
    rows.extend([
        ("CPU an operation", format!("{process:.2} µs, of which task threads {task:.2} µs")),
        (
            "reads an operation",
            format!("{:.3}, {:.0} bytes", store.gets_per_operation, store.bytes_read_per_operation),
        ),
        (
            "writes",
            format!(
                "{}, {}; {} flushes, {} compactions",
                grouped(store.puts),
                ByteSize(store.bytes_written),
                summary.flushes,
                summary.compactions
            ),
        ),
        (
            "block hits",
            format!("memory {}, disk {}", percent(cache.memory_hit_rate), percent(cache.disk_hit_rate)),
        ),
        (
            "amplification",
            format!(
                "write {}, space {}",
                times(summary.amplification.write),
                times(summary.amplification.space)
            ),
        ),
        ("answers compared", grouped(summary.verified)),
        ("peak memory", ByteSize(summary.peak_rss_bytes).to_string()),
    ]);
    rows
}
