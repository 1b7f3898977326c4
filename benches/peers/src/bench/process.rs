//! What the kernel says about this process, and how much a folder holds.
use std::fs;
use std::path::Path;

/// Bytes passed to `write` and its like so far, page cache or not.
pub(super) fn written_bytes() -> u64 {
    field("/proc/self/io", "wchar:")
}

/// The most memory that was ever resident.
pub(super) fn peak_rss_bytes() -> u64 {
    field("/proc/self/status", "VmHWM:") * 1024
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes of all files below a folder; those that go meanwhile count nothing.
pub(super) fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
