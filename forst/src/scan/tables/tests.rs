//! What a scan has under way.
use super::*;
use crate::fetch::tests::World;

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
