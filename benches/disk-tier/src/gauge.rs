//! Times, CPU, memory and bytes of this process.
use std::fs::{File, read_to_string};
use std::path::Path;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds of this process.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn field(file: &str, name: &str) -> u64 {
    let text = read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Resident memory.
pub(crate) fn rss_mib() -> u64 {
    field("/proc/self/status", "VmRSS:") >> 10
}

/// Bytes that this process has made the file systems write.
pub(crate) fn written_bytes() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

/// Takes the files of a folder out of the page cache.
pub(crate) fn forget_pages(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            forget_pages(&entry.path());
            continue;
        }
        let file = File::open(entry.path()).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// Times reads one by one or batch by batch.
pub(crate) struct Timing {
    cpu: f64,
    micros: Vec<f64>,
    last: Instant,
}

impl Timing {
    pub(crate) fn start() -> Self {
        Self { cpu: cpu_seconds(), micros: Vec::new(), last: Instant::now() }
    }

    pub(crate) fn lap(&mut self) {
        let now = Instant::now();
        self.micros.push((now - self.last).as_secs_f64() * 1e6);
        self.last = now;
    }

    pub(crate) fn end(mut self, what: &str, together: usize, missing: usize) {
        let reads = (self.micros.len() * together) as f64;
        let cpu = (cpu_seconds() - self.cpu) * 1e6 / reads;
        let wall = self.micros.iter().sum::<f64>() / reads;
        self.micros.sort_by(f64::total_cmp);
        let at = |percent: usize| self.micros[self.micros.len() * percent / 100];
        println!(
            "{what:<24}{together:>3} at a time   p50 {:>8.1} µs   p99 {:>8.1} µs   {wall:>6.1} µs wall {cpu:>6.1} µs CPU a read, {missing} not there",
            at(50),
            at(99)
        );
    }
}
