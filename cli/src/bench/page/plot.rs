//! A plot of lines as SVG: points that were measured, joined in order, with a legend.
//!
//! Text stays text, so that a page can be searched and a screen reader reads it; the background is white, because a page may be
//! dark and lines are not drawn for that.
use std::fmt::Display;
use std::ops::Range;

use alluvium_env::{Error, Result};
use plotters::coord::combinators::{BindKeyPoints as _, IntoLogRange as _};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 420);
/// Told apart by people who see colours in different ways (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];
const OWN_STROKE: u32 = 3;
const STROKE: u32 = 2;
/// Room above the highest point, where the legend has its place unless another corner is emptier: a part of what the axis covers.
const HEADROOM: f64 = 0.4;
/// Room beside the outermost points.
const MARGIN: f64 = 0.05;
/// A line on which nothing changes is shown on so many powers of ten.
const LEAST_DECADES: f64 = 1.0;

/// What a legend takes: of the width, and of the height for each line in it.
const LEGEND_WIDTH: f64 = 0.4;
const LEGEND_LINE: f64 = 0.065;
/// Marks on an axis of powers; with more, their names would run into each other.
const MOST_MARKS: usize = 9;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// What is along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) title: &'static str,
    pub(super) scale: Scale,
    pub(super) how: fn(f64) -> String,
}

/// A line.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) label: String,
    pub(super) is_own: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// The whole picture.
#[derive(Debug)]
pub(super) struct Plot {
    /// The name of its file, without the ending.
    pub(super) file: &'static str,
    pub(super) title: &'static str,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

fn failed(error: impl Display) -> Error {
    Error::internal(format!("a plot cannot be drawn: {error}"))
}

impl Plot {
    /// Without points that an axis cannot show: a logarithm has no zero.
    pub(super) fn shown(mut self) -> Self {
        let fits = |axis: Axis, value: f64| value.is_finite() && (axis.scale == Scale::Linear || value > 0.0);
        let (x, y) = (self.x, self.y);
        for series in &mut self.series {
            series.points.retain(|point| fits(x, point.0) && fits(y, point.1));
        }
        self
    }

    /// Whether there is a line in it.
    pub(super) fn has_lines(&self) -> bool {
        self.series.iter().any(|series| series.points.len() > 1)
    }

    /// The picture as SVG.
    ///
    /// # Errors
    /// `Internal` if a coordinate is none.
    pub(super) fn draw(&self) -> Result<String> {
        let (x, y) =
            (self.span(self.x, |point| point.0, MARGIN), self.span(self.y, |point| point.1, HEADROOM));
        let log = |range: &Range<f64>| range.clone().log_scale().with_key_points(marks(range));
        let legend = self.emptiest_corner((&x, &y));
        match (self.x.scale, self.y.scale) {
            (Scale::Linear, Scale::Linear) => self.draw_on(x, y, legend),
            (Scale::Linear, Scale::Log) => self.draw_on(x, log(&y), legend),
            (Scale::Log, Scale::Linear) => self.draw_on(log(&x), y, legend),
            (Scale::Log, Scale::Log) => self.draw_on(log(&x), log(&y), legend),
        }
    }

    /// Where a legend hides the fewest points, and of what lies between them the least.
    fn emptiest_corner(&self, (x, y): (&Range<f64>, &Range<f64>)) -> SeriesLabelPosition {
        let along = |axis: Axis, range: &Range<f64>, value: f64| match axis.scale {
            Scale::Linear => (value - range.start) / (range.end - range.start),
            Scale::Log => (value / range.start).log10() / (range.end / range.start).log10(),
        };
        let place = |point: &(f64, f64)| (along(self.x, x, point.0), along(self.y, y, point.1));
        let mut places: Vec<(f64, f64)> = Vec::new();
        for Series { points, .. } in &self.series {
            places.extend(points.iter().map(place));
            for (from, to) in points.iter().zip(points.iter().skip(1)).map(|(a, b)| (place(a), place(b))) {
                let between = |eighth: u32| {
                    let part = f64::from(eighth) / 8.0;
                    (from.0 + (to.0 - from.0) * part, from.1 + (to.1 - from.1) * part)
                };
                places.extend((1..8).map(between));
            }
        }
        let height = LEGEND_LINE + self.series.iter().map(|_| LEGEND_LINE).sum::<f64>();
        let hidden = |(_, right, top): &(SeriesLabelPosition, bool, bool)| {
            let is_in = |at: f64, far: bool, size: f64| if far { at > 1.0 - size } else { at < size };
            places.iter().filter(|(x, y)| is_in(*x, *right, LEGEND_WIDTH) && is_in(*y, *top, height)).count()
        };
        let corners = [
            (SeriesLabelPosition::UpperRight, true, true),
            (SeriesLabelPosition::UpperLeft, false, true),
            (SeriesLabelPosition::LowerRight, true, false),
            (SeriesLabelPosition::LowerLeft, false, false),
        ];
        corners.into_iter().min_by_key(hidden).map_or(SeriesLabelPosition::UpperRight, |(corner, ..)| corner)
    }

