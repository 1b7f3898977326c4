//! Nanoseconds of the hot paths: `benches/micro/run time [FILTER]`. Wall clock on a shared machine swings; compare within
//! one run.
use std::hint::black_box;

use alluvium_bench_micro::{
    BATCH, CACHED_BLOCKS, KEYS, MANY, RUN_KEYS, decode_records, encode_records, encoded_records,
    planned_store, resident_store,
};
use alluvium_forst::benching::{BlockPart, CachePart, FilterPart, MemtablePart, MergePart};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn blocks(criterion: &mut Criterion) {
    let part = BlockPart::new().unwrap();
    let mut group = criterion.benchmark_group("block of 4 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode", |bench| bench.iter(|| black_box(&part).decode().unwrap()));
    group.throughput(Throughput::Elements(36));
    group.bench_function("seek each key", |bench| bench.iter(|| black_box(&part).seek_all().unwrap()));
    group.bench_function("iterate", |bench| bench.iter(|| black_box(&part).iterate().unwrap()));
    for hot in [false, true] {
        let name = if hot { "get each key, hot" } else { "get each key, cold" };
        group.bench_function(name, |bench| bench.iter(|| black_box(&part).get_all(hot).unwrap()));
    }
}

fn memtables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memtable");
    group.throughput(Throughput::Elements(MANY));
    let mut part = MemtablePart::default();
    part.insert(0..KEYS).unwrap();
    group.bench_function("get", |bench| bench.iter(|| black_box(&part).get(0..MANY).unwrap()));
    group.bench_function("overwrite", |bench| bench.iter(|| part.insert(0..MANY).unwrap()));
    group.bench_function("insert", |bench| {
        let insert = |mut part: MemtablePart| {
            part.insert(0..MANY).unwrap();
            part
        };
        bench.iter_batched(MemtablePart::default, insert, BatchSize::LargeInput);
    });
}

fn filters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filter");
    let part = FilterPart::new(KEYS);
    for probes in [1, MANY] {
        group.throughput(Throughput::Elements(probes));
        let name = format!("probe {probes}");
        group.bench_function(name, |bench| bench.iter(|| black_box(&part).probe(0..probes)));
    }
}

fn merges(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("merge");
    for runs in [2, 8, 32] {
        let part = MergePart::new(runs, RUN_KEYS).unwrap();
        group.throughput(Throughput::Elements(runs * RUN_KEYS));
        group.bench_function(format!("{runs} runs"), |bench| {
            bench.iter_batched(|| part.sorted(), |mut runs| runs.merge().unwrap(), BatchSize::LargeInput);
        });
    }
}

fn stores(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(MANY));
    for flushed in [false, true] {
        let part = resident_store(flushed).unwrap();
        let name = if flushed { "resident get, blocks" } else { "resident get, memtable" };
        group.bench_function(name, |bench| bench.iter(|| black_box(&part).get_resident().unwrap()));
    }
    let cache = CachePart::new(CACHED_BLOCKS).unwrap();
    group.bench_function("block cache hit", |bench| bench.iter(|| black_box(&cache).hits(MANY).unwrap()));
    let mut part = planned_store().unwrap();
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("plan a batch of 64", |bench| bench.iter(|| part.plan()));
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("records");
    let (words, batch) = encoded_records();
    group.throughput(Throughput::Elements(MANY));
    group.bench_function("encode", |bench| bench.iter(|| encode_records(black_box(&words))));
    group.bench_function("decode", |bench| bench.iter(|| decode_records(black_box(&batch)).unwrap()));
}

criterion_group!(benches, blocks, memtables, filters, merges, stores, records);
criterion_main!(benches);
