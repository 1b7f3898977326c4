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
        let pair = |name: &str, how: fn(f64) -> String| {
            let of = |at: &str| or_dash(row.median(&format!("/checkpoints/{name}/{at}")), how);
            format!("{}, {}", of("p50"), of("p99"))
        };
        let later = ["millis_to_old_rate", "millis_to_all_read_back"].map(|name| restores(&row, name));
        let later = later.into_iter().find(|text| text.contains(|c: char| c.is_ascii_digit()));
        table.row([
            named(&row),
            or_dash(row.spread(state_bytes).map(|bytes| bytes.median), units::bytes),
            pair("sync_micros", units::micros),
            pair("millis", units::millis),
            or_dash(row.median("/checkpoints/uploaded_bytes"), units::bytes),
            or_dash(row.median("/checkpoints/changed_bytes"), units::bytes),
            restores(&row, "millis_to_first_record"),
            later.unwrap_or_else(|| "–".to_owned()),
            or_dash(row.median("/peak_rss_bytes"), units::bytes),
        ]);
    }
    table.into_text()
}
