//! What the requests of checkpoints cost a month, at the list prices of an object store.
use serde_json::Value;

use super::results::Results;
use super::table::{Table, or_dash};
use super::units;

/// List prices of Amazon S3 Standard, us-east-1, November 2026: dollars a request. Deleting is free.
const PUT_DOLLARS: f64 = 0.005 / 1000.0;
const GET_DOLLARS: f64 = 0.0004 / 1000.0;
const SECONDS_A_MONTH: f64 = 30.0 * 24.0 * 3600.0;
/// How often a checkpoint may be taken, in seconds.
pub(super) const INTERVALS: [f64; 3] = [1.0, 10.0, 60.0];

/// Dollars a month for the requests of one checkpoint in so many seconds.
pub(super) fn dollars_a_month(checkpoints: &Value, interval_seconds: f64) -> Option<f64> {
    let count = |name: &str| checkpoints.get(name)?.as_f64();
    let each = count("puts")? * PUT_DOLLARS + count("gets")? * GET_DOLLARS;
    Some(each * SECONDS_A_MONTH / interval_seconds)
}

/// Requests of a checkpoint and their price, a row a parallelism.
pub(super) fn table(results: &Results, compare: &str) -> String {
    let mut table = Table::new(["job", "PUT", "GET", "DELETE", "a month at 1 s", "at 10 s", "at 60 s"]);
    for row in results.rows(compare) {
        let of = |name| row.median(&format!("/checkpoints/{name}"));
        let mut fields = vec![format!("**{}**, {}", row.label, row.point.unwrap_or("–"))];
        fields.extend(["puts", "gets", "deletes"].map(|name| or_dash(of(name), |each| format!("{each:.1}"))));
        let price = |interval| {
            row.spread(|figures| dollars_a_month(figures.get("checkpoints")?, interval))
                .map(|price| price.median)
        };
        fields.extend(INTERVALS.map(|interval| or_dash(price(interval), units::dollars)));
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
    }
}
