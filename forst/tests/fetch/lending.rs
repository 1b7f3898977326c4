//! Memory that memtables do not use holds blocks, until it is written to; what blocks do not use a compaction reads ahead with.
use std::any::Any;

use alluvium_env::Entropy;
use alluvium_forst::Store;

use super::faulty::FaultyStore;
use super::world::{MemoryGauge, World, key_of, value_of};

/// Twice as much as memory holds.
const KEYS: u64 = 60_000;
/// A store of the least memory: but for the buffers of flush and compaction.
const ALL_BYTES: f64 = (896 << 10) as f64;
/// Of that, what nobody but blocks and tails may use.
const OWN_BYTES: f64 = (384 << 10) as f64;
/// After so many polls there has been a report.
const POLLS: usize = 64;

/// What there is in memory.
#[derive(Debug)]
struct Used {
    memtables: f64,
    blocks: f64,
    tails: f64,
    /// By a compaction.
    borrowed: f64,
}

impl Used {
    fn all(&self) -> f64 {
        self.memtables + self.blocks + self.tails + self.borrowed
    }
}

/// A store that has twice as much as memory holds.
struct Lender {
    world: World,
    store: Store,
    gauge: MemoryGauge,
}

impl Lender {
    fn new() -> Self {
        let world = World::new(FaultyStore::new());
        let restored = world.fill("first", KEYS, value_of);
        let mut store = world.open("second", Some(&restored));
        let gauge = MemoryGauge::of(&mut store);
        Self { world, store, gauge }
    }

    fn used(&mut self) -> Used {
        for _ in 0..POLLS {
            self.store.poll(&mut |_, _| ()).unwrap();
        }
        let of = |reservation| self.gauge.read(reservation);
        Used {
            memtables: of("memtables"),
            blocks: of("blocks"),
            tails: of("tails"),
            borrowed: of("borrowed"),
        }
    }

    /// Reads everything, so that blocks take all the memory there is for them.
    fn read(&mut self) {
        for keys in (0..KEYS).collect::<Vec<_>>().chunks(50) {
            for (key, answer) in keys.iter().zip(self.world.read(&mut self.store, keys)) {
                assert_eq!(answer.unwrap(), Some(value_of(*key)), "key {key}");
            }
        }
    }

    fn put(&mut self, key: u64) {
        self.store.put(&key_of(key), &value_of(key)).unwrap();
    }

    fn turn(&mut self) {
        self.world.wait();
        self.store.poll(&mut |_, _| ()).unwrap();
    }
}

#[test]
fn blocks_have_what_memtables_leave_and_give_it_back_when_it_is_written_to() {
    let mut lender = Lender::new();
    // A compaction may hold blocks that are to be kept.
    let mut passes = 0;
    let idle = loop {
        lender.read();
        let used = lender.used();
        passes += 1;
        if passes == 20 || used.all() > ALL_BYTES * 0.9 {
            break used;
        }
    };
    assert!(idle.all() > ALL_BYTES * 0.9 && idle.all() <= ALL_BYTES, "{idle:?}");

    let (random, mut least) = (Entropy::from_seed(1), idle.blocks);
    for _ in 0..400 {
        for _ in 0..100 {
            lender.put(random.next_u64() % KEYS);
        }
        while !lender.store.admits() {
            lender.turn();
        }
        let used = lender.used();
        assert!(used.all() <= ALL_BYTES, "{used:?}");
        least = least.min(used.blocks);
    }
    assert!(least < OWN_BYTES, "{least} bytes of blocks are the fewest: hardly anything was given back");
    lender.read();
}

#[test]
fn a_compaction_borrows_what_nobody_reads() {
    let (mut lender, random, mut most) = (Lender::new(), Entropy::from_seed(2), 0.0_f64);
    while lender.store.counters().compactions < 3 {
        for _ in 0..500 {
            lender.put(random.next_u64() % KEYS);
            while !lender.store.admits() {
                lender.turn();
            }
        }
        let used = lender.used();
        assert!(used.all() <= ALL_BYTES, "{used:?}");
        // The first began over a cache that had nothing yet.
        if lender.store.counters().compactions > 0 {
            most = most.max(used.borrowed);
        }
    }
    assert!(most > OWN_BYTES / 8.0, "{most} bytes are the most that a compaction borrowed");
}

/// A memtable is flushed while something of it is held.
fn held_behind_its_flush(take: fn(&mut Store) -> Box<dyn Any>) {
    let mut lender = Lender::new();
    (0..2500).for_each(|key| lender.put(key));
    let held = take(&mut lender.store);
    while lender.store.counters().flushes == 0 {
        lender.turn();
    }
    lender.read();
    let before = lender.used();
    drop(held);
    lender.read();
    let after = lender.used();
    assert!(after.blocks > before.blocks + 100_000.0, "{before:?}, {after:?}");
}

#[test]
fn a_memtable_that_a_scan_reads_is_in_use_though_it_was_flushed() {
    held_behind_its_flush(|store| Box::new(store.scan()));
}

#[test]
fn a_log_that_a_checkpoint_uploads_is_in_use_though_its_memtable_was_flushed() {
    held_behind_its_flush(|store| {
        let snapshot = store.snapshot();
        // It freezes the memtable, and reads nothing of it.
        drop(store.scan());
        Box::new(snapshot)
    });
}
