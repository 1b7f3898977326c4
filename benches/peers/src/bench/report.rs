//! The figures as one JSON object, with the fields of `alluvium bench --json` that mean the same.
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_host::storage::StoreRequests;
use serde::Serialize;

use super::args::{BenchArgs, Case, name};
use super::gauge::Readings;
use super::keys::KEY_BYTES;
use super::peer::Place;
use super::{cpu, process, threads};

/// Bytes of the number of a map's entry.
const ENTRY_BYTES: usize = 8;

/// Counters at one moment.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    requests: StoreRequests,
    written_bytes: u64,
    /// Without the thread that keeps the time of a link.
    cpu: Duration,
}

impl Moment {
    pub(super) fn now(place: &Place) -> Result<Self> {
        Ok(Self {
            requests: place.requests()?,
            written_bytes: place.written_bytes()?,
            cpu: cpu::process().saturating_sub(threads::cpu_of("alluvium-link")),
        })
    }
}

/// All that was measured.
pub(super) struct Figures {
    pub(super) load: Duration,
    pub(super) before: Moment,
    pub(super) after: Moment,
    /// When nothing was left to do.
    pub(super) paid_off: Moment,
    pub(super) took: Duration,
    /// CPU of the task thread.
    pub(super) task: Duration,
    pub(super) debt: Duration,
    pub(super) readings: Readings,
    pub(super) verified: u64,
    pub(super) stored_bytes: u64,
}

#[derive(Serialize)]
struct Latency {
    of: &'static str,
    p50_micros: f64,
    p99_micros: f64,
    p999_micros: f64,
    max_micros: f64,
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "units last")]
struct Cpu {
    micros_per_operation: f64,
    task_micros_per_operation: f64,
    background_micros_per_operation: f64,
}

#[derive(Serialize)]
struct Requests {
    gets: u64,
    puts: u64,
    bytes_read: u64,
    bytes_written: u64,
    gets_per_operation: f64,
    bytes_read_per_operation: f64,
}

#[derive(Serialize)]
struct Debt {
    seconds: f64,
    bytes_written: u64,
}

#[derive(Serialize)]
struct Amplification {
    write: Option<f64>,
    space: Option<f64>,
}

#[derive(Serialize)]
struct Load {
    seconds: f64,
    keys_per_second: f64,
}

#[derive(Serialize)]
struct Summary {
    case: String,
    mode: &'static str,
    backend: String,
    keys: u64,
    value_bytes: usize,
    scan_length: Option<u64>,
    parallelism: u16,
    in_flight: u32,
    batch: usize,
    warm_up: u64,
    zipf: Option<f64>,
    absent_percent: u8,
    order: String,
    seed: u64,
    memory_bytes: u64,
    latency_micros: u64,
    operations: u64,
    seconds: f64,
    operations_per_second: f64,
    per_second: Vec<u64>,
    latency: Option<Latency>,
    cpu: Cpu,
    /// Of systems on an object store.
    store: Requests,
    debt: Option<Debt>,
    user_bytes_written: u64,
    amplification: Amplification,
    load: Option<Load>,
    verified: u64,
    peak_rss_bytes: u64,
}

/// Prints the object.
pub(super) fn print(args: &BenchArgs, place: &Place, figures: &Figures) -> Result<()> {
    let summary = summary(args, place, figures)?;
    let json = serde_json::to_string(&summary);
    println!("{}", json.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?);
    Ok(())
}

fn summary(args: &BenchArgs, place: &Place, figures: &Figures) -> Result<Summary> {
    let Figures { before, after, paid_off, took, readings, .. } = figures;
    let operations = readings.operations;
    let cpu = after.cpu.saturating_sub(before.cpu);
    let latencies = &readings.latencies;
    let at = |quantile| micros(latencies.value_at_quantile(quantile));
    let written = paid_off.written_bytes - before.written_bytes;
    let writes = readings.user_bytes > 0;
    let is_load = args.case == Case::Load;
    let mut per_second = readings.per_second.clone();
    per_second.truncate(took.as_secs() as usize + 1);
    let stored = ratio(figures.stored_bytes, raw_bytes(args)).filter(|space| *space > 0.01);
    // What a load left to do belongs to it, as `alluvium bench` has it.
    let last = if is_load { paid_off } else { after };
    Ok(Summary {
        case: name(&args.case),
        mode: "sync",
        backend: name(&args.system),
        keys: args.keys.0,
        value_bytes: args.value_bytes(),
        scan_length: (args.maps() > 0).then(|| args.scan_length()),
        parallelism: 1,
        in_flight: args.in_flight,
        batch: args.batch(),
        warm_up: args.warm_up(),
        zipf: args.zipf,
        absent_percent: args.absent.unwrap_or(0),
        order: name(&args.order),
        seed: args.seed,
        memory_bytes: args.memory.0,
        latency_micros: place.latency_micros(args)?,
        operations,
        seconds: rounded(took.as_secs_f64()),
        operations_per_second: rate(operations, *took),
        per_second,
        latency: (args.case != Case::Scan).then(|| Latency {
            of: if args.batch() > 1 && !is_load { "batch" } else { "operation" },
            p50_micros: at(0.5),
            p99_micros: at(0.99),
            p999_micros: at(0.999),
            max_micros: micros(latencies.max()),
        }),
        cpu: Cpu {
            micros_per_operation: micros_each(cpu, operations),
            task_micros_per_operation: micros_each(figures.task, operations),
            background_micros_per_operation: micros_each(cpu.saturating_sub(figures.task), operations),
        },
        store: requests(before.requests, last.requests, operations),
        debt: writes.then(|| Debt {
            seconds: rounded(figures.debt.as_secs_f64()),
            bytes_written: paid_off.written_bytes - after.written_bytes,
        }),
        user_bytes_written: readings.user_bytes,
        amplification: Amplification { write: ratio(written, readings.user_bytes), space: stored },
        load: (!is_load).then(|| Load {
            seconds: rounded(figures.load.as_secs_f64()),
            keys_per_second: rate(args.keys.0, figures.load),
        }),
        verified: figures.verified,
        peak_rss_bytes: process::peak_rss_bytes(),
    })
}

fn requests(before: StoreRequests, after: StoreRequests, operations: u64) -> Requests {
    let gets = after.gets - before.gets;
    let bytes_read = after.bytes_read - before.bytes_read;
    Requests {
        gets,
        puts: after.puts - before.puts,
        bytes_read,
        bytes_written: after.bytes_written - before.bytes_written,
        gets_per_operation: ratio(gets, operations).unwrap_or(0.0),
        bytes_read_per_operation: ratio(bytes_read, operations).unwrap_or(0.0),
    }
}

/// Bytes of keys and values that were loaded.
fn raw_bytes(args: &BenchArgs) -> u64 {
    let single = KEY_BYTES + args.value_bytes();
    args.single_keys() * single as u64 + args.maps() * args.scan_length() * (single + ENTRY_BYTES) as u64
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(nanos: u64) -> f64 {
    ratio(nanos, 1000).unwrap_or(0.0)
}

fn micros_each(time: Duration, operations: u64) -> f64 {
    ratio(nanos(time), operations).map_or(0.0, |nanos| rounded(nanos / 1000.0))
}

#[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { rounded(count as f64 / time.as_secs_f64()) }
}
