//! What is measured: each engine fills a folder, reads blocks of it by number, and finds them again after a restart.
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alluvium_env::{Entropy, IoRuntime};
use alluvium_forst::benching::{DiskPart, Filling};
use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder};
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use crate::gauge::{cpu_seconds, rss_mib, written_bytes};

pub(crate) const TABLES: u64 = 64;
pub(crate) const TABLE_BLOCKS: u32 = 2048;
/// With header, restarts and checksum nearly 4,000 bytes: a foyer entry of more than 4,096 takes two pages.
const BLOCK_BYTES: usize = 3840;
/// Of a value in foyer: what a block of ours has on average.
const VALUE_BYTES: usize = 3920;
const SIZE_BYTES: u64 = 1 << 30;
/// Blocks that are asked for after a restart.
const FIRST_READS: u64 = 1000;

pub(crate) trait Engine {
    fn name(&self) -> &'static str;
    /// Reads blocks at the same time; returns how many were there.
    fn read(&self, numbers: Vec<u64>) -> usize;
}

/// What filling took.
#[derive(Default)]
struct Filled {
    wall: Duration,
    cpu: f64,
    written: u64,
    bytes: u64,
}

impl Filled {
    /// Writes so many bytes.
    fn step(&mut self, bytes: u64, write: impl FnOnce()) {
        let (start, cpu, written) = (Instant::now(), cpu_seconds(), written_bytes());
        write();
        self.wall += start.elapsed();
        self.cpu += cpu_seconds() - cpu;
        self.written += written_bytes() - written;
        self.bytes += bytes;
    }

    fn print(&self, name: &str) {
        let blocks = (TABLES * u64::from(TABLE_BLOCKS)) as f64;
        println!(
            "{name:<10}written: {:.1} µs wall, {:.1} µs CPU a block, {:.2} bytes for each; memory {} MiB",
            self.wall.as_secs_f64() * 1e6 / blocks,
            self.cpu * 1e6 / blocks,
            self.written as f64 / self.bytes as f64,
            rss_mib()
        );
    }
}

/// Mirrors of tables.
pub(crate) struct Ours {
    io: IoRuntime,
    part: Arc<DiskPart>,
}

impl Ours {
    fn open(folder: &Path, filling: Filling, filled: &mut Filled) -> Self {
        let io = IoRuntime::new(2).unwrap();
        let mut part = DiskPart::open(folder, SIZE_BYTES, TABLE_BLOCKS, BLOCK_BYTES).unwrap();
        for number in 0..TABLES {
            let built = part.build(number).unwrap();
            filled.step(built.bytes(), || io.block_on(part.add(built, filling)).unwrap());
        }
        Self { io, part: Arc::new(part) }
    }

    pub(crate) fn fill(folder: &Path, filling: Filling) -> Self {
        let mut filled = Filled::default();
        let ours = Self::open(folder, filling, &mut filled);
        filled.print("alluvium");
        ours
    }

    /// What an earlier process has left.
    pub(crate) fn find(folder: &Path) -> Self {
        Self::open(folder, Filling::None, &mut Filled::default())
    }

    pub(crate) fn restart(folder: &Path) -> Self {
        let start = Instant::now();
        drop(DiskPart::open(folder, SIZE_BYTES, TABLE_BLOCKS, BLOCK_BYTES).unwrap());
        let open = start.elapsed();
        let ours = Self::find(folder);
        restarted(&ours, open);
        ours
    }
}

impl Engine for Ours {
    fn name(&self) -> &'static str {
        "alluvium"
    }

    fn read(&self, mut numbers: Vec<u64>) -> usize {
        let part = Arc::clone(&self.part);
        self.io.block_on(async move { part.hits(&mut numbers).await.unwrap() })
    }
}

