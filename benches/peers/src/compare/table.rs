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

    /// How often it was measured.
    pub(super) fn rounds(&self) -> u32 {
        u32::try_from(self.figures.len()).unwrap_or(u32::MAX)
    }

    /// The median of what `figure` finds in each measurement.
    fn median(&self, figure: impl Fn(&Value) -> Option<f64>) -> Option<f64> {
        let mut all: Vec<_> = self.figures.iter().filter_map(figure).collect();
        all.sort_by(f64::total_cmp);
        // Of an even number it is the mean of the middle two.
        let upper = *all.get(all.len() / 2)?;
        let lower = *all.get((all.len() - 1) / 2)?;
        Some(f64::midpoint(lower, upper))
    }

    fn rate(&self) -> Option<f64> {
        self.median(at("/operations_per_second"))
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

fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

fn times(one: Option<f64>, other: Option<f64>) -> String {
    match (one, other) {
        (Some(one), Some(other)) if other > 0.0 => format!("{:.2}", one / other),
        _ => "–".to_owned(),
    }
}

/// A figure of one measurement.
fn figure(figures: &Value, pointer: &str) -> Option<f64> {
    figures.pointer(pointer)?.as_f64()
}

fn part(figures: &Value, part: &str, whole: f64) -> Option<f64> {
    Some(figure(figures, part)? / Some(whole).filter(|whole| *whole > 0.0)?)
}

/// Requests for each block that was not in a cache, where the system counts those.
fn gets_per_miss(figures: &Value) -> Option<f64> {
    part(figures, "/store/gets", figure(figures, "/cache/misses")?)
}

fn cpu_per_miss(figures: &Value) -> Option<f64> {
    let each = figure(figures, "/cpu/micros_per_operation")?;
    Some(each * part(figures, "/operations", figure(figures, "/cache/misses")?)?)
}

/// Bytes read from the store until nothing was left to do, a second and a request.
fn read_rate(figures: &Value) -> Option<f64> {
    part(figures, "/store/bytes_read", figure(figures, "/seconds")? + figure(figures, "/debt/seconds")?)
}

fn read_size(figures: &Value) -> Option<f64> {
    part(figures, "/store/bytes_read", figure(figures, "/store/gets")?)
}

type Text<'a> = Box<dyn Fn(&Row) -> String + 'a>;

/// A title and what a row says there.
type Column<'a> = (&'static str, Text<'a>);

fn column<'a>(
    title: &'static str,
    of: impl Fn(&Value) -> Option<f64> + 'a,
    how: impl Fn(f64) -> String + 'a,
) -> Column<'a> {
    (title, Box::new(move |row| row.median(&of).map_or_else(|| "–".to_owned(), &how)))
}

fn at(pointer: &'static str) -> impl Fn(&Value) -> Option<f64> {
    move |figures| figure(figures, pointer)
}

fn speed(rows: &[Row]) -> Vec<Column<'static>> {
    let best = |of: fn(&Row) -> Option<f64>| {
        rows.iter().filter(|row| is_peer(&row.label)).filter_map(of).reduce(f64::max)
    };
    let (best_rate, best_first) = (best(Row::rate), best(Row::first));
    let mut columns: Vec<Column> = vec![
        ("system", Box::new(|row| row.label.clone())),
        (
            "ops/s",
            Box::new(|row| {
                let failed = || row.failure.clone().unwrap_or_else(|| "–".to_owned());
                row.rate().map_or_else(failed, |rate| thousands(rate) + &row.spread())
            }),
        ),
        ("× best peer", Box::new(move |row| times(row.rate(), best_rate))),
    ];
    if rows.iter().any(|row| row.first().is_some()) {
        let first = |row: &Row| row.first().map_or_else(|| "–".to_owned(), thousands);
        columns.push(("first 10 s", Box::new(first)));
        columns.push(("× best peer", Box::new(move |row| times(row.first(), best_first))));
    }
    columns
}

fn columns(case: Case, rows: &[Row]) -> Vec<Column<'static>> {
    let factor = |factor: f64| format!("{factor:.2}");
    let mut columns = speed(rows);
    columns.extend([
        column("p50", at("/latency/p50_micros"), micros),
        column("p99", at("/latency/p99_micros"), micros),
        column("p99.9", at("/latency/p999_micros"), micros),
        column("CPU/op", at("/cpu/micros_per_operation"), micros),
        column("gets/op", at("/store/gets_per_operation"), factor),
    ]);
    if case == Case::Cold {
        columns.push(column("gets/miss", gets_per_miss, factor));
        columns.push(column("CPU/miss", cpu_per_miss, micros));
    }
    if case == Case::Compact {
        columns.push(column("read", at("/store/bytes_read"), mebibytes));
        columns.push(column("read/s", read_rate, |bytes| format!("{:.1} MB", bytes / 1e6)));
        columns.push(column("read/get", read_size, |bytes| format!("{:.0} KiB", bytes / 1024.0)));
    }
    columns.extend([
        column("debt", at("/debt/seconds"), |seconds| format!("{seconds:.1} s")),
        column("write amp", at("/amplification/write"), factor),
        column("space amp", at("/amplification/space"), factor),
        column("peak RSS", at("/peak_rss_bytes"), mebibytes),
    ]);
    columns
}

/// The table.
pub(super) fn print(case: Case, rows: &[Row]) -> String {
    let columns = columns(case, rows);
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        let field = |(at, (_, text)): (usize, &Column)| {
            let alignment = if at == 0 { CellAlignment::Left } else { CellAlignment::Right };
            Field::new(text(row)).set_alignment(alignment)
        };
        table.add_row(columns.iter().enumerate().map(field));
    }
    format!("\n{}: {}\n\n{table}\n", case.name(), case.what())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(label: &str, json: &str) -> Row {
        let mut row = Row::new(label.to_owned());
        row.add(serde_json::from_str(json).unwrap());
        row
    }

    #[test]
    fn a_system_that_counts_misses_is_shown_what_each_takes() {
        let counts = r#"{"operations":100,"operations_per_second":1,"store":{"gets":45},"cache":{"misses":90},
            "cpu":{"micros_per_operation":18.0}}"#;
        let rows = [measured("alluvium", counts), measured("slatedb", r#"{"operations_per_second":4}"#)];
        let text = print(Case::Cold, &rows);
        let line = |system| text.lines().find(|line| line.contains(system)).unwrap().replace(' ', "");
        assert!(line("alluvium").contains("|0.50|20.0µs|"), "{text}");
        assert!(line("alluvium").contains("|0.00k|0.25|"), "{text}");
        assert!(line("slatedb").contains("|1.00|"), "{text}");
    }

    #[test]
    fn two_rounds_show_their_mean_and_both() {
        let mut row = measured("fjall", r#"{"operations_per_second":20000}"#);
        row.add(serde_json::from_str(r#"{"operations_per_second":40000}"#).unwrap());
        let text = print(Case::Cold, &[row]);
        assert!(text.contains("30k (20k–40k)"), "{text}");
    }

    #[test]
    fn what_compaction_read_is_shown_over_the_whole_time() {
        let counts = r#"{"operations_per_second":1,"seconds":6,"debt":{"seconds":4},
            "store":{"gets":100,"bytes_read":104857600}}"#;
        let text = print(Case::Compact, &[measured("cobble", counts)]);
        assert!(text.contains("10.5 MB") && text.contains("1024 KiB") && text.contains("100 MiB"), "{text}");
    }
}
