//! Cases on all systems in one run: interleaved, one process a measurement, a table a case.
//!
//! Data that is far away is on an S3 server, a new one for each measurement, or behind a link in front of a folder.
//!
//! **Failure**: a measurement that fails is a row that says so; the run goes on with the others.
mod cases;
mod child;
mod kept;
mod machine;
mod server;
mod table;

pub(crate) use child::touch;

use std::path::PathBuf;

use alluvium_env::Result;
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::units::Count;
use cases::{Case, Cell, Scale};
use kept::Kept;
use machine::{Begun, Ticks};
use table::Row;

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// The cases; all if none is named
    #[arg(value_enum, value_name = "CASE")]
    cases: Vec<Case>,

    /// How many keys; memory of the cases with more data than memory follows
    #[arg(long, value_name = "N", default_value = "10M")]
    keys: Count,

    /// How long read-modify-writes go on
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u32,

    /// How often each measurement is made, A B A B; the median is shown
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,

    /// Only these systems: alluvium, map, rocksdb, fjall, slatedb, cobble
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    systems: Vec<String>,

    /// Alluvium's program
    #[arg(long, value_name = "FILE", default_value = "../../target/release/alluvium")]
    alluvium: PathBuf,

    /// Where data is that is far away: on a server that speaks the protocol of S3, or behind an injected delay in front of
    /// a folder, where Cobble cannot have it
    #[arg(long, value_name = "WHERE", default_value = "s3")]
    far: Far,

    /// This program with Cobble in it
    #[arg(long, value_name = "FILE", default_value = "target/release/alluvium-bench-cobble")]
    cobble: PathBuf,

    /// Start every measurement through this command, like "taskset -c 0,1"
    #[arg(long, value_name = "COMMAND")]
    through: Option<String>,

    /// A folder to write to; emptied for every measurement
    #[arg(long, value_name = "DIR", default_value = ".alluvium/peers")]
    folder: PathBuf,

    /// Append every measurement's JSON to this file, a line each
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// Do not measure again what that file has: a run that was cut off goes on
    #[arg(long, requires = "results")]
    resume: bool,
}

/// Where data is that is far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Far {
    /// On a server, reached through each system's client
    S3,
    /// In a folder, reached through a delay
    Link,
}

/// Runs all cases and prints their tables.
///
/// # Errors
/// `Unavailable` if the results cannot be written.
pub(crate) fn run(args: &CompareArgs) -> Result<()> {
    let cases = if args.cases.is_empty() { Case::all() } else { args.cases.clone() };
    let scale = Scale { keys: args.keys.0, seconds: args.seconds };
    let former = match &args.results {
        Some(file) if args.resume && file.exists() => kept::read(file)?,
        _ => Vec::new(),
    };
    let mut is_begun = false;
    for case in cases {
        let cells = case.cells(scale);
        let wanted = |cell: &&Cell| args.systems.is_empty() || args.systems.iter().any(|s| s == cell.system);
        let cells: Vec<_> = cells.iter().filter(wanted).collect();
        let mut rows: Vec<_> = cells.iter().map(|cell| begun(case, cell, &former)).collect();
        for round in 1..=args.rounds {
            for (cell, row) in cells.iter().zip(&mut rows) {
                if row.rounds() >= round {
                    continue;
                }
                if let (Some(file), false) = (&args.results, is_begun) {
                    kept::append(file, &Begun::now())?;
                    is_begun = true;
                }
                eprintln!("{}: {} ({round}/{})", case.name(), cell.label(), args.rounds);
                measure(args, case, cell, row)?;
            }
        }
        println!("{}", table::print(case, &rows));
    }
    Ok(())
}

/// A row with what was measured of it before.
fn begun(case: Case, cell: &Cell, former: &[Kept]) -> Row {
    let mut row = Row::new(cell.label());
    let is_its = |one: &&Kept| {
        one.compare == case.name() && one.row == cell.row() && one.point.as_deref() == cell.point
    };
    let measured = former.iter().filter(is_its).filter(|one| one.figures.get("error").is_none());
    measured.for_each(|one| row.add(one.figures.clone()));
    row
}

/// Measures once, keeps and shows the figures, or why there are none.
fn measure(args: &CompareArgs, case: Case, cell: &Cell, row: &mut Row) -> Result<()> {
    let before = Ticks::now();
    let measured = child::measure(args, cell);
    let others_percent = || Ticks::now()?.others_percent_since(before?);
    if let Some(file) = &args.results {
        let figures =
            measured.as_ref().map_or_else(|error| json!({ "error": error.to_string() }), Clone::clone);
        let point = cell.point.map(str::to_owned);
        let others_percent = others_percent();
        kept::append(file, &Kept { compare: case.name(), row: cell.row(), point, figures, others_percent })?;
    }
    match measured {
        Ok(figures) => row.add(figures),
        Err(error) => row.fail(&error),
    }
    Ok(())
}

/// Options of `tables`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TablesArgs {
    /// Files that `compare --results` wrote
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Prints the tables of measurements that were kept, of several runs together.
///
/// # Errors
/// `Unavailable` if a file cannot be read, `Corruption` if it holds something else.
pub(crate) fn tables(args: &TablesArgs) -> Result<()> {
    let mut kept = Vec::new();
    for file in &args.files {
        kept.extend(kept::read(file)?);
    }
    for case in Case::all() {
        let name = case.name();
        let mut rows: Vec<Row> = Vec::new();
        for one in kept.iter().filter(|one| one.compare == name) {
            let label = cases::label(&one.row, one.point.as_deref());
            if let Some(row) = rows.iter_mut().find(|row| row.label == label) {
                row.add(one.figures.clone());
            } else {
                let mut row = Row::new(label);
                row.add(one.figures.clone());
                rows.push(row);
            }
        }
        if !rows.is_empty() {
            println!("{}", table::print(case, &rows));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_goes_on_knows_what_was_measured_and_tries_again_what_failed() {
        let cells = Case::ByBatch.cells(Scale { keys: 1000, seconds: 1 });
        let (first, other) = (cells.first().unwrap(), cells.last().unwrap());
        let kept = |cell: &Cell, figures| Kept {
            compare: Case::ByBatch.name(),
            row: cell.row(),
            point: cell.point.map(str::to_owned),
            figures,
            others_percent: None,
        };
        let figures = json!({ "operations_per_second": 1 });
        let failed = json!({ "error": "cut off" });
        let former = [kept(first, figures.clone()), kept(first, figures), kept(other, failed)];
        let rounds = |case, cell| begun(case, cell, &former).rounds();
        assert_eq!((rounds(Case::ByBatch, first), rounds(Case::ByBatch, other)), (2, 0));
        assert_eq!(rounds(Case::ByInFlight, first), 0);
    }
}
