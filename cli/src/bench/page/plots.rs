//! The plots of the page, made of what was measured.
use serde_json::Value;

use super::cost;
use super::jobs::{restored, state_bytes};
use super::plot::{Axis, Plot, Scale, Series};
use super::results::{Results, Row};
use super::sections::Shown;
use super::units;

/// What a figure of a measurement is.
type Figure<'a> = &'a dyn Fn(&Value) -> Option<f64>;

const RATE: Axis = Axis { title: "operations a second", scale: Scale::Log, how: units::count };
const STATE: Axis = Axis { title: "state", scale: Scale::Log, how: units::bytes };

/// All that belong to a comparison where it is shown so; those without a line are left out.
pub(super) fn of(results: &Results, compare: &str, shown: Shown) -> Vec<Plot> {
    let all = match compare {
        "job-checkpoint-far" if shown == Shown::Beside => beside(results, compare),
        "by-distance" => vec![by_distance(results)],
        "by-memory" => vec![by_memory(results)],
        "by-in-flight" => vec![by_in_flight(results)],
        "by-batch" => vec![by_batch(results)],
        "checkpoint" if shown == Shown::Jobs => vec![checkpoint_time(results), recovery_time(results)],
        "requests" => vec![price(results)],
        _ => Vec::new(),
    };
    all.into_iter().map(Plot::shown).filter(Plot::has_lines).collect()
}

/// A line a system, of the medians of its points.
fn lines(results: &Results, compare: &str, x: Figure, y: Figure) -> Vec<Series> {
    lines_over(results, compare, &|row| Some(row.spread(x)?.median), y)
}

