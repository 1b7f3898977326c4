//! Checkpoints, restores and rescales of whole jobs, as tables.
use serde_json::Value;

use super::results::{Results, Row};
use super::table::{Table, named, or_dash};
use super::units;

/// Bytes of a key, beside those of its value.
const KEY_BYTES: f64 = 16.0;

/// How much state the job has.
pub(super) fn state_bytes(figures: &Value) -> Option<f64> {
    let of = |name: &str| figures.get(name)?.as_f64();
    Some(of("keys")? * (of("value_bytes")? + KEY_BYTES))
}

/// A figure of the restore to which `at` leads, in milliseconds.
pub(super) fn restored(figures: &Value, at: usize, name: &str) -> Option<f64> {
    figures.get("restores")?.get(at)?.get(name)?.as_f64()
}

fn restores(row: &Row, name: &'static str) -> String {
    let count = row.last().and_then(|last| last.get("restores")?.as_array()).map_or(0, Vec::len);
    let all = (0..count).map(|at| {
        or_dash(row.spread(|figures| restored(figures, at, name)).map(|s| s.median), units::millis)
    });
    let all: Vec<_> = all.collect();
    if all.is_empty() { "–".to_owned() } else { all.join(", ") }
}

/// How a job is called beside others: its size is a column of its own, or why it has none.
fn sized(row: &Row) -> [String; 2] {
    let failure = || row.last().and_then(|last| last.get("error")?.as_str()).unwrap_or("–").to_owned();
    let state = row.spread(state_bytes).map(|bytes| units::bytes(bytes.median));
    [named(row), state.unwrap_or_else(failure)]
}

/// What jobs are compared by: how it is called, and where its milliseconds are.
const COMPARED: [(&str, &str); 3] = [
    ("a checkpoint", "/checkpoints/millis/p50"),
    ("restart at 2 subtasks instead of 1", "/restores/1/millis_to_first_record"),
    ("restart at 1 subtask instead of 2", "/restores/2/millis_to_first_record"),
];

/// Our times beside the shortest of others', in a line each; nothing if nobody was measured beside us.
pub(super) fn glance(results: &Results, compares: &[&str]) -> Option<String> {
    let titles = ["what takes", "state", "Alluvium", "shortest of Flink's", "Flink's ÷ Alluvium's"];
    let (mut table, mut is_empty) = (Table::new(titles), true);
    for compare in compares {
        let rows = results.rows(compare);
        let shortest = |point: Option<&str>, is_own: bool, pointer: &str| {
            let some = rows.iter().filter(|row| row.point == point && row.is_own() == is_own);
            let times = some.filter_map(|row| Some((row.median(pointer)?, row)));
            times.min_by(|(one, _), (other, _)| one.total_cmp(other))
        };
        for (what, pointer) in COMPARED {
            for own in rows.iter().filter(|row| row.is_own()) {
                let Some((ours, _)) = shortest(own.point, true, pointer) else { continue };
                let Some((theirs, peer)) = shortest(own.point, false, pointer) else { continue };
                let ratio = theirs / ours;
                let shown =
                    if ratio < 1.0 { format!("{ratio:.2} (behind)") } else { format!("**{ratio:.2}**") };
                let what = format!("`{compare}`: {what}");
                let state = own.point.unwrap_or("–").to_owned();
                let theirs = format!("{} ({})", units::millis(theirs), peer.label);
                table.row([what, state, units::millis(ours), theirs, shown]);
                is_empty = false;
            }
        }
    }
    (!is_empty).then(|| table.into_text())
}

/// How long tasks stand still, which Flink tells in whole milliseconds.
fn stop(row: &Row) -> String {
    let how: fn(f64) -> String = if row.is_own() { units::micros } else { whole_millis };
    pair(row, "sync_micros", how)
}

fn whole_millis(micros: f64) -> String {
    if micros < 1e3 { "< 1 ms".to_owned() } else { units::micros(micros) }
}

/// Both ends of a figure of checkpoints.
fn pair(row: &Row, name: &str, how: fn(f64) -> String) -> String {
    let of = |at: &str| or_dash(row.median(&format!("/checkpoints/{name}/{at}")), how);
    format!("{}, {}", of("p50"), of("p99"))
}

/// What a checkpoint takes of each system.
pub(super) fn checkpoints_beside(results: &Results, compare: &str) -> String {
    let mut table = Table::new([
        "system",
        "state",
        "tasks stand still, p50, p99",
        "checkpoint, p50, p99",
        "uploaded",
        "changed",
        "PUT",
        "peak memory",
    ]);
    for row in results.rows(compare) {
        let of =
            |name: &str, how: fn(f64) -> String| or_dash(row.median(&format!("/checkpoints/{name}")), how);
        let figures = [
            stop(&row),
            pair(&row, "millis", units::millis),
            of("uploaded_bytes", units::bytes),
            of("changed_bytes", units::bytes),
            of("puts", |each| format!("{each:.1}")),
            or_dash(row.median("/peak_rss_bytes"), units::bytes),
        ];
        table.row(sized(&row).into_iter().chain(figures));
    }
    table.into_text()
}

