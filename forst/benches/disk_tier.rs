//! What a hit in the disk tier costs a whole store, beside a bare `pread`: p50 one at a time, CPU one and 64 at a time, out
//! of the page cache and from the device. `benches/disk-tier` compares the tier by itself with others (RFC 0002).
//!
//! `cargo bench -p alluvium-forst --bench disk_tier` (a release build; set `TMPDIR` to a folder on the device to be
//! measured). Wall clock on a shared machine swings; compare within one run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking and prints its figures"
)]
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use alluvium_env::{Background, Clock as _, Entropy, IoRuntime, SystemClock};
use alluvium_forst::{
    DiskCache, DiskLimits, ForstSettings, KeepAll, NoMerges, Resident, Store, StoreOptions,
};
use object_store::memory::InMemory;

const KEYS: u64 = 1_200_000;
const WARM_READS: usize = 100_000;
const COLD_READS: usize = 4000;
const HEADER_BYTES: u64 = 4096;
const BLOCK_BYTES: usize = 4200;

type Bell = Arc<(Mutex<bool>, Condvar)>;

/// CPU seconds of the process.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Times reads one by one or batch by batch.
struct Timing {
    clock: SystemClock,
    cpu: f64,
    micros: Vec<f64>,
    last: f64,
}

impl Timing {
    fn start() -> Self {
        let clock = SystemClock::new();
        let last = clock.monotonic().as_secs_f64();
        Self { clock, cpu: cpu_seconds(), micros: Vec::new(), last }
    }

    fn lap(&mut self) {
        let now = self.clock.monotonic().as_secs_f64();
        self.micros.push((now - self.last) * 1e6);
        self.last = now;
    }

    fn end(mut self, what: &str, together: usize) {
        let reads = (self.micros.len() * together) as f64;
        let cpu = (cpu_seconds() - self.cpu) * 1e6 / reads;
        let wall = self.micros.iter().sum::<f64>() / reads;
        self.micros.sort_by(f64::total_cmp);
        let at = |percent: usize| self.micros[self.micros.len() * percent / 100];
        println!(
            "{what:<40}{together:>3} at a time   p50 {:>7.1} µs   p99 {:>7.1} µs   {wall:>6.1} µs wall {cpu:>6.1} µs CPU a read",
            at(50),
            at(99)
        );
    }
}

fn key_of(number: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[1] = (number % 128) as u8;
    key[4..12].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    key
}

struct Bench {
    store: Store,
    bell: Bell,
    random: Entropy,
    folder: PathBuf,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let bell: Bell = Arc::default();
        let ring = Arc::clone(&bell);
        let limits = DiskLimits { size_bytes: 1 << 30, min_free_bytes: 0 };
        let store = Store::open(StoreOptions {
            settings: ForstSettings { memory_bytes: 16 << 20, ..ForstSettings::default() },
            store: Arc::new(InMemory::new()),
            io: IoRuntime::new(2).unwrap(),
            background: Arc::new(Background::new(2).unwrap()),
            disk: Some(DiskCache::open(folder, limits).unwrap()),
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: Arc::new(move || {
                *ring.0.lock().unwrap() = true;
                ring.1.notify_one();
            }),
            prefix: "bench".to_owned(),
            restored: Vec::new(),
        });
        Self { store: store.unwrap(), bell, random: Entropy::from_seed(1), folder: folder.to_owned() }
    }

    fn wait(&self) {
        let mut rung = self.bell.0.lock().unwrap();
        while !*rung {
            rung = self.bell.1.wait(rung).unwrap();
        }
        *rung = false;
    }

    fn load(&mut self) {
        for number in 0..KEYS {
            let value: Vec<u8> = (0..13).flat_map(|_| self.random.next_u64().to_le_bytes()).collect();
            self.store.put(&key_of(number), &value[..100]).unwrap();
            while !self.store.admits() {
                self.wait();
                self.store.poll(&mut |_, _| ()).unwrap();
            }
        }
    }

    /// Reads until everything has come from the disk for a while: compactions still move tables.
    fn settle(&mut self) {
        let mut quiet = 0;
        while quiet < 100 {
            let before = self.store.counters();
            for _ in 0..100 {
                self.read(64);
            }
            let after = self.store.counters();
            let is_quiet = (after.misses, after.compactions) == (before.misses, before.compactions);
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
    }

    fn read(&mut self, together: usize) {
        let mut keys = Vec::with_capacity(together);
        while keys.len() < together {
            let key = key_of(self.random.next_u64() % KEYS);
            if matches!(self.store.get_resident(&key).unwrap(), Resident::Miss) {
                keys.push(key);
            }
        }
        self.store.read(keys.iter().map(|key| (0, key.as_slice())));
        let mut open = together;
        while open > 0 {
            self.store
                .poll(&mut |_, answer| {
                    assert!(answer.unwrap().value().is_some());
                    open -= 1;
                })
                .unwrap();
            if open > 0 {
                self.wait();
            }
        }
    }

    fn mirrors(&self) -> Vec<File> {
        let files = std::fs::read_dir(self.folder.join("alluvium-blocks-v2")).unwrap();
        files.map(|entry| File::open(entry.unwrap().path()).unwrap()).collect()
    }

    /// Takes the mirrors out of the page cache.
    fn forget_pages(&self) {
        for file in self.mirrors() {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }

    fn through_the_store(&mut self, what: &str, together: usize, reads: usize) {
        let before = self.store.counters();
        let mut timing = Timing::start();
        for _ in 0..reads / together {
            self.read(together);
            timing.lap();
        }
        timing.end(what, together);
        let after = self.store.counters();
        assert_eq!(after.misses, before.misses, "all of it was on the disk");
    }

    fn bare(&self, what: &str, reads: usize) {
        let length = |file: &File| file.metadata().unwrap().len();
        let mut files = self.mirrors();
        files.retain(|file| length(file) > 4 * HEADER_BYTES);
        let sizes: Vec<u64> = files.iter().map(length).collect();
        let mut timing = Timing::start();
        for _ in 0..reads {
            let file = self.random.next_u64() as usize % files.len();
            let room = sizes[file] - HEADER_BYTES - BLOCK_BYTES as u64;
            let mut bytes = vec![0; BLOCK_BYTES];
            files[file].read_exact_at(&mut bytes, HEADER_BYTES + self.random.next_u64() % room).unwrap();
            black_box(bytes);
            timing.lap();
        }
        timing.end(what, 1);
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(folder.path());
    bench.load();
    bench.settle();
    bench.bare("page cache: bare pread", WARM_READS);
    for together in [1, 64] {
        bench.through_the_store("page cache: a store's read", together, WARM_READS);
    }
    bench.forget_pages();
    bench.bare("device: bare pread", COLD_READS);
    for together in [1, 64] {
        bench.forget_pages();
        bench.through_the_store("device: a store's read", together, COLD_READS);
    }
}
