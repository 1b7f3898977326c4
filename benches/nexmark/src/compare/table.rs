//! The figures of a query's rows side by side.
use comfy_table::{Cell, CellAlignment, Table, presets};

use super::args::{CompareArgs, Place};
use super::figures::{Expected, Figures, ratio};
use crate::units::ByteSize;

/// The measurements of one row.
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) figures: Vec<Figures>,
    /// What one of them failed with.
    pub(super) failure: Option<String>,
}

impl Row {
    pub(super) fn new(place: Place) -> Self {
        Self { place, figures: Vec::new(), failure: None }
    }

    /// The median of a figure, and from where to where they go if there are several.
    fn field(&self, of: impl Fn(&Figures) -> f64, text: impl Fn(f64) -> String) -> String {
        let mut all: Vec<f64> = self.figures.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        match (median(&all), all.as_slice()) {
            (Some(median), [least, .., most]) => {
                format!("{} ({}–{})", text(median), text(*least), text(*most))
            }
            (Some(only), _) => text(only),
            (None, _) => "–".to_owned(),
        }
    }
}

/// The middle one of what is in order, or the mean of the middle two.
fn median(ordered: &[f64]) -> Option<f64> {
    let upper = *ordered.get(ordered.len() / 2)?;
    let lower = *ordered.get((ordered.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

const TITLES: [&str; 10] = [
    "state",
    "seconds",
    "events/s",
    "CPU/event",
    "peak RSS",
    "memory hits",
    "GETs",
    "PUTs",
    "read",
    "written",
];

/// The table.
pub(super) fn print(args: &CompareArgs, query: &str, expected: &Expected, rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(TITLES);
    for row in rows {
        let label = row.place.label(args);
        if let Some(failure) = &row.failure {
            table.add_row([Cell::new(label), Cell::new(failure)]);
            continue;
        }
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        let fields = fields(row).map(right);
        table.add_row(std::iter::once(Cell::new(label)).chain(fields));
    }
    let Expected { answer, keys, seconds } = expected;
    let (events, rate) = (args.job.events.0, args.job.rate.0);
    format!(
        "\n{query}: {events} events, {rate} a second of event time; {keys} keys, {} rows; plain memory took {seconds:.1} s\n\n\
         {table}\n",
        answer.rows
    )
}

#[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "counts below 2^53")]
fn fields(row: &Row) -> [String; TITLES.len() - 1] {
    let size = |bytes: f64| ByteSize(bytes as u64).to_string();
    let count = |number: f64| format!("{number:.0}");
    [
        row.field(|one| one.seconds, |seconds| format!("{seconds:.2}")),
        row.field(|one| one.operations_per_second / 1000.0, |rate| format!("{rate:.0}k")),
        row.field(|one| one.cpu.micros_per_operation, |micros| format!("{micros:.2} µs")),
        row.field(|one| one.peak_rss_bytes as f64, size),
        row.field(
            |one| {
                let hits = one.cache.memory_hits;
                ratio(hits, hits + one.cache.disk_hits + one.cache.misses).unwrap_or(f64::NAN) * 100.0
            },
            |percent| if percent.is_nan() { "–".to_owned() } else { format!("{percent:.1} %") },
        ),
        row.field(|one| one.store.gets as f64, count),
        row.field(|one| one.store.puts as f64, count),
        row.field(|one| one.store.bytes_read as f64, size),
        row.field(|one| one.store.bytes_written as f64, size),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[10.0, 30.0]), Some(20.0));
        assert_eq!(median(&[10.0, 20.0, 90.0]), Some(20.0));
        assert_eq!(median(&[]), None);
    }
}