/// How long it takes to open, and to have the first blocks.
fn restarted(engine: &dyn Engine, open: Duration) {
    let start = Instant::now();
    let all = TABLES * u64::from(TABLE_BLOCKS);
    let found: usize = (0..FIRST_READS).map(|n| engine.read(vec![n.wrapping_mul(7919) % all])).sum();
    println!(
        "{:<10}restart: open in {:.1} ms, then {FIRST_READS} reads in {:.1} ms, {found} of them there; memory {} MiB",
        engine.name(),
        open.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
        rss_mib()
    );
}

/// foyer's hybrid cache with next to no memory of its own.
pub(crate) struct Foyer {
    runtime: Runtime,
    cache: HybridCache<u64, Vec<u8>>,
}

impl Foyer {
    fn open(folder: &Path) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let cache = runtime.block_on(async {
            let device = FsDeviceBuilder::new(folder).with_capacity(SIZE_BYTES as usize).build().unwrap();
            HybridCacheBuilder::new()
                .memory(1 << 20)
                .with_weighter(|_: &u64, block: &Vec<u8>| block.len())
                .storage()
                .with_engine_config(BlockEngineConfig::new(device).with_block_size(4 << 20))
                .build()
                .await
                .unwrap()
        });
        Self { runtime, cache }
    }

    pub(crate) fn fill(folder: &Path) -> Self {
        let foyer = Self::open(folder);
        let (mut filled, random) = (Filled::default(), Entropy::from_seed(1));
        let all: Vec<u64> = (0..TABLES * u64::from(TABLE_BLOCKS)).collect();
        for numbers in all.chunks(256) {
            let value = || (0..VALUE_BYTES / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect();
            let values: Vec<Vec<u8>> = numbers.iter().map(|_| value()).collect();
            filled.step((numbers.len() * VALUE_BYTES) as u64, || {
                for (number, value) in numbers.iter().zip(values) {
                    foyer.cache.storage_writer(*number).insert(value);
                }
                // What comes faster than it is written is dropped.
                foyer.runtime.block_on(foyer.cache.storage().wait());
            });
        }
        filled.print("foyer");
        foyer
    }

    pub(crate) fn restart(folder: &Path) -> Self {
        let start = Instant::now();
        let foyer = Self::open(folder);
        restarted(&foyer, start.elapsed());
        foyer
    }
}

impl Drop for Foyer {
    fn drop(&mut self) {
        self.runtime.block_on(self.cache.close()).unwrap();
    }
}

impl Engine for Foyer {
    fn name(&self) -> &'static str {
        "foyer"
    }

    fn read(&self, numbers: Vec<u64>) -> usize {
        let load = |number: u64| async move {
            self.cache.storage().load(&number).await.is_ok_and(|load| load.kv().is_some())
        };
        let found = self.runtime.block_on(join_all(numbers.into_iter().map(load)));
        found.into_iter().filter(|found| *found).count()
    }
}

/// The mirrors' files, read by the calling thread.
pub(crate) struct Bare(Vec<File>);

impl Bare {
    pub(crate) fn open(folder: &Path) -> Self {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                files.append(&mut Self::open(&entry.path()).0);
            } else if entry.metadata().unwrap().len() > 1 << 20 {
                // Into the page cache.
                drop(std::fs::read(entry.path()).unwrap());
                files.push(File::open(entry.path()).unwrap());
            }
        }
        Self(files)
    }
}

impl Engine for Bare {
    fn name(&self) -> &'static str {
        "pread"
    }

    fn read(&self, numbers: Vec<u64>) -> usize {
        let read = |number: u64| {
            let mut bytes = vec![0; VALUE_BYTES];
            let place = 4096 + number % u64::from(TABLE_BLOCKS) * BLOCK_BYTES as u64;
            let file = &self.0[(number / u64::from(TABLE_BLOCKS)) as usize % self.0.len()];
            file.read_exact_at(&mut bytes, place).is_ok()
        };
        numbers.into_iter().filter(|number| read(*number)).count()
    }
}
