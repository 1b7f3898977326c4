//! Tables of the page: a row a system, medians with the least and the most, and what they are of the best peer's.
use serde_json::Value;

use super::results::Row;
use super::units;

/// A title, the figure, and how it is written.
type Column = (&'static str, fn(&Value) -> Option<f64>, fn(f64) -> String);

/// Columns that every measured system can have; those that no row has are left out.
const COLUMNS: [Column; 13] = [
    ("p50", |figures| at(figures, "/latency/p50_micros"), units::micros),
    ("p99", |figures| at(figures, "/latency/p99_micros"), units::micros),
    ("p99.9", |figures| at(figures, "/latency/p999_micros"), units::micros),
    ("CPU an operation", |figures| at(figures, "/cpu/micros_per_operation"), units::micros),
    ("CPU", |figures| at(figures, "/cpu_seconds"), units::seconds),
    ("GETs an operation", |figures| at(figures, "/store/gets_per_operation"), units::factor),
    ("bytes read an operation", |figures| at(figures, "/store/bytes_read_per_operation"), units::bytes),
    ("compactions read a second", compacted_per_second, units::bytes),
    ("and a GET", compacted_per_get, units::bytes),
    ("left to do", |figures| at(figures, "/debt/seconds"), units::seconds),
    ("write amplification", |figures| at(figures, "/amplification/write"), units::factor),
    ("space amplification", |figures| at(figures, "/amplification/space"), units::factor),
    ("peak memory", |figures| at(figures, "/peak_rss_bytes"), units::bytes),
];

fn at(figures: &Value, pointer: &str) -> Option<f64> {
    figures.pointer(pointer)?.as_f64()
}

/// What a load in random order read: only compactions read anything of it.
fn compacted(figures: &Value) -> Option<f64> {
    let is = |name: &str, what: &str| figures.get(name)?.as_str().map(|found| found == what);
    (is("case", "load")? && is("order", "random")?).then_some(at(figures, "/store/bytes_read")?)
}

/// Until nothing was left to do: a lower bound, since the load itself is part of the time.
fn compacted_per_second(figures: &Value) -> Option<f64> {
    let seconds = at(figures, "/seconds")? + at(figures, "/debt/seconds").unwrap_or(0.0);
    Some(compacted(figures)? / Some(seconds).filter(|seconds| *seconds > 0.0)?)
}

fn compacted_per_get(figures: &Value) -> Option<f64> {
    Some(compacted(figures)? / at(figures, "/store/gets").filter(|gets| *gets > 0.0)?)
}

/// A table in Markdown.
#[derive(Debug)]
pub(super) struct Table {
    lines: Vec<String>,
    columns: usize,
}

impl Table {
    /// With these titles; the first column is of text, the others of figures.
    pub(super) fn new<'a>(titles: impl IntoIterator<Item = &'a str>) -> Self {
        let titles: Vec<String> = titles.into_iter().map(str::to_owned).collect();
        let mut table = Self { lines: Vec::new(), columns: titles.len() };
        table.row(titles);
        table.lines.push(format!("|---|{}", "---:|".repeat(table.columns - 1)));
        table
    }

    /// One more row.
    pub(super) fn row(&mut self, fields: impl IntoIterator<Item = String>) {
        let fields: Vec<String> = fields.into_iter().collect();
        assert_eq!(fields.len(), self.columns, "a row has a field for each title");
        self.lines.push(format!("| {} |", fields.join(" | ")));
    }

    /// The whole.
    pub(super) fn into_text(self) -> String {
        self.lines.join("\n")
    }
}

/// The fastest row of some, and its rate.
pub(super) fn best<'a, 'b>(rows: &'b [Row<'a>], of: fn(&Row<'a>) -> bool) -> Option<(&'b Row<'a>, f64)> {
    let rates = rows.iter().filter(|row| of(row)).filter_map(|row| Some((row, row.rate()?.median)));
    rates.max_by(|(_, one), (_, other)| one.total_cmp(other))
}

