//! What a store tells Prometheus is what it did, and what it holds goes when it goes.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime, ManualClock, Urgency};
use alluvium_forst::{ForstMetrics, ForstSettings, KeepAll, NoMerges, Resident, Store, StoreOptions};
use object_store::memory::InMemory;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

struct World {
    store: Store,
    background: Arc<Background>,
    bell: Receiver<()>,
    clock: Arc<ManualClock>,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        let (ring, bell) = channel();
        let background = Arc::new(Background::new(1).unwrap());
        let mut store = Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
                block_size_bytes: 1024,
                ..ForstSettings::default()
            },
            store: Arc::new(InMemory::new()),
            io: IoRuntime::new(1).unwrap(),
            background: Arc::clone(&background),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: Arc::new(move || ring.send(()).unwrap_or(())),
            prefix: "state".to_owned(),
            restored: Vec::new(),
        })
        .unwrap();
        let clock = Arc::new(ManualClock::default());
        let (metrics, mut registry) = (ForstMetrics::new(clock.clone()), Registry::default());
        metrics.register(&mut registry);
        store.report_to(&metrics);
        Self { store, background, bell, clock, registry }
    }

    fn wait(&mut self) {
        self.bell.recv_timeout(Duration::from_mins(1)).expect("nobody rang for a minute");
    }

    fn poll(&mut self) {
        self.store.poll(&mut |_, answer| assert!(answer.is_ok())).unwrap();
    }
}

/// A metric's value as it is shown.
fn shown(registry: &Registry, metric: &str) -> f64 {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in\n{text}")).parse().unwrap()
}

fn key(number: u64) -> Vec<u8> {
    // Spread, so that every flush overlaps the others.
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()
}

#[test]
fn jobs_bytes_blocks_and_stalls_are_what_the_store_did() {
    let mut world = World::new();
    let mut written = 0_u32;
    for number in 0..30_000 {
        world.store.put(&key(number), &[7; 100]).unwrap();
        written += 108;
        if !world.store.admits() {
            world.poll();
            while !world.store.admits() {
                world.wait();
                world.poll();
            }
        }
    }
    while shown(&world.registry, "forst_jobs_total{kind=\"compaction\"}") < 1.0 {
        world.wait();
        world.poll();
    }
    for number in 0..1000 {
        let key = key(number * 29);
        if matches!(world.store.get_resident(&key).unwrap(), Resident::Miss) {
            world.store.read([(number, key.as_slice())]);
            while world.store.reads_under_way() > 0 {
                world.wait();
                world.poll();
            }
            // What was fetched just now is in memory, unless a compaction has ended since.
            assert_ne!(world.store.get_resident(&key).unwrap(), Resident::Absent);
        }
    }
    // The last ones that memory answered are told at the next news, or in a while.
    (0..100).for_each(|_| world.poll());
    let (counters, registry) = (world.store.counters(), &world.registry);
    let metric = |name: &str| shown(registry, name);
    let count = |number: u64| f64::from(u32::try_from(number).unwrap());
    assert_eq!(metric("forst_jobs_total{kind=\"flush\"}").to_bits(), count(counters.flushes).to_bits());
    assert!(counters.flushes > 3 && metric("forst_jobs_total{kind=\"compaction\"}") > 0.0);
    assert!(metric("forst_job_duration_seconds_count{kind=\"compaction\"}") > 0.0);
    for (tier, counted) in [("memory", counters.memory_hits), ("store", counters.misses)] {
        let blocks = metric(&format!("forst_block_reads_total{{tier=\"{tier}\"}}"));
        assert!(counted > 0 && blocks.to_bits() == count(counted).to_bits(), "{tier}: {blocks}, {counted}");
    }
    let missed = metric("forst_missed_reads_total");
    assert!(missed > 0.0 && missed <= 1000.0, "{missed}");
    // Everything was written once, with a few bytes a key around it; a little is in memory still.
    let frozen = metric("forst_frozen_bytes_total");
    assert!((0.7..1.2).contains(&(frozen / f64::from(written))), "{frozen} of {written}");
    let data: f64 = (0..7).map(|level| metric(&format!("forst_table_bytes{{level=\"{level}\"}}"))).sum();
    let (flushed, compacted) = (
        metric("forst_job_written_bytes_total{kind=\"flush\"}"),
        metric("forst_job_written_bytes_total{kind=\"compaction\"}"),
    );
    assert!(data > 0.0 && data < flushed + compacted, "{data}, {flushed}, {compacted}");
    assert!(metric("forst_job_read_bytes_total{kind=\"compaction\"}") > 0.0);
    // A read that a batch finds in memory is no miss, though it was asked for in a batch.
    let newest = key(29_999);
    world.store.read([(0, newest.as_slice())]);
    (0..100).for_each(|_| world.poll());
    assert_eq!(shown(&world.registry, "forst_missed_reads_total").to_bits(), missed.to_bits());
}

#[test]
fn a_stall_is_counted_and_timed_from_its_beginning_to_its_end() {
    let mut world = World::new();
    // The one background thread is busy, so that what is frozen stays so.
    let (release, gate) = channel::<()>();
    world.background.run(Urgency::High, move || gate.recv().unwrap_or(()));
    let mut numbers = 0..;
    while world.store.admits() {
        world.store.put(&key(numbers.next().unwrap()), &[7; 100]).unwrap();
    }
    world.poll();
    assert_eq!(shown(&world.registry, "forst_stalled_stores").to_bits(), 1.0_f64.to_bits());
    world.clock.advance(Duration::from_millis(1500));
    drop(release);
    while !world.store.admits() {
        world.wait();
        world.poll();
    }
    assert_eq!(shown(&world.registry, "forst_stalls_total").to_bits(), 1.0_f64.to_bits());
    assert_eq!(shown(&world.registry, "forst_stalled_seconds_total").to_bits(), 1.5_f64.to_bits());
    assert_eq!(shown(&world.registry, "forst_stalled_stores").to_bits(), 0);
}

#[test]
fn a_store_that_is_closed_takes_its_memory_and_tables_with_it() {
    let mut world = World::new();
    for number in 0..5000 {
        world.store.put(&key(number), &[7; 100]).unwrap();
    }
    while world.store.counters().flushes == 0 {
        world.wait();
        world.poll();
    }
    let gauges = [
        "forst_memory_bytes{reservation=\"memtables\"}",
        "forst_memory_bytes{reservation=\"tails\"}",
        "forst_memory_limit_bytes{reservation=\"background\"}",
        // The first run meets nothing below level 0 and sinks.
        "forst_tables{level=\"6\"}",
        "forst_table_bytes{level=\"6\"}",
    ];
    let World { store, registry, .. } = world;
    for gauge in gauges {
        assert!(shown(&registry, gauge) > 0.0, "{gauge}");
    }
    drop(store);
    for gauge in gauges {
        assert_eq!(shown(&registry, gauge).to_bits(), 0, "{gauge}");
    }
}
