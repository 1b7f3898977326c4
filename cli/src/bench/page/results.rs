//! Measurements that were kept: files of JSON lines, each with the run it is of, grouped into rows.
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use alluvium_env::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

/// More of the machine's processors than that taken by others makes a measurement a disturbed one.
pub(super) const DISTURBED_PERCENT: f64 = 5.0;

/// When, where and with what a file's measurements were made.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Run {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) machine: String,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, String>,
    pub(super) command: String,
}

/// Options of a run that say where its files are, which nobody else has there; `--resume` alone has no value.
const PLACES: [&str; 3] = ["--results", "--folder", "--dir"];

impl Run {
    /// The command by which it is made again, wherever that is.
    pub(super) fn shown(&self) -> String {
        let mut shown: Vec<&str> = Vec::new();
        let mut words = self.command.split_whitespace();
        while let Some(word) = words.next() {
            if PLACES.contains(&word) {
                words.next();
            } else if word != "--resume" {
                shown.push(word);
            }
        }
        shown.join(" ")
    }
}

/// One measurement.
#[derive(Debug, Deserialize)]
pub(super) struct Measured {
    /// What is compared.
    compare: String,
    /// The system, and how it was asked.
    row: String,
    /// Where in a sweep.
    #[serde(default)]
    point: Option<String>,
    /// As `alluvium bench --json` has them.
    pub(super) figures: Value,
    /// How much of the machine others took meanwhile.
    #[serde(default)]
    others_percent: Option<f64>,
}

/// All measurements of one system at one point of one comparison.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) label: &'a str,
    pub(super) point: Option<&'a str>,
    all: Vec<&'a Measured>,
}

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    pub(super) count: usize,
}

/// Everything that was kept.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// Where it was kept.
    pub(super) files: Vec<PathBuf>,
    pub(super) runs: Vec<Run>,
    measured: Vec<Measured>,
}

impl Results {
    /// Reads files of JSON lines.
    ///
    /// # Errors
    /// `Unavailable` if a file cannot be read, `Corruption` if it holds something else; both name it.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self> {
        let mut results = Self::default();
        for file in files {
            let name = file.display();
            let text = fs::read_to_string(file)
                .map_err(|e| Error::unavailable(format!("cannot read {name}")).with_source(e))?;
            let runs_before = results.runs.len();
            for (at, line) in text.lines().enumerate() {
                let at = at + 1;
                results.add(line).map_err(|e| {
                    Error::corruption(format!("line {at} of {name} is no measurement")).with_source(e)
                })?;
                if results.runs.len() == runs_before {
                    return Err(Error::corruption(format!(
                        "line {at} of {name} is a measurement of which no line before it says when, where and with what it was \
                         made; measure it again, or leave the file out"
                    )));
                }
            }
            results.files.push(file.clone());
        }
        Ok(results)
    }

    fn add(&mut self, line: &str) -> serde_json::Result<()> {
        let mut value: Value = serde_json::from_str(line)?;
        match value.get_mut("run").map(Value::take) {
            Some(run) => self.runs.push(serde_json::from_value(run)?),
            None => self.measured.push(serde_json::from_value(value)?),
        }
        Ok(())
    }

    /// All comparisons, in the order in which they were first measured.
    pub(super) fn compares(&self) -> Vec<&str> {
        let mut compares: Vec<&str> = Vec::new();
        for one in &self.measured {
            if !compares.contains(&one.compare.as_str()) {
                compares.push(&one.compare);
            }
        }
        compares
    }

    /// The rows of a comparison, in the order in which they were first measured.
    pub(super) fn rows(&self, compare: &str) -> Vec<Row<'_>> {
        let mut rows: Vec<Row> = Vec::new();
        for one in self.measured.iter().filter(|one| one.compare == compare) {
            let (label, point) = (one.row.as_str(), one.point.as_deref());
            match rows.iter_mut().find(|row| row.label == label && row.point == point) {
                Some(row) => row.all.push(one),
                None => rows.push(Row { label, point, all: vec![one] }),
            }
        }
        rows
    }
}

