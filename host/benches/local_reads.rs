//! Wall and CPU time of a 4 KiB read out of the page cache: a bare `pread`, a state folder, and the local file system
//! of `object_store`, one read at a time and eight a call.
//!
//! `cargo bench -p alluvium-host --bench local_reads`. Wall clock on a shared machine swings; compare within one run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking and prints its figures"
)]
use std::fs::File;
use std::hint::black_box;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use alluvium_env::{Clock as _, Entropy, IoRuntime, SystemClock};
use alluvium_host::storage::open_folder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

const BLOCK_BYTES: u64 = 4096;
const TABLES: u64 = 16;
const TABLE_BYTES: u64 = 8 << 20;
const READS: u64 = 400_000;

/// CPU seconds of the process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: Vec<f64> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|t| t.parse().unwrap())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}

/// What one measurement draws and counts.
struct Reads {
    random: Entropy,
    clock: SystemClock,
    started: (f64, f64),
}

impl Reads {
    fn start() -> Self {
        let clock = SystemClock::new();
        let started = (clock.monotonic().as_secs_f64(), cpu_seconds());
        Self { random: Entropy::from_seed(1), clock, started }
    }

    fn draw(&self, together: u64) -> (u64, Vec<Range<u64>>) {
        let block = |_| self.random.next_u64() % (TABLE_BYTES / BLOCK_BYTES) * BLOCK_BYTES;
        let ranges = (0..together).map(block).map(|start| start..start + BLOCK_BYTES);
        (self.random.next_u64() % TABLES, ranges.collect())
    }

    fn end(&self, name: &str, together: u64) {
        let each = |seconds: f64| seconds * 1e6 / READS as f64;
        let wall = each(self.clock.monotonic().as_secs_f64() - self.started.0);
        let cpu = each(cpu_seconds() - self.started.1);
        println!("{name:<24}{together:>2} a call  {wall:>6.2} µs wall {cpu:>6.2} µs CPU a read");
    }
}

fn bare(files: &[File], together: u64) {
    let reads = Reads::start();
    for _ in 0..READS / together {
        let (table, ranges) = reads.draw(together);
        let file = files.get(table as usize).unwrap();
        for range in ranges {
            let mut bytes = vec![0; BLOCK_BYTES as usize];
            file.read_exact_at(&mut bytes, range.start).unwrap();
            black_box(bytes);
        }
    }
    reads.end("bare pread", together);
}

async fn through(what: &str, store: Arc<dyn ObjectStore>, together: u64) {
    let reads = Reads::start();
    for _ in 0..READS / together {
        let (table, ranges) = reads.draw(together);
        let pieces = store.get_ranges(&name(table), &ranges).await.unwrap();
        assert_eq!(pieces.len() as u64, together);
    }
    reads.end(what, together);
}

fn name(table: u64) -> Path {
    Path::from(format!("state/{table}.sst"))
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let io = IoRuntime::new(2).unwrap();
    let storage = open_folder(folder.path()).unwrap();
    let plain: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    for table in 0..TABLES {
        let content = vec![table as u8; TABLE_BYTES as usize];
        io.block_on(storage.store.put(&name(table), content.into())).unwrap();
    }
    let files: Vec<File> =
        (0..TABLES).map(|t| File::open(folder.path().join(name(t).as_ref())).unwrap()).collect();
    for together in [1, 8] {
        bare(&files, together);
        for (what, store) in [("a state folder", &storage.store), ("object_store's own", &plain)] {
            let store = Arc::clone(store);
            // On a thread of the runtime, as the fetcher does.
            io.block_on(io.spawn(async move { through(what, store, together).await })).unwrap();
        }
    }
}
