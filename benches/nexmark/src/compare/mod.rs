//! Queries over several backends, interleaved, one process a measurement: every answer is compared with plain memory's.
//!
//! **Failure**: a measurement that fails, or answers wrongly, is a row that says so and has no figures; the run goes on with the
//! others and ends as failed.
mod args;
mod child;
mod figures;
mod measure;
mod nothing;
mod table;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use alluvium_env::{Error, Result};
use serde::Serialize;

use args::CompareArgs;
pub(crate) use args::{Cli, Step};
use figures::{Expected, Figures};
pub(crate) use measure::{expect, measure};
use table::Row;

/// Runs all queries and prints their tables.
///
/// # Errors
/// `Unavailable` if the results cannot be written; `Internal` if a measurement failed.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let mut failed = 0;
    for query in args.queries() {
        eprintln!("{query}: the answer in plain memory");
        let expected = child::expected(args, query)?;
        let mut rows: Vec<Row> = args.places().into_iter().map(Row::new).collect();
        for round in 1..=args.rounds {
            for row in &mut rows {
                let label = row.place.label(args);
                eprintln!("{query}: {label} ({round}/{})", args.rounds);
                match child::measured(args, query, row.place).and_then(|one| checked(one, &expected)) {
                    Ok(figures) => {
                        keep(args, query, &label, &figures)?;
                        row.figures.push(figures);
                    }
                    Err(error) => {
                        failed += 1;
                        row.failure = Some(error.to_string());
                    }
                }
            }
        }
        println!("{}", table::print(args, query, &expected, &rows));
    }
    if failed > 0 {
        return Err(Error::internal(format!("{failed} measurements failed; the tables say why")));
    }
    Ok(())
}

/// The figures, if the answer is right. Without state there is none.
fn checked(figures: Figures, expected: &Expected) -> Result<Figures> {
    let found = figures.answer;
    if found.is_some_and(|found| !found.is_of_same_rows(&expected.answer)) {
        return Err(Error::corruption(format!(
            "the answer is wrong: {found:?} is not the {:?} of plain memory",
            expected.answer
        )));
    }
    Ok(Figures { keys: Some(expected.keys), ..figures })
}

/// A measurement as `benches/peers` keeps its own.
#[derive(Serialize)]
struct Kept<'a> {
    compare: String,
    row: String,
    figures: &'a Figures,
}

fn keep(args: &CompareArgs, query: &str, label: &str, figures: &Figures) -> Result<()> {
    let Some(file) = &args.results else { return Ok(()) };
    let kept = Kept { compare: format!("nexmark-{query}"), row: format!("alluvium {label}"), figures };
    let line = serde_json::to_string(&kept);
    append(file, &line.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?)
}

fn append(file: &Path, line: &str) -> Result<()> {
    let failed = |e| Error::unavailable(format!("cannot write {}", file.display())).with_source(e);
    let mut file = OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
    writeln!(file, "{line}").map_err(failed)
}
