//! The figures of a case side by side, with what each is of the best peer's.
use alluvium_env::Error;
use comfy_table::{Cell as Field, CellAlignment, Table, presets};
use serde_json::Value;

use super::cases::{Case, is_peer};

/// The first seconds of a measurement are shown apart where it goes on for longer.
const FIRST_SECONDS: usize = 10;

/// The measurements of one row.
pub(super) struct Row {
    pub(super) label: String,
    figures: Vec<Value>,
    failure: Option<String>,
}

impl Row {
    pub(super) fn new(label: String) -> Self {
        Self { label, figures: Vec::new(), failure: None }
    }

    pub(super) fn add(&mut self, figures: Value) {
        self.figures.push(figures);
    }

    pub(super) fn fail(&mut self, error: &Error) {
        self.failure = Some(error.to_string());
    }

    /// The median of what `figure` finds in each measurement.
    fn median(&self, figure: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
        let mut all: Vec<_> = self.figures.iter().filter_map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    }

    fn at(&self, pointer: &str) -> Option<f64> {
        self.median(|figures| figures.pointer(pointer)?.as_f64())
    }

    fn rate(&self) -> Option<f64> {
        self.at("/operations_per_second")
    }

    /// Operations a second at the beginning, if that is less than all.
    fn first(&self) -> Option<f64> {
        self.median(|figures| {
            let seconds = figures.get("per_second")?.as_array()?;
            let first: Vec<_> = seconds.get(..FIRST_SECONDS)?.iter().filter_map(Value::as_f64).collect();
            let divisor = f64::from(u32::try_from(first.len()).ok()?);
            (seconds.len() > FIRST_SECONDS).then(|| first.iter().sum::<f64>() / divisor)
        })
    }

    fn spread(&self) -> String {
        let rates = self.figures.iter().filter_map(|figures| figures.get("operations_per_second")?.as_f64());
        let (mut least, mut most, mut count) = (f64::INFINITY, 0.0_f64, 0);
        for rate in rates {
            (least, most, count) = (least.min(rate), most.max(rate), count + 1);
        }
        if count > 1 { format!(" ({}–{})", thousands(least), thousands(most)) } else { String::new() }
    }
}

fn thousands(rate: f64) -> String {
    if rate >= 10_000.0 { format!("{:.0}k", rate / 1000.0) } else { format!("{:.2}k", rate / 1000.0) }
}

fn micros(value: f64) -> String {
    if value >= 1000.0 { format!("{:.2} ms", value / 1000.0) } else { format!("{value:.1} µs") }
}

/// The table.
pub(super) fn print(case: Case, rows: &[Row]) -> String {
    let best = |of: fn(&Row) -> Option<f64>| {
        rows.iter().filter(|row| is_peer(&row.label)).filter_map(of).reduce(f64::max)
    };
    let (best_rate, best_first) = (best(Row::rate), best(Row::first));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "system",
        "ops/s",
        "× best peer",
        "first 10 s",
        "× best peer",
        "p50",
        "p99",
        "p99.9",
        "CPU/op",
        "gets/op",
        "debt",
        "write amp",
        "space amp",
        "peak RSS",
    ]);
    let show = |value: Option<f64>, how: &dyn Fn(f64) -> String| value.map_or("–".to_owned(), how);
    let times = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => format!("{:.2}", one / other),
        _ => "–".to_owned(),
    };
    for row in rows {
        let rate = row.rate().map_or_else(
            || row.failure.clone().unwrap_or_else(|| "–".to_owned()),
            |rate| thousands(rate) + &row.spread(),
        );
        let fields = [
            row.label.clone(),
            rate,
            times(row.rate(), best_rate),
            show(row.first(), &thousands),
            times(row.first(), best_first),
            show(row.at("/latency/p50_micros"), &micros),
            show(row.at("/latency/p99_micros"), &micros),
            show(row.at("/latency/p999_micros"), &micros),
            show(row.at("/cpu/micros_per_operation"), &micros),
            show(row.at("/store/gets_per_operation"), &|gets| format!("{gets:.2}")),
            show(row.at("/debt/seconds"), &|seconds| format!("{seconds:.1} s")),
            show(row.at("/amplification/write"), &|factor| format!("{factor:.2}")),
            show(row.at("/amplification/space"), &|factor| format!("{factor:.2}")),
            show(row.at("/peak_rss_bytes"), &|bytes| format!("{:.0} MiB", bytes / f64::from(1 << 20))),
        ];
        let right = |(at, text): (usize, String)| {
            let alignment = if at == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Field::new(text).set_alignment(alignment)
        };
        table.add_row(fields.into_iter().enumerate().map(right));
    }
    format!("\n{}: {}\n\n{table}\n", case.name(), case.what())
}
