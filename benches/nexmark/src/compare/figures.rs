//! What a measurement prints: fields of the names that `alluvium bench --json` has, and the answer's digest.
use alluvium_host::JobReport;
use alluvium_host::storage::StoreRequests;
use serde::{Deserialize, Serialize};

use crate::answer::Digest;

/// The answer in plain memory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Expected {
    pub(crate) answer: Digest,
    /// Different keys of the stream.
    pub(crate) keys: u64,
    pub(crate) seconds: f64,
}

/// One measurement. An operation is an event of the stream, whether or not the query wants it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) case: String,
    pub(crate) mode: String,
    pub(crate) backend: String,
    /// `null` if it stays in memory.
    pub(crate) state: Option<String>,
    /// Different keys; the run knows them.
    pub(crate) keys: Option<u64>,
    pub(crate) parallelism: u16,
    pub(crate) sources: usize,
    pub(crate) in_flight: usize,
    pub(crate) batch: usize,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) latency_micros: u64,
    /// Events in a second of event time.
    pub(crate) event_rate: u64,
    pub(crate) checkpoints: u64,
    pub(crate) operations: u64,
    /// Events that reached the operator.
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    pub(crate) operations_per_second: f64,
    pub(crate) cpu: Cpu,
    pub(crate) store: Requests,
    pub(crate) cache: Blocks,
    pub(crate) flushes: u64,
    pub(crate) compactions: u64,
    pub(crate) peak_rss_bytes: u64,
    /// `null` without state.
    pub(crate) answer: Option<Digest>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cpu {
    pub(crate) micros_per_operation: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) gets: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) lists: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
    pub(crate) gets_per_operation: f64,
    pub(crate) puts_per_operation: f64,
    pub(crate) bytes_read_per_operation: f64,
    pub(crate) bytes_written_per_operation: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Blocks {
    pub(crate) memory_hits: u64,
    pub(crate) disk_hits: u64,
    pub(crate) misses: u64,
    pub(crate) memory_hit_rate: Option<f64>,
}

impl Requests {
    pub(crate) fn new(requests: StoreRequests, operations: u64) -> Self {
        let StoreRequests { gets, puts, deletes, lists, bytes_read, bytes_written } = requests;
        let each = |count| ratio(count, operations).unwrap_or(0.0);
        Self {
            gets,
            puts,
            deletes,
            lists,
            bytes_read,
            bytes_written,
            gets_per_operation: each(gets),
            puts_per_operation: each(puts),
            bytes_read_per_operation: each(bytes_read),
            bytes_written_per_operation: each(bytes_written),
        }
    }
}

impl Blocks {
    pub(crate) fn new(report: &JobReport) -> Self {
        let stats = report.backend;
        let (memory_hits, disk_hits, misses) = (stats.memory_hits, stats.disk_hits, stats.misses);
        let memory_hit_rate = ratio(memory_hits, memory_hits + disk_hits + misses);
        Self { memory_hits, disk_hits, misses, memory_hit_rate }
    }
}

/// The quotient, if there is one.
#[expect(clippy::cast_precision_loss, reason = "a figure for people, of counts far below 2^53")]
pub(crate) fn ratio(count: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| count as f64 / of as f64)
}

/// The most memory that this process has had.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
