//! What the requests of checkpoints, and what they hold, cost a month, at the list prices of an object store.
use serde_json::Value;

use super::jobs::state_bytes;
use super::results::{Results, Row};
use super::table::{Table, named, or_dash};
use super::units;

/// List prices of Amazon S3 Standard, us-east-1, November 2026: dollars a request. Deleting is free, and so are bytes on their way
/// within the region.
const PUT_DOLLARS: f64 = 0.005 / 1000.0;
const GET_DOLLARS: f64 = 0.0004 / 1000.0;
/// The same, dollars a byte that is stored for a month, of the first 50 TB.
const STORED_DOLLARS: f64 = 0.023 / 1e9;
/// How much state the price of storing it is told for.
const STATE_BYTES: f64 = 1e12;
/// What less holds is mostly logs of memtables, which says nothing about a terabyte.
const TELLING_BYTES: f64 = 1e9;
const SECONDS_A_MONTH: f64 = 30.0 * 24.0 * 3600.0;
/// A checkpoint reads a few objects. More GETs are reads of state, which go on however often checkpoints are taken.
const MOST_GETS: f64 = 10.0;
/// Between the checkpoints that were measured.
const MEASURED_SECONDS: f64 = 1.0;
/// How often a checkpoint may be taken, in seconds.
pub(super) const INTERVALS: [f64; 3] = [1.0, 10.0, 60.0];

/// Dollars a month for the requests of one checkpoint in so many seconds.
pub(super) fn dollars_a_month(checkpoints: &Value, interval_seconds: f64) -> Option<f64> {
    let count = |name: &str| checkpoints.get(name)?.as_f64();
    let (puts, gets) = (count("puts")? * PUT_DOLLARS, count("gets")?);
    let gets_apart = if gets > MOST_GETS { MEASURED_SECONDS } else { interval_seconds };
    Some((puts / interval_seconds + gets * GET_DOLLARS / gets_apart) * SECONDS_A_MONTH)
}

/// Dollars a month for storing a terabyte of such state: what the store holds of it, former checkpoints included.
fn dollars_a_terabyte(figures: &Value) -> Option<f64> {
    let (stored, state) = (figures.get("stored_bytes")?.as_f64()?, state_bytes(figures)?);
    (state >= TELLING_BYTES).then_some(stored / state * STATE_BYTES * STORED_DOLLARS)
}

/// What a checkpoint has sent to the store, whatever for.
fn sent(row: &Row) -> Option<f64> {
    row.median("/checkpoints/written_bytes").or_else(|| row.median("/checkpoints/uploaded_bytes"))
}

/// Requests of a checkpoint and their price, a row a job.
pub(super) fn table(results: &Results, compare: &str) -> String {
    let mut table = Table::new([
        "job",
        "PUT",
        "GET",
        "DELETE",
        "sent",
        "requests a month at 1 s",
        "at 10 s",
        "at 60 s",
        "1 TB of state, stored for a month",
    ]);
    for row in results.rows(compare) {
        let of = |name| row.median(&format!("/checkpoints/{name}"));
        let mut fields = vec![format!("{}, {}", named(&row), row.point.unwrap_or("–"))];
        fields.extend(["puts", "gets", "deletes"].map(|name| or_dash(of(name), |each| format!("{each:.1}"))));
        fields.push(or_dash(sent(&row), units::bytes));
        let price = |interval| {
            row.spread(|figures| dollars_a_month(figures.get("checkpoints")?, interval))
                .map(|price| price.median)
        };
        fields.extend(INTERVALS.map(|interval| or_dash(price(interval), units::dollars)));
        let stored = row.spread(dollars_a_terabyte).map(|price| price.median);
        fields.push(or_dash(stored, units::dollars));
        table.row(fields);
    }
    table.into_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_puts_and_a_get_a_second_are_twenty_seven_dollars() {
        let checkpoints = serde_json::json!({ "puts": 2.0, "gets": 1.0, "deletes": 1.0 });
        let price = dollars_a_month(&checkpoints, 1.0).unwrap();
        assert!((price - 26.96).abs() < 0.01, "{price}");
        assert!(dollars_a_month(&checkpoints, 60.0).unwrap() < price / 59.0);
        assert_eq!(dollars_a_month(&serde_json::json!({}), 1.0), None);
        let reading = serde_json::json!({ "puts": 2.0, "gets": 10_000.0 });
        let reads = dollars_a_month(&reading, 60.0).unwrap();
        assert!((reads - 10_368.43).abs() < 0.01, "reads go on between checkpoints: {reads}");
    }

    #[test]
    fn state_that_is_stored_one_and_a_half_times_costs_so_much_more() {
        let of =
            |keys: u64| serde_json::json!({ "keys": keys, "value_bytes": 84, "stored_bytes": keys * 150 });
        let price = dollars_a_terabyte(&of(10_000_000)).unwrap();
        assert!((price - 34.5).abs() < 0.01, "{price}");
        assert_eq!(dollars_a_terabyte(&of(1000)), None, "a few memtables are no terabyte");
    }
}