/// What restarts take of each system, one after the other.
pub(super) fn restarts_beside(results: &Results, compare: &str) -> String {
    let rows = results.rows(compare);
    let parallelism = |figures: &Value| figures.get("parallelism")?.as_u64();
    let mut was = rows.iter().find_map(|row| row.last().and_then(parallelism));
    let mut titles = vec!["system".to_owned(), "state".to_owned()];
    let restores = rows.iter().find_map(|row| row.last()?.get("restores")?.as_array());
    for restored in restores.into_iter().flatten() {
        let at = |subtasks: Option<u64>| subtasks.map_or("?".to_owned(), |count| count.to_string());
        let now = parallelism(restored);
        titles.push(format!("{} → {}: first record", at(was), at(now)));
        titles.push("old rate".to_owned());
        was = now;
    }
    let count = titles.len() / 2 - 1;
    let mut table = Table::new(titles.iter().map(String::as_str));
    for row in &rows {
        let of = |at: usize| {
            ["millis_to_first_record", "millis_to_old_rate"].map(|name| {
                let figure = row.spread(|figures| restored(figures, at, name));
                or_dash(figure.map(|spread| spread.median), units::millis)
            })
        };
        table.row(sized(row).into_iter().chain((0..count).flat_map(of)));
    }
    table.into_text()
}

/// What a checkpoint takes, and what a restart at other parallelisms takes, a row a size of state.
pub(super) fn table(results: &Results, compare: &str) -> String {
    let mut table = Table::new([
        "job",
        "state",
        "tasks stand still, p50, p99",
        "checkpoint, p50, p99",
        "uploaded",
        "changed",
        "first record after restores",
        "old rate, or all read back, after",
        "peak memory",
    ]);
    for row in results.rows(compare) {
        let later = ["millis_to_old_rate", "millis_to_all_read_back"].map(|name| restores(&row, name));
        let later = later.into_iter().find(|text| text.contains(|c: char| c.is_ascii_digit()));
        table.row([
            named(&row),
            or_dash(row.spread(state_bytes).map(|bytes| bytes.median), units::bytes),
            stop(&row),
            pair(&row, "millis", units::millis),
            or_dash(row.median("/checkpoints/uploaded_bytes"), units::bytes),
            or_dash(row.median("/checkpoints/changed_bytes"), units::bytes),
            restores(&row, "millis_to_first_record"),
            later.unwrap_or_else(|| "–".to_owned()),
            or_dash(row.median("/peak_rss_bytes"), units::bytes),
        ]);
    }
    table.into_text()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A system's job of 1 GB: its checkpoints take so long, its restarts at one, two and one subtask so long.
    fn line(row: &str, checkpoint: u32, restarts: [u32; 3]) -> String {
        let restart = |(parallelism, millis)| serde_json::json!({ "parallelism": parallelism, "millis_to_first_record": millis });
        let restores: Vec<_> = [1, 2, 1].into_iter().zip(restarts).map(restart).collect();
        let spread = serde_json::json!({ "p50": checkpoint, "p99": 2 * checkpoint });
        let figures = serde_json::json!({
            "keys": 1_000_000, "value_bytes": 984, "parallelism": 1, "restores": restores,
            "checkpoints": { "millis": spread, "sync_micros": spread, "uploaded_bytes": 5e6 },
        });
        let line = serde_json::json!({ "compare": "job-checkpoint", "row": row, "point": "1 GB", "figures": figures });
        line.to_string() + "\n"
    }

    fn results() -> Results {
        let failed =
            r#"{"compare":"job-checkpoint","row":"flink none","point":"1 GB","figures":{"error":"cut off"}}"#;
        let run = r#"{"run":{"date":"","commit":"","machine":"","command":""}}"#.to_owned() + "\n";
        let lines = [
            run,
            line("flink rocksdb", 300, [3000, 3500, 9000]),
            line("flink forst", 200, [4000, 4500, 50]),
            line("alluvium forst", 50, [100, 150, 200]),
            failed.to_owned(),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), lines.concat()).unwrap();
        Results::read(&[file.path().to_owned()]).unwrap()
    }

    #[test]
    fn restarts_stand_below_the_parallelism_they_come_from_and_lead_to() {
        let table = restarts_beside(&results(), "job-checkpoint");
        let first = table.lines().next().unwrap();
        for title in ["1 → 1: first record", "1 → 2: first record", "2 → 1: first record"] {
            assert!(first.contains(title), "{first}");
        }
        assert!(
            table.contains("| flink rocksdb | 1.0 GB | 3000 ms | – | 3500 ms | – | 9000 ms | – |"),
            "{table}"
        );
        assert!(table.contains("| flink none | cut off |"), "{table}");
        let checkpoints = checkpoints_beside(&results(), "job-checkpoint");
        assert!(checkpoints.contains("| 50.0 µs, 100 µs | 50 ms, 100 ms | 5.0 MB |"), "{checkpoints}");
        let of_flink = "| < 1 ms, < 1 ms | 300 ms, 600 ms | 5.0 MB |";
        assert!(checkpoints.contains(of_flink), "it tells no part of a millisecond: {checkpoints}");
    }

    #[test]
    fn each_of_our_times_is_beside_the_shortest_of_others_and_says_where_it_is_behind() {
        let table = glance(&results(), &["job-checkpoint"]).unwrap();
        for (what, rest) in [
            ("a checkpoint", "50 ms | 200 ms (flink forst) | **4.00** |"),
            ("restart at 2 subtasks instead of 1", "150 ms | 3500 ms (flink rocksdb) | **23.33** |"),
            ("restart at 1 subtask instead of 2", "200 ms | 50 ms (flink forst) | 0.25 (behind) |"),
        ] {
            assert!(table.contains(&format!("| `job-checkpoint`: {what} | 1 GB | {rest}")), "{table}");
        }
        assert_eq!(glance(&results(), &["rescale"]), None);
    }
}
