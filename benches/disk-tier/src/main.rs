//! What a hit in a disk tier costs: Alluvium's mirrors, foyer's hybrid cache, and a bare `pread` of the same files. The
//! measurement behind `docs/rfcs/0002-disk-tier.md`.
//!
//! `benches/disk-tier/run` builds and runs it; `TMPDIR` names a folder on the disk to be measured. Each engine has a process
//! of its own, so that memory and CPU are its own, and is asked for the same blocks: random ones of 130,000 with nearly 4,000
//! bytes, one at a time and 64 at a time, out of the page cache and, after that has forgotten them, from the device. A read
//! ends when the block has been checked (a bare `pread` checks nothing). Wall clock on a shared machine swings; compare
//! within one run.
mod engines;
mod gauge;

use std::path::Path;
use std::process::Command;

use alluvium_forst::benching::Filling;
use engines::{Bare, Engine, Foyer, Ours};
use gauge::{Timing, forget_pages, rss_mib};

/// Blocks of all tables together.
const BLOCKS: u64 = engines::TABLES * engines::TABLE_BLOCKS as u64;
const WARM_READS: usize = 100_000;
const COLD_READS: usize = 6400;

/// The same numbers for all.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 24) % BLOCKS
}

fn hits(engine: &dyn Engine, what: &str, together: usize, reads: usize) {
    let (mut random, mut missing) = (88_172_645_463_325_252, 0);
    let batches: Vec<Vec<u64>> =
        (0..reads / together).map(|_| (0..together).map(|_| draw(&mut random)).collect()).collect();
    let mut timing = Timing::start();
    for batch in batches {
        missing += together - engine.read(batch);
        timing.lap();
    }
    timing.end(&format!("{:<10}{what}", engine.name()), together, missing);
}

fn measure(engine: &dyn Engine, folder: &Path) {
    for together in [1, 64] {
        // Everything is in the page cache after the first round.
        hits(engine, "page cache", together, WARM_READS);
    }
    device(engine, folder);
    println!("{:<10}memory {} MiB", engine.name(), rss_mib());
}

fn device(engine: &dyn Engine, folder: &Path) {
    for together in [1, 64] {
        forget_pages(folder);
        hits(engine, "device", together, COLD_READS);
    }
}

fn child(engine: &str, phase: &str, folder: &Path) {
    match (engine, phase) {
        ("alluvium", "blocks") => measure(&Ours::fill(folder, Filling::Blocks), folder),
        ("alluvium", "tables") => measure(&Ours::fill(folder, Filling::Tables), folder),
        // For a profiler.
        ("alluvium", "device") => device(&Ours::find(folder), folder),
        ("alluvium", "restart") => drop(Ours::restart(folder)),
        ("foyer", "fill") => measure(&Foyer::fill(folder), folder),
        ("foyer", "restart") => drop(Foyer::restart(folder)),
        ("pread", _) => measure(&Bare::open(folder), folder),
        _ => panic!("{engine} {phase} is nothing to measure"),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [engine, phase, folder] = &arguments[..] {
        return child(engine, phase, Path::new(folder));
    }
    let (tables, blocks, foyer) = (tempfile::tempdir(), tempfile::tempdir(), tempfile::tempdir());
    let (tables, blocks, foyer) = (tables.unwrap(), blocks.unwrap(), foyer.unwrap());
    for (engine, phase, folder) in [
        ("alluvium", "tables", &tables),
        ("pread", "read", &tables),
        ("alluvium", "restart", &tables),
        ("alluvium", "blocks", &blocks),
        ("foyer", "fill", &foyer),
        ("foyer", "restart", &foyer),
    ] {
        println!("\n{engine}, {phase}");
        let program = std::env::current_exe().unwrap();
        let status = Command::new(program).args([engine, phase]).arg(folder.path()).status().unwrap();
        assert!(status.success(), "{engine} failed");
    }
}