/// The middle one of what is in order, or the mean of the middle two.
fn median(ordered: &[f64]) -> Option<f64> {
    let upper = *ordered.get(ordered.len() / 2)?;
    let lower = *ordered.get((ordered.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

impl Row<'_> {
    /// What `figure` finds in each measurement.
    pub(super) fn spread(&self, figure: impl Fn(&Value) -> Option<f64>) -> Option<Spread> {
        let mut all: Vec<f64> = self.all.iter().filter_map(|one| figure(&one.figures)).collect();
        all.sort_by(f64::total_cmp);
        let (least, most) = (*all.first()?, *all.last()?);
        Some(Spread { median: median(&all)?, least, most, count: all.len() })
    }

    /// The median of what a JSON pointer leads to.
    pub(super) fn median(&self, pointer: &str) -> Option<f64> {
        Some(self.spread(|figures| figures.pointer(pointer)?.as_f64())?.median)
    }

    /// Operations a second.
    pub(super) fn rate(&self) -> Option<Spread> {
        self.spread(|figures| figures.get("operations_per_second")?.as_f64())
    }

    /// Whether it is one of ours.
    pub(super) fn is_own(&self) -> bool {
        self.label.starts_with("alluvium")
    }

    /// Whether it is what others use; a hash map alone keeps no order, no files and no limit.
    pub(super) fn is_peer(&self) -> bool {
        !self.is_own() && !self.label.starts_with("map") && !self.has_no_state()
    }

    /// Whether it is what a job takes without any state: a limit, and nobody's figure.
    pub(super) fn has_no_state(&self) -> bool {
        ["no state", "without state"].iter().any(|text| self.label.contains(text))
    }

    /// How many measurements were disturbed.
    pub(super) fn disturbed(&self) -> usize {
        let percent =
            |one: &&&Measured| one.others_percent.is_some_and(|percent| percent > DISTURBED_PERCENT);
        self.all.iter().filter(percent).count()
    }

    /// The last measurement, whole.
    pub(super) fn last(&self) -> Option<&Value> {
        self.all.last().map(|one| &one.figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lines: &[&str]) -> Results {
        let mut results = Results::default();
        for line in lines {
            results.add(line).unwrap();
        }
        results
    }

    #[test]
    fn rounds_of_a_row_become_a_median_with_its_spread() {
        let line = |row: &str, rate: u32, others: u32| {
            format!(
                r#"{{"compare":"get","row":"{row}","figures":{{"operations_per_second":{rate}}},"others_percent":{others}}}"#
            )
        };
        let lines = [line("alluvium calls", 30, 0), line("rocksdb", 7, 0), line("alluvium calls", 10, 9)];
        let lines = [&lines[..], &[line("alluvium calls", 20, 1)]].concat();
        let results = results(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let rows = results.rows("get");
        assert_eq!(rows.iter().map(|row| row.label).collect::<Vec<_>>(), ["alluvium calls", "rocksdb"]);
        assert_eq!(rows[0].rate(), Some(Spread { median: 20.0, least: 10.0, most: 30.0, count: 3 }));
        assert_eq!((rows[0].disturbed(), rows[1].disturbed()), (1, 0));
        assert!(rows[0].is_own() && rows[1].is_peer());
        assert!(results.rows("rmw").is_empty());
        let lines = [line("fjall", 30, 0), line("fjall", 10, 0)];
        let two = self::results(&lines.each_ref().map(String::as_str));
        let spread = Spread { median: 20.0, least: 10.0, most: 30.0, count: 2 };
        assert_eq!(two.rows("get")[0].rate(), Some(spread), "of two it is neither");
    }

    #[test]
    fn points_of_a_sweep_are_rows_of_their_own() {
        let at = |point: &str| {
            format!(r#"{{"compare":"sweep","row":"alluvium","point":"{point}","figures":{{}}}}"#)
        };
        let results = results(&[&at("1ms"), &at("2ms")]);
        assert_eq!(
            results.rows("sweep").iter().map(|row| row.point).collect::<Vec<_>>(),
            [Some("1ms"), Some("2ms")]
        );
    }

    const RUN: &str = r#"{"run":{"date":"","commit":"","machine":"","command":"benches/peers/run get --folder /tmp/a --keys 2M --results b --resume"}}"#;

    #[test]
    fn a_run_is_shown_without_where_its_files_were() {
        assert_eq!(results(&[RUN]).runs[0].shown(), "benches/peers/run get --keys 2M");
    }

    #[test]
    fn a_measurement_whose_file_names_no_run_before_it_is_refused() {
        let measured = r#"{"compare":"get","row":"map","figures":{}}"#;
        let [whole, bare] = [format!("{RUN}\n{measured}\n"), format!("{measured}\n{RUN}\n")].map(|text| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            file
        });
        let read = |files: &[&tempfile::NamedTempFile]| {
            Results::read(&files.iter().map(|file| file.path().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(&[&whole]).unwrap().measured.len(), 1);
        let error = read(&[&whole, &bare]).unwrap_err().to_string();
        let named = format!("line 1 of {} is a measurement of which no line", bare.path().display());
        assert!(error.contains(&named), "{error}");
    }

    #[test]
    fn what_is_no_measurement_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{RUN}\nnonsense\n")).unwrap();
        let error = Results::read(&[file.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("line 2 of") && error.contains(&file.path().display().to_string()), "{error}");
    }
}
