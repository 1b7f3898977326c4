//! The figures: as a table for a person, as one JSON object for a script.
use alluvium_env::{Error, Result};
use alluvium_state_api::BackendStats;
use serde::Serialize;

use super::args::{Backend, BenchArgs, Case, Mode, name};
use super::figures::{Figures, micros_each, nanos, rate, ratio, raw_bytes, rounded};
use super::gauge::Latencies;
use super::keys::KEY_BYTES;
use crate::backend::name_of;
use crate::results::{grouped, peak_rss_bytes, print_figures, print_line};
use crate::units::ByteSize;

/// What was asked for.
#[derive(Debug, Serialize)]
struct Setting {
    case: String,
    mode: String,
    backend: String,
    state: Option<String>,
    keys: u64,
    value_bytes: usize,
    /// `null` without maps.
    scan_length: Option<u64>,
    order: String,
    parallelism: u16,
    in_flight: usize,
    batch: usize,
    warm_up: u64,
    zipf: Option<f64>,
    absent_percent: u8,
    seed: u64,
    memory_bytes: Option<u64>,
    cache_size_bytes: Option<u64>,
    compression: Option<String>,
    cold_compression: Option<String>,
    latency_micros: u64,
    /// `null` without slow requests.
    slow_requests_per_million: Option<u32>,
    slow_latency_micros: Option<u64>,
    /// `null` where no read is asked twice.
    hedge_factor: Option<f64>,
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
#[expect(clippy::struct_field_names, reason = "units last")]
struct Cpu {
    micros_per_operation: f64,
    task_micros_per_operation: f64,
    background_micros_per_operation: f64,
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
struct Debt {
    seconds: f64,
    /// `null` for `load`, whose writes include it.
    bytes_written: Option<u64>,
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
    /// Operations in each second; the last one may be cut short.
    per_second: Vec<u64>,
    /// `null` for a scan.
    latency: Option<Latency>,
    cpu: Cpu,
    store: Requests,
    cache: Blocks,
    flushes: u64,
    compactions: u64,
    /// What was left to do; `null` for a case that does not write.
    debt: Option<Debt>,
    user_bytes_written: u64,
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
    if !args.json {
        return print_figures(&rows(&summary));
    }
    let json = serde_json::to_string(&summary);
    print_line(&json.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?)
}

fn setting(args: &BenchArgs, url: &str) -> Setting {
    let heap = args.backend == Backend::Heap;
    Setting {
        case: name(&args.case),
        mode: name(&args.mode()),
        backend: name(&args.backend),
        state: (!heap).then(|| url.to_owned()),
        keys: args.keys.0,
        value_bytes: args.value_bytes(),
        scan_length: (args.maps() > 0).then(|| args.scan_length()),
        order: name(&args.order),
        parallelism: args.parallelism,
        in_flight: args.in_flight(),
        batch: args.batch(),
        warm_up: args.warm_up(),
        zipf: args.zipf,
        absent_percent: args.absent.unwrap_or(0),
        seed: args.seed,
        memory_bytes: (!heap).then_some(args.memory.0),
        cache_size_bytes: args.store.cache_dir.as_ref().map(|_| args.store.cache_size().0),
        compression: (!heap).then(|| name_of(args.store.compression)),
        cold_compression: (!heap).then(|| name_of(args.store.cold_compression)),
        latency_micros: args.latency.map_or(0, |delay| nanos(delay.0) / 1000),
        slow_requests_per_million: args.slow_tail.map(|tail| tail.per_million),
        slow_latency_micros: args.slow_tail.map(|tail| nanos(tail.latency) / 1000),
        hedge_factor: args.hedge,
        bandwidth_bytes_per_second: args.bandwidth.map(|size| size.0),
    }
}

fn summary(args: &BenchArgs, url: &str, figures: &Figures) -> Result<Summary> {
    let (operations, took, cpu) = (figures.operations(), figures.took(), figures.cpu());
    let (before, after) = (figures.before, figures.after);
    let (user_bytes, is_stored) = (figures.user_bytes(), args.backend == Backend::Forst);
    let written = figures.paid_off.bytes_written - before.requests.bytes_written;
    let left = figures.paid_off.bytes_written - after.requests.bytes_written;
    let debt = || Debt {
        seconds: rounded(figures.debt().as_secs_f64()),
        bytes_written: (args.case != Case::Load).then_some(left),
    };
    let load = || Load {
        seconds: rounded(figures.load.as_secs_f64()),
        keys_per_second: rate(args.keys.0, figures.load),
    };
    Ok(Summary {
        setting: setting(args, url),
        operations,
        seconds: rounded(took.as_secs_f64()),
        operations_per_second: rate(operations, took),
        per_second: figures.per_second(),
        latency: (args.case != Case::Scan)
            .then(|| figures.latencies().map(|all| latency(args, &all)))
            .transpose()?,
        cpu: Cpu {
            micros_per_operation: micros_each(cpu.process, operations),
            task_micros_per_operation: micros_each(cpu.task, operations),
            background_micros_per_operation: micros_each(cpu.background, operations),
        },
        store: requests(figures, operations),
        cache: blocks(before.stats, after.stats),
        flushes: after.stats.flushes - before.stats.flushes,
        compactions: after.stats.compactions - before.stats.compactions,
        debt: (user_bytes > 0).then(debt),
        user_bytes_written: user_bytes,
        amplification: Amplification {
            write: ratio(written, user_bytes).filter(|_| is_stored),
            space: ratio(figures.stored_bytes, raw_bytes(args)).filter(|_| is_stored),
        },
        load: (args.case != Case::Load).then(load),
        verified: figures.verified,
        peak_rss_bytes: peak_rss_bytes(),
    })
}

fn latency(args: &BenchArgs, all: &Latencies) -> Latency {
    let micros = |nanos| ratio(nanos, 1000).unwrap_or(0.0);
    let at = |quantile| micros(all.value_at_quantile(quantile));
    Latency {
        of: if args.mode() == Mode::Sync && args.batch() > 1 { "batch" } else { "operation" },
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
    let each = |count| ratio(count, operations).unwrap_or(0.0);
    Requests {
        gets,
        puts,
        deletes: after.deletes - before.deletes,
        lists: after.lists - before.lists,
        bytes_read: read,
        bytes_written: written,
        gets_per_operation: each(gets),
        puts_per_operation: each(puts),
        bytes_read_per_operation: each(read),
        bytes_written_per_operation: each(written),
    }
}

fn blocks(before: BackendStats, after: BackendStats) -> Blocks {
    let memory_hits = after.memory_hits - before.memory_hits;
    let disk_hits = after.disk_hits - before.disk_hits;
    let misses = after.misses - before.misses;
    Blocks {
        memory_hits,
        disk_hits,
        misses,
        memory_hit_rate: ratio(memory_hits, memory_hits + disk_hits + misses),
        disk_hit_rate: ratio(disk_hits, disk_hits + misses),
    }
}

/// The table: what, and how much.
#[expect(clippy::cast_sign_loss, reason = "rates are not negative")]
fn rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let Summary { setting, store, cache, cpu, amplification, .. } = summary;
    let rate = |rate: f64| format!("{}/s", grouped(rate as u64));
    let percent =
        |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.2} %", share * 100.0));
    let times = |factor: Option<f64>| factor.map_or("–".to_owned(), |factor| format!("{factor:.2} ×"));
    let loaded = summary.load.as_ref();
    let loaded = loaded.map(|load| format!("{} in {:.2} s", rate(load.keys_per_second), load.seconds));
    let latency = summary.latency.as_ref().map(|latency| {
        let Latency { of, p50_micros, p99_micros, p999_micros, max_micros } = latency;
        format!(
            "p50 {p50_micros} µs, p99 {p99_micros} µs, p99.9 {p999_micros} µs, max {max_micros} µs ({of})"
        )
    });
    let debt = summary.debt.as_ref();
    let debt = debt.map(|debt| {
        let written = debt.bytes_written.map(|bytes| format!(", {} to write", ByteSize(bytes)));
        format!("{:.2} s{}", debt.seconds, written.unwrap_or_default())
    });
    let Cpu {
        micros_per_operation,
        task_micros_per_operation: task,
        background_micros_per_operation: background,
    } = cpu;
    let (reads, read) = (store.gets_per_operation, store.bytes_read_per_operation);
    let (puts, written) = (grouped(store.puts), ByteSize(store.bytes_written));
    let (flushes, compactions) = (summary.flushes, summary.compactions);
    let keys = grouped(setting.keys);
    let rows = [
        ("case", Some(format!("{}, {}, {}", setting.case, setting.mode, setting.backend))),
        ("keys", Some(format!("{keys} of {KEY_BYTES} + {} bytes", setting.value_bytes))),
        ("load", loaded),
        ("operations", Some(format!("{} in {:.2} s", grouped(summary.operations), summary.seconds))),
        ("rate", Some(rate(summary.operations_per_second))),
        ("latency", latency),
        (
            "CPU an operation",
            Some(format!(
                "{micros_per_operation:.2} µs; task threads {task:.2} µs, background {background:.2} µs"
            )),
        ),
        ("reads an operation", Some(format!("{reads:.3}, {read:.0} bytes"))),
        ("writes", Some(format!("{puts}, {written}; {flushes} flushes, {compactions} compactions"))),
        ("debt", debt),
        (
            "block hits",
            Some(format!("memory {}, disk {}", percent(cache.memory_hit_rate), percent(cache.disk_hit_rate))),
        ),
        (
            "amplification",
            Some(format!("write {}, space {}", times(amplification.write), times(amplification.space))),
        ),
        ("answers compared", Some(grouped(summary.verified))),
        ("peak memory", Some(ByteSize(summary.peak_rss_bytes).to_string())),
    ];
    rows.into_iter().filter_map(|(name, figure)| Some((name, figure?))).collect()
}
