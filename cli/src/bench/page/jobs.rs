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

/// How a job is called beside others: its size is a column of its own.
fn sized(row: &Row) -> [String; 2] {
    [named(row), or_dash(row.spread(state_bytes).map(|bytes| bytes.median), units::bytes)]
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
            pair(&row, "sync_micros", units::micros),
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
            pair(&row, "sync_micros", units::micros),
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
