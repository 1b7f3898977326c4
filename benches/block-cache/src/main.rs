//! The measurement behind `docs/rfcs/0001-block-cache.md`: a memory hit and a disk hit of the candidates, in one run.
//!
//! `cargo run --release` in this folder. Blocks of 4,000 bytes; 8,192 of them in memory, 16,384 on disk.
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foyer::{BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCacheBuilder};
use quick_cache::unsync::{Cache, DefaultLifecycle};

type Key = (u64, u32);
type Block = Arc<Vec<u8>>;

#[derive(Clone)]
struct Bytes;

impl quick_cache::Weighter<Key, Block> for Bytes {
    fn weight(&self, _: &Key, block: &Block) -> u64 {
        block.len() as u64
    }
}

const BLOCK_BYTES: usize = 4000;
const RESIDENT: u32 = 8192;
const ON_DISK: u32 = 16_384;
const HITS: u32 = 4_000_000;
const DISK_HITS: u32 = 40_000;

/// foyer's keys must be encodable; a tuple is not.
fn packed((file, block): Key) -> u64 {
    file << 32 | u64::from(block)
}

fn draw(state: &mut u64) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u32
}

fn per(hits: u32, time: Duration) -> u128 {
    time.as_nanos() / u128::from(hits)
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn block(number: u32) -> Block {
    Arc::new(number.to_le_bytes().repeat(BLOCK_BYTES / 4))
}

fn main() {
    let capacity = u64::from(RESIDENT) * 2 * BLOCK_BYTES as u64;
    let mut own: Cache<Key, Block, Bytes, foldhash::fast::RandomState> =
        Cache::with(RESIDENT as usize * 2, capacity, Bytes, Default::default(), DefaultLifecycle::default());
    let shared: quick_cache::sync::Cache<Key, Block, Bytes, foldhash::fast::RandomState> =
        quick_cache::sync::Cache::with(RESIDENT as usize * 2, capacity, Bytes, Default::default(), Default::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let hybrid = runtime.block_on(async {
        let device = FsDeviceBuilder::new(folder.path()).with_capacity(512 << 20).build().unwrap();
        HybridCacheBuilder::new()
            .memory(capacity as usize)
            .with_weighter(|_: &u64, block: &Vec<u8>| block.len())
            .storage()
            .with_engine_config(BlockEngineConfig::new(device).with_block_size(4 << 20))
            .build()
            .await
            .unwrap()
    });
    for number in 0..RESIDENT {
        own.insert((7, number), block(number));
        shared.insert((7, number), block(number));
        hybrid.memory().insert(packed((7, number)), block(number).to_vec());
    }
    for round in 0..3 {
        let mut random = 88_172_645_463_325_252;
        let mut time = |name: &str, hit: &mut dyn FnMut(Key) -> usize| {
            let start = Instant::now();
            for _ in 0..HITS {
                assert_eq!(black_box(hit((7, draw(&mut random) % RESIDENT))), BLOCK_BYTES);
            }
            println!("round {round}  memory hit  {name:<34}{:>7} ns", per(HITS, start.elapsed()));
        };
        time("quick_cache, one thread's own", &mut |key| own.get(&key).unwrap().len());
        time("quick_cache, shared", &mut |key| shared.get(&key).unwrap().len());
        time("foyer hybrid, memory()", &mut |key| hybrid.memory().get(&packed(key)).unwrap().value().len());
    }

    // Disk: a mirror file read at the block's offset, and foyer's own engine. Both read from the page cache.
    let mirror = Arc::new(File::options().read(true).write(true).create_new(true).open(folder.path().join("mirror")).unwrap());
    for number in 0..ON_DISK {
        mirror.write_all_at(&block(number), u64::from(number) * BLOCK_BYTES as u64).unwrap();
        hybrid.storage_writer(packed((8, number))).insert(block(number).to_vec());
        if number % 256 == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    runtime.block_on(hybrid.storage().wait());
    for round in 0..3 {
        for batch in [1_u32, 64] {
            let mut random = 88_172_645_463_325_252;
            let (start, used) = (Instant::now(), cpu());
            runtime.block_on(async {
                for _ in 0..DISK_HITS / batch {
                    let numbers: Vec<u32> = (0..batch).map(|_| draw(&mut random) % ON_DISK).collect();
                    let mirror = Arc::clone(&mirror);
                    let read = tokio::task::spawn_blocking(move || {
                        numbers.into_iter().map(|number| {
                            let mut bytes = vec![0; BLOCK_BYTES];
                            mirror.read_exact_at(&mut bytes, u64::from(number) * BLOCK_BYTES as u64).unwrap();
                            bytes.len()
                        }).sum::<usize>()
                    });
                    assert_eq!(read.await.unwrap(), BLOCK_BYTES * batch as usize);
                }
            });
            let (wall, cpu_used) = (per(DISK_HITS, start.elapsed()), per(DISK_HITS, cpu() - used));
            println!("round {round}  disk hit    mirror, batches of {batch:<15}{wall:>7} ns wall {cpu_used:>7} ns CPU");

            let (start, used) = (Instant::now(), cpu());
            let mut lost = 0_u32;
            runtime.block_on(async {
                for _ in 0..DISK_HITS / batch {
                    let reads: Vec<_> = (0..batch).map(|_| {
                        let key = (8, draw(&mut random) % ON_DISK);
                        let hybrid = hybrid.clone();
                        tokio::spawn(async move { hybrid.storage().load(&packed(key)).await.is_ok_and(|load| load.kv().is_some()) })
                    }).collect();
                    for read in reads {
                        lost += u32::from(!read.await.unwrap());
                    }
                }
            });
            let (wall, cpu_used) = (per(DISK_HITS, start.elapsed()), per(DISK_HITS, cpu() - used));
            println!("round {round}  disk hit    foyer, batches of {batch:<16}{wall:>7} ns wall {cpu_used:>7} ns CPU, {lost} not there");
        }
    }
}