    /// What an axis covers.
    fn span(&self, axis: Axis, of: fn(&(f64, f64)) -> f64, room: f64) -> Range<f64> {
        let all = || self.series.iter().flat_map(|series| series.points.iter().map(of));
        let most = all().fold(f64::MIN_POSITIVE, f64::max);
        match axis.scale {
            Scale::Linear => 0.0..most * (1.0 + room),
            Scale::Log => {
                let least = all().fold(f64::INFINITY, f64::min).clamp(f64::MIN_POSITIVE, most);
                let decades = (most / least).log10().max(LEAST_DECADES);
                least / 10_f64.powf(decades * MARGIN)..most * 10_f64.powf(decades * room)
            }
        }
    }

    fn draw_on<X, Y>(&self, x: X, y: Y, legend: SeriesLabelPosition) -> Result<String>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            area.fill(&WHITE).map_err(failed)?;
            let mut chart = ChartBuilder::on(&area)
                .caption(self.title, ("sans-serif", 19))
                .margin(14)
                .x_label_area_size(46)
                .y_label_area_size(74)
                .build_cartesian_2d(x, y)
                .map_err(failed)?;
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .bold_line_style(BLACK.mix(0.12))
                .x_desc(self.x.title)
                .y_desc(self.y.title)
                .x_label_formatter(&|value| (self.x.how)(*value))
                .y_label_formatter(&|value| (self.y.how)(*value))
                .label_style(("sans-serif", 14))
                .axis_desc_style(("sans-serif", 15))
                .draw()
                .map_err(failed)?;
            for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
                let style = color.stroke_width(if series.is_own { OWN_STROKE } else { STROKE });
                chart
                    .draw_series(LineSeries::new(series.points.iter().copied(), style))
                    .map_err(failed)?
                    .label(series.label.as_str())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
                let dots = series.points.iter().map(|point| Circle::new(*point, 4, color.filled()));
                chart.draw_series(dots).map_err(failed)?;
            }
            chart
                .configure_series_labels()
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font(("sans-serif", 14))
                .position(legend)
                .draw()
                .map_err(failed)?;
            area.present().map_err(failed)?;
        }
        Ok(svg)
    }
}

/// Where an axis of powers has its marks: at one, two and five times each power of ten, or at the powers alone.
fn marks(range: &Range<f64>) -> Vec<f64> {
    let (first, last) = (range.start.log10().floor() as i32, range.end.log10().ceil() as i32);
    let at = |factors: &'static [f64]| -> Vec<f64> {
        let powers = (first..=last).map(|power| 10_f64.powi(power));
        powers
            .flat_map(|power| factors.iter().map(move |factor| power * factor))
            .filter(|mark| range.contains(mark))
            .collect()
    };
    let fine = at(&[1.0, 2.0, 5.0]);
    if fine.len() > MOST_MARKS { at(&[1.0]) } else { fine }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { title: "an axis", scale, how: |value| format!("{value:.0}") }
    }

    fn plot(x: Scale, y: Scale) -> Plot {
        let line = |label: &str, factor: f64| Series {
            label: label.to_owned(),
            is_own: label.starts_with("alluvium"),
            points: vec![(1.0, 10.0 * factor), (10.0, 100.0 * factor), (100.0, 900.0 * factor)],
        };
        let series = vec![line("alluvium", 1.0), line("other", 0.5)];
        Plot { file: "a", title: "A plot", x: axis(x), y: axis(y), series }
    }

    #[test]
    fn every_line_every_point_and_every_name_is_in_the_picture() {
        for (x, y) in [(Scale::Linear, Scale::Log), (Scale::Log, Scale::Linear), (Scale::Log, Scale::Log)] {
            let svg = plot(x, y).draw().unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
            for text in ["A plot", "an axis", "alluvium", "other"] {
                assert!(svg.contains(text), "{text}");
            }
        }
    }

    #[test]
    fn a_zero_is_not_on_an_axis_of_powers() {
        let mut plot = plot(Scale::Log, Scale::Log);
        for series in &mut plot.series {
            series.points.insert(0, (0.0, 5.0));
            series.points.push((1000.0, f64::NAN));
        }
        assert_eq!(plot.shown().draw().unwrap().matches("<circle").count(), 6);
    }

    #[test]
    fn marks_are_few_and_within_the_axis_however_many_powers_there_are() {
        assert_eq!(marks(&(90.0..1300.0)), [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(marks(&(0.5..2e6)), [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn the_legend_is_where_no_line_is() {
        let rising = plot(Scale::Linear, Scale::Linear);
        let mut falling = plot(Scale::Linear, Scale::Linear);
        for series in &mut falling.series {
            let values: Vec<f64> = series.points.iter().rev().map(|point| point.1).collect();
            series.points.iter_mut().zip(values).for_each(|(point, value)| point.1 = value);
        }
        let corner = |plot: &Plot| plot.emptiest_corner((&(0.0..105.0), &(0.0..1000.0)));
        assert!(matches!(corner(&rising), SeriesLabelPosition::UpperLeft));
        assert!(matches!(corner(&falling), SeriesLabelPosition::UpperRight));
    }

    #[test]
    fn one_point_makes_no_line() {
        let mut plot = plot(Scale::Log, Scale::Log);
        assert!(plot.has_lines());
        plot.series.iter_mut().for_each(|series| series.points.truncate(1));
        assert!(!plot.has_lines());
    }
}