/// Systems side by side.
pub(super) fn speeds(rows: &[Row]) -> String {
    let columns = Columns::of(&[rows]);
    let mut table = Table::new(columns.titles());
    columns.fill(&mut table, None, rows);
    table.into_text()
}

/// Systems of several comparisons, one below the other.
pub(super) fn together(compares: &[(&str, Vec<Row>)]) -> String {
    let columns = Columns::of(&compares.iter().map(|(_, rows)| rows.as_slice()).collect::<Vec<_>>());
    let mut table = Table::new(std::iter::once("case").chain(columns.titles()));
    for (compare, rows) in compares {
        columns.fill(&mut table, Some(compare), rows);
    }
    table.into_text()
}

/// The columns in which some row says something else than zero.
struct Columns {
    points: bool,
    peers: bool,
    shown: Vec<&'static Column>,
}

impl Columns {
    fn of(compares: &[&[Row]]) -> Self {
        let any = |has: &dyn Fn(&Row) -> bool| compares.iter().any(|rows| rows.iter().any(has));
        let points = any(&|row| row.point.is_some());
        // In a sweep it would be compared with another point.
        let peers = !points && any(&|row| row.is_peer() && row.rate().is_some());
        let is_told = |figure: fn(&Value) -> Option<f64>| {
            any(&|row| row.spread(figure).is_some_and(|figure| figure.median != 0.0))
        };
        let shown = COLUMNS.iter().filter(|(_, figure, _)| is_told(*figure)).collect();
        Self { points, peers, shown }
    }

    fn titles(&self) -> Vec<&'static str> {
        let mut titles = vec!["system"];
        titles.extend(self.points.then_some("at"));
        titles.push("operations a second");
        titles.extend(self.peers.then_some("× best peer"));
        titles.extend(self.shown.iter().map(|(title, ..)| *title));
        titles
    }

    fn fill(&self, table: &mut Table, compare: Option<&str>, rows: &[Row]) {
        let best = best(rows, Row::is_peer).map(|(_, rate)| rate);
        for row in rows {
            let mut fields: Vec<String> = compare.into_iter().map(|compare| format!("`{compare}`")).collect();
            fields.push(named(row));
            fields.extend(self.points.then(|| row.point.unwrap_or("–").to_owned()));
            fields.push(rate(row));
            let of_best = || Some(row.rate()?.median / best?);
            fields.extend(self.peers.then(|| or_dash(of_best(), units::factor)));
            let of =
                |(_, figure, how): &&Column| or_dash(row.spread(figure).map(|spread| spread.median), how);
            fields.extend(self.shown.iter().map(of));
            table.row(fields);
        }
    }
}

/// Ours stand out.
pub(super) fn named(row: &Row) -> String {
    let disturbed = match row.disturbed() {
        0 => String::new(),
        count => format!(" ({count} disturbed)"),
    };
    if row.is_own() { format!("**{}**{disturbed}", row.label) } else { format!("{}{disturbed}", row.label) }
}

/// What a figure says, or that there is none.
pub(super) fn or_dash(figure: Option<f64>, how: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "–".to_owned(), how)
}

fn rate(row: &Row) -> String {
    match row.rate() {
        None => row.last().and_then(|last| last.get("error")?.as_str()).unwrap_or("–").to_owned(),
        Some(rate) if rate.count == 1 => units::count(rate.median),
        Some(rate) => {
            let [median, least, most] = [rate.median, rate.least, rate.most].map(units::count);
            format!("{median} ({least} to {most}, {} rounds)", rate.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_compactions_read_is_told_of_loads_in_random_order_alone() {
        let figures = |order: &str| {
            serde_json::json!({
                "case": "load", "order": order, "seconds": 6.0, "debt": { "seconds": 4.0 },
                "store": { "gets": 100, "bytes_read": 1e8 },
            })
        };
        let told = |figures| (compacted_per_second(&figures), compacted_per_get(&figures));
        assert_eq!(told(figures("random")), (Some(1e7), Some(1e6)));
        assert_eq!(told(figures("ascending")), (None, None));
    }
}
