//! Instructions of the hot paths, under callgrind: `benches/micro/run counts` compares them with `counts.txt`.
//!
//! What a path needs is made by its `setup` and handed back, so that neither making nor dropping it counts.
use std::hint::black_box;

use alluvium_bench_micro::{
    CACHED_BLOCKS, KEYS, MANY, RUN_KEYS, StorePart, decode_records, encode_records, encoded_records,
    planned_store, resident_store,
};
use alluvium_forst::benching::{BlockPart, CachePart, FilterPart, MemtablePart, MergePart, SortedRuns};
use alluvium_state_api::RecordBatch;
use gungraun::{library_benchmark, library_benchmark_group, main};

/// How often a batch is planned.
const PLANS: usize = 16;

fn block() -> BlockPart {
    let part = BlockPart::new().unwrap();
    // The first time makes what a hot block has.
    part.get_all(true).unwrap();
    part
}

fn memtable() -> MemtablePart {
    let mut part = MemtablePart::default();
    part.insert(0..KEYS).unwrap();
    part
}

fn filter() -> FilterPart {
    FilterPart::new(KEYS)
}

fn runs() -> SortedRuns {
    MergePart::new(8, RUN_KEYS).unwrap().sorted()
}

fn cache() -> CachePart {
    CachePart::new(CACHED_BLOCKS).unwrap()
}

fn in_memtable() -> StorePart {
    resident_store(false).unwrap()
}

fn in_blocks() -> StorePart {
    resident_store(true).unwrap()
}

fn cold() -> StorePart {
    planned_store().unwrap()
}

#[library_benchmark(setup = block)]
fn block_decode(part: BlockPart) -> BlockPart {
    black_box(part.decode().unwrap());
    part
}

#[library_benchmark(setup = block)]
fn block_seek(part: BlockPart) -> BlockPart {
    black_box(part.seek_all().unwrap());
    part
}

#[library_benchmark(setup = block)]
fn block_iterate(part: BlockPart) -> BlockPart {
    black_box(part.iterate().unwrap());
    part
}

#[library_benchmark(setup = block)]
fn block_get_hot(part: BlockPart) -> BlockPart {
    black_box(part.get_all(true).unwrap());
    part
}

#[library_benchmark(setup = memtable)]
fn memtable_insert(mut part: MemtablePart) -> MemtablePart {
    black_box(part.insert(KEYS..KEYS + MANY).unwrap());
    part
}

#[library_benchmark(setup = memtable)]
fn memtable_get(part: MemtablePart) -> MemtablePart {
    black_box(part.get(0..MANY).unwrap());
    part
}

#[library_benchmark(setup = filter)]
fn filter_probe(part: FilterPart) -> FilterPart {
    black_box(part.probe(KEYS / 2..KEYS / 2 + MANY));
    part
}

#[library_benchmark(setup = runs)]
fn merge_eight_runs(mut runs: SortedRuns) -> SortedRuns {
    black_box(runs.merge().unwrap());
    runs
}

#[library_benchmark(setup = cache)]
fn cache_hit(part: CachePart) -> CachePart {
    black_box(part.hits(MANY).unwrap());
    part
}

#[library_benchmark(setup = in_memtable)]
fn resident_get_memtable(part: StorePart) -> StorePart {
    black_box(part.get_resident().unwrap());
    part
}

#[library_benchmark(setup = in_blocks)]
fn resident_get_blocks(part: StorePart) -> StorePart {
    black_box(part.get_resident().unwrap());
    part
}

#[library_benchmark(setup = cold)]
fn plan_batch(mut part: StorePart) -> StorePart {
    // The seeds of hash maps differ from run to run, and with them what a plan takes, by a thirtieth.
    for _ in 0..PLANS {
        black_box(part.plan());
    }
    part
}

#[library_benchmark(setup = encoded_records)]
fn records_encode(part: (Vec<String>, RecordBatch)) -> (Vec<String>, RecordBatch) {
    black_box(encode_records(&part.0));
    part
}

#[library_benchmark(setup = encoded_records)]
fn records_decode(part: (Vec<String>, RecordBatch)) -> (Vec<String>, RecordBatch) {
    black_box(decode_records(&part.1).unwrap());
    part
}

library_benchmark_group!(
    name = paths,
    benchmarks = [
        block_decode,
        block_seek,
        block_iterate,
        block_get_hot,
        memtable_insert,
        memtable_get,
        filter_probe,
        merge_eight_runs,
        cache_hit,
        resident_get_memtable,
        resident_get_blocks,
        plan_batch,
        records_encode,
        records_decode,
    ]
);
main!(library_benchmark_groups = paths);