/// The same, over what a row says.
fn lines_over(results: &Results, compare: &str, x: &dyn Fn(&Row) -> Option<f64>, y: Figure) -> Vec<Series> {
    let mut lines: Vec<Series> = Vec::new();
    for row in results.rows(compare) {
        let (Some(at), Some(value)) = (x(&row), row.spread(y)) else { continue };
        let point = (at, value.median);
        match lines.iter_mut().find(|line| line.label == row.label) {
            Some(line) => line.points.push(point),
            None => {
                lines.push(Series { label: row.label.to_owned(), is_own: row.is_own(), points: vec![point] });
            }
        }
    }
    for line in &mut lines {
        line.points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    lines
}

fn at(pointer: &'static str) -> impl Fn(&Value) -> Option<f64> {
    move |figures| figures.pointer(pointer)?.as_f64()
}

fn rate(figures: &Value) -> Option<f64> {
    figures.get("operations_per_second")?.as_f64()
}

fn by_distance(results: &Results) -> Plot {
    // Not all systems know how far away the server is.
    let distance = |row: &Row| row.point?.split(' ').next()?.parse().ok();
    let x = Axis { title: "milliseconds there and back", scale: Scale::Log, how: short };
    let series = lines_over(results, "by-distance", &distance, &rate);
    Plot {
        file: "throughput-by-distance",
        title: "Cold reads, by the distance of the store",
        x,
        y: RATE,
        series,
    }
}

fn by_memory(results: &Results) -> Plot {
    let share =
        |figures: &Value| Some(100.0 * figures.get("memory_bytes")?.as_f64()? / state_bytes(figures)?);
    let x = Axis { title: "memory, percent of the data", scale: Scale::Linear, how: short };
    let series = lines(results, "by-memory", &share, &rate);
    Plot { file: "throughput-by-memory", title: "Reads, by the memory there is", x, y: RATE, series }
}

fn by_in_flight(results: &Results) -> Plot {
    let x = Axis { title: "reads under way", scale: Scale::Log, how: short };
    let series = lines(results, "by-in-flight", &at("/in_flight"), &rate);
    Plot { file: "throughput-by-in-flight", title: "Cold reads from 15 ms away", x, y: RATE, series }
}

fn by_batch(results: &Results) -> Plot {
    let x = Axis { title: "keys asked for together", scale: Scale::Log, how: short };
    let y = Axis { title: "milliseconds a batch (median)", scale: Scale::Log, how: short };
    let took = |figures: &Value| Some(figures.pointer("/latency/p50_micros")?.as_f64()? / 1e3);
    let series = lines(results, "by-batch", &at("/batch"), &took);
    Plot { file: "latency-by-batch", title: "Batches of cold keys from 15 ms away", x, y, series }
}

/// What jobs of several sizes take, each line called by what it shows.
fn by_state(results: &Results, what: &str, y: Figure) -> Vec<Series> {
    let mut all = lines(results, "checkpoint", &state_bytes, y);
    for line in &mut all {
        line.label = format!("{}: {what}", line.label);
    }
    all
}

fn checkpoint_time(results: &Results) -> Plot {
    let y = Axis { title: "milliseconds", scale: Scale::Log, how: short };
    let mut series = Vec::new();
    for (what, pointer, scale) in [
        ("trigger to completion, p50", "/checkpoints/millis/p50", 1.0),
        ("tasks stand still, p99", "/checkpoints/sync_micros/p99", 1e3),
    ] {
        let value = move |figures: &Value| Some(figures.pointer(pointer)?.as_f64()? / scale);
        series.extend(by_state(results, what, &value));
    }
    Plot {
        file: "checkpoint-by-state",
        title: "A checkpoint a second, store 15 ms away",
        x: STATE,
        y,
        series,
    }
}

fn recovery_time(results: &Results) -> Plot {
    let y = Axis { title: "milliseconds to the first record", scale: Scale::Linear, how: short };
    let mut series = Vec::new();
    for (at, what) in [(0, "first restore (2 to 3 subtasks)"), (1, "second restore (3 to 2)")] {
        let value = move |figures: &Value| restored(figures, at, "millis_to_first_record");
        series.extend(by_state(results, what, &value));
    }
    Plot {
        file: "recovery-by-state",
        title: "Restart at another parallelism, cold caches",
        x: STATE,
        y,
        series,
    }
}

/// Checkpoints and restarts by the size of the state, a line a system.
fn beside(results: &Results, compare: &str) -> Vec<Plot> {
    let millis = |title| Axis { title, scale: Scale::Log, how: short };
    // The second is that at twice as many subtasks.
    let rescaled = |figures: &Value| restored(figures, 1, "millis_to_first_record");
    vec![
        Plot {
            file: "checkpoint-beside-flink",
            title: "A checkpoint a second, store 15 ms away",
            x: STATE,
            y: millis("milliseconds from trigger to completion (median)"),
            series: lines(results, compare, &state_bytes, &at("/checkpoints/millis/p50")),
        },
        Plot {
            file: "rescale-beside-flink",
            title: "Restart at two subtasks instead of one, store 15 ms away",
            x: STATE,
            y: millis("milliseconds to the first record"),
            series: lines(results, compare, &state_bytes, &rescaled),
        },
    ]
}

fn price(results: &Results) -> Plot {
    let x = Axis { title: "seconds between checkpoints", scale: Scale::Log, how: short };
    let y = Axis { title: "dollars a month for requests", scale: Scale::Log, how: units::dollars };
    let line = |row: &Row| {
        let price = |interval: f64| {
            let price = row.spread(|figures| cost::dollars_a_month(figures.get("checkpoints")?, interval))?;
            Some((interval, price.median))
        };
        let label = format!("{}, {}", row.label, row.point.unwrap_or("–"));
        Series {
            label,
            is_own: row.is_own(),
            points: cost::INTERVALS.into_iter().filter_map(price).collect(),
        }
    };
    let series = results.rows("requests").iter().map(line).collect();
    Plot { file: "cost-by-interval", title: "Requests of checkpoints, at list prices", x, y, series }
}

/// A number on an axis.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e3 => units::count(v),
        v if v >= 1.0 && v.fract() < 0.01 => format!("{v:.0}"),
        v => format!("{v}"),
    }
}
