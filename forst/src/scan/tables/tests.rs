//! What a scan has under way.
use std::fs;

use super::*;
use crate::fetch::tests::{World, on_disk, settle};

/// Scans of runs with so many tables each, in buffers of so many bytes for what a table has.
fn opened(runs: &[u64], buffer_bytes: impl Fn(u64) -> u64) -> Vec<TableScan> {
    let world = World::new(None);
    let mut numbers = 0..;
    let mut table = |_| world.table_of(numbers.next().unwrap(), 40_000).0;
    let runs: Vec<Run> = runs.iter().map(|tables| (0..*tables).map(&mut table).collect()).collect();
    let buffer_bytes = buffer_bytes(runs[0][0].data_bytes()) as usize;
    let scans = open_runs(&world.fetcher, runs, buffer_bytes, &Arc::default(), false).unwrap();
    let tables = |source| if let Source::Tables(scan) = source { Some(scan) } else { None };
    scans.into_iter().filter_map(tables).collect()
}

#[test]
fn behind_the_short_end_of_a_table_the_next_one_is_under_way() {
    for (percent_a_read, begun) in [(40, 0), (60, 1), (90, 1)] {
        let scan = opened(&[3], |table| table * percent_a_read * 2 / 100).remove(0);
        assert_eq!(scan.next.len(), begun, "reads of {percent_a_read} % of a table");
    }
}

#[test]
fn runs_share_the_buffers_by_what_their_tables_have() {
    let mut scans = opened(&[1, 3], |table| table * 2);
    let (short, long) = (scans.remove(0).reader.ahead_bytes, scans.remove(0).reader.ahead_bytes);
    assert!(short > LEAST_READ_BYTES && (5 * short..7 * short).contains(&(2 * long)), "{short} and {long}");
}

#[test]
fn a_disk_that_gives_back_another_block_costs_a_pass_speed_only() {
    const ENTRIES: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let (disk, world) = on_disk(folder.path());
    let (file, payload) = world.table_of(1, ENTRIES);
    let io = world.fetcher.io();
    let tail = io.block_on(world.fetcher.whole_tail(&file)).unwrap();
    io.block_on(world.fetcher.write_table(&file, payload, true)).unwrap();
    settle(&disk, 2);

    let mirror =
        fs::read_dir(folder.path().join("alluvium-blocks-v2")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&mirror).unwrap();
    // Behind the header page lies the table.
    let place = |number: usize| {
        tail.index.range(number).map(|range| 4096 + range.start as usize..4096 + range.end as usize)
    };
    let alike = |number: &usize| {
        place(*number).map(|range| range.len()) == place(number + 1).map(|range| range.len())
    };
    let number = (1..tail.index.blocks() - 1).find(alike).unwrap();
    bytes.copy_within(place(number + 1).unwrap(), place(number).unwrap().start);
    fs::write(&mirror, bytes).unwrap();

    let scans = open_runs(&world.fetcher, vec![vec![file]], 1 << 20, &Arc::default(), true).unwrap();
    let [Source::Tables(mut scan)] = <[Source; 1]>::try_from(scans).ok().unwrap() else {
        panic!("a run of tables")
    };
    for entry in 0..ENTRIES {
        assert_eq!(scan.entry().map(|(_, key, _)| key.to_vec()), Some(entry.to_be_bytes().to_vec()));
        scan.advance().unwrap();
    }
    assert!(scan.entry().is_none());
}
