//! The summary for scripts: one JSON object, field by field as the documentation lists them.
use serde::Serialize;

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Words counted by this process.
    pub(crate) records: u64,
    /// Different words in the state; `null` if the job was stopped before the end.
    pub(crate) distinct_keys: Option<u64>,
    pub(crate) seconds: f64,
    pub(crate) records_per_second: u64,
    pub(crate) parallelism: u16,
    pub(crate) peak_rss_bytes: u64,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) restore: Restored,
    pub(crate) store: Store,
    pub(crate) cache: Cache,
}

#[derive(Debug, Serialize)]
pub(crate) struct Checkpoints {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) last: Option<LastCheckpoint>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LastCheckpoint {
    pub(crate) id: u64,
    pub(crate) sync_micros: u64,
    pub(crate) async_millis: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) inputs_kept: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Restored {
    pub(crate) checkpoint: Option<u64>,
    pub(crate) millis_to_first_record: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Store {
    pub(crate) gets: u64,
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    pub(crate) lists: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_written: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Cache {
    pub(crate) memory_hits: u64,
    pub(crate) disk_hits: u64,
    pub(crate) misses: u64,
}

/// The most memory this process ever held, by the kernel's count; 0 where there is none to ask.
pub(crate) fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
