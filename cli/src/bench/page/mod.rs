//! `alluvium bench report`: turns kept measurements into a page with tables and plots that can be read without us.
//!
//! The page is Markdown with SVG pictures beside it, so that it is read where the repository is. It says of each comparison with
//! which peer the best is, and where a peer is ahead.
//!
//! **Failure**: a file that holds something else than runs and their measurements is named with its line; nothing is written then.
mod about;
mod cost;
mod jobs;
mod plot;
mod plots;
mod results;
mod sections;
mod table;
mod units;

use std::fs;
use std::path::{Path, PathBuf};

use alluvium_env::{Error, Result};
use clap::Args;

use plot::Plot;
use results::{DISTURBED_PERCENT, Results, Row, Run};
use sections::{SECTIONS, Shown, title};
use table::{Table, best, speeds};

/// The page's name in its folder: what is shown of a folder where repositories are read.
const PAGE: &str = "README.md";

/// Options of `bench report`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReportArgs {
    /// Files of JSON lines: what `benches/peers/run`, `benches/targets/run`, `benches/flink/run` and `benches/nexmark/run` kept
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The folder that the page and its pictures are written to
    #[arg(long, value_name = "DIR", default_value = "docs/evidence")]
    to: PathBuf,
}

/// Writes the page.
///
/// # Errors
/// `Unavailable` if a file cannot be read or written, `Corruption` if one holds something else.
pub(super) fn run(args: &ReportArgs) -> Result<()> {
    let results = Results::read(&args.files)?;
    let (page, plots) = page(&results);
    fs::create_dir_all(&args.to).map_err(|e| unwritten(&args.to, e))?;
    for plot in &plots {
        write(&args.to.join(format!("{}.svg", plot.file)), &plot.draw()?)?;
    }
    let path = args.to.join(PAGE);
    write(&path, &page)?;
    println!("{} with {} plots, of {} runs", path.display(), plots.len(), results.runs.len());
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| unwritten(path, e))
}

fn unwritten(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("cannot write {}", path.display())).with_source(error)
}

/// The page and the plots that it shows.
fn page(results: &Results) -> (String, Vec<Plot>) {
    let measured = results.compares();
    let mut blocks = vec![introduction(&results.files), glance(results, &measured), runs(&results.runs)];
    let mut plots = Vec::new();
    for section in &SECTIONS {
        let compares = section.of(&measured);
        if !compares.is_empty() {
            blocks.push(format!("## {}", section.title));
            blocks.push(section.text.to_owned());
            chapter((&mut blocks, &mut plots), results, section.shown, &compares);
        }
    }
    (blocks.join("\n\n") + "\n", plots)
}

/// What the page is and is made of.
fn introduction(files: &[PathBuf]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let name = |file: &PathBuf| format!("`{}`", file.strip_prefix(&here).unwrap_or(file).display());
    let files: Vec<_> = files.iter().map(name).collect();
    format!(
        "# Alluvium beside its peers\n\n{INTRODUCTION}\n\n`alluvium bench report` has written it from {}.",
        files.join(", ")
    )
}

const INTRODUCTION: &str = "\
This page is made of measurements that anybody can make again: [the runs](#the-runs) says by which commands they were made, and
`benches/run` makes all of them. How each system is set, and why that is fair to it, stands in
[benches/peers](../../benches/peers/README.md) and [benches/flink](../../benches/flink/README.md). Where a case was measured several
times, the systems took turns (A B A B), and a figure is the median, with the least and the most beside it. Ratios within a run hold;
wall-clock figures of a shared machine swing.";

/// Each comparison in a line, and who is ahead.
fn glance(results: &Results, measured: &[&str]) -> String {
    let mut table =
        Table::new(["case", "Alluvium, operations a second", "best peer", "Alluvium ÷ best peer"]);
    let mut behind = Vec::new();
    for compare in measured {
        let rows = results.rows(compare);
        if rows.iter().any(|row| row.point.is_some()) {
            continue;
        }
        let (Some((own, rate)), Some((peer, other))) =
            (best(&rows, |row| row.is_own() && !row.has_no_state()), best(&rows, Row::is_peer))
        else {
            continue;
        };
        let ratio = rate / other;
        let shown = if ratio < 1.0 { format!("{ratio:.2} (behind)") } else { format!("**{ratio:.2}**") };
        if ratio < 1.0 {
            behind.push(format!("`{compare}` ({})", peer.label));
        }
        table.row([
            format!("`{compare}`: {}", title(compare)),
            format!("{} ({})", units::count(rate), own.label),
            format!("{} ({})", units::count(other), peer.label),
            shown,
        ]);
    }
    let verdict = if behind.is_empty() {
        "No peer is ahead in a case of this table.".to_owned()
    } else {
        format!("A peer is ahead in {}.", behind.join(", "))
    };
    let jobs = sections::beside(measured);
    let jobs = jobs::glance(results, &jobs).map_or_else(String::new, |table| {
        format!("\n\nTimes of whole jobs, beside Flink's: medians of checkpoints, and until the first record after a restart.\n\n{table}")
    });
    format!(
        "## At a glance\n\n{}\n\n{verdict} Single ways of asking may be behind where another way is ahead; each table has all.{jobs}",
        table.into_text()
    )
}

/// When, where and with what.
fn runs(runs: &[Run]) -> String {
    let mut table = Table::new(["run", "commit", "machine", "versions"]);
    for run in runs {
        let versions: Vec<_> =
            run.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let what = format!("{}: `{}`", run.date, run.shown());
        table.row([what, run.commit.clone(), run.machine.clone(), versions.join(", ")]);
    }
    format!(
        "## The runs\n\n{}\n\nA measurement during which others took more than {DISTURBED_PERCENT} % of the machine is marked as disturbed.",
        table.into_text()
    )
}

fn chapter(
    (blocks, plots): (&mut Vec<String>, &mut Vec<Plot>),
    results: &Results,
    shown: Shown,
    compares: &[&str],
) {
    if shown == Shown::Together {
        let all: Vec<_> = compares.iter().map(|compare| (*compare, results.rows(compare))).collect();
        let measured = |(compare, rows): &(&str, Vec<Row>)| {
            Some(format!("- `{compare}`: {}", about::of(compare, rows)?))
        };
        let lines: Vec<_> = all.iter().filter_map(measured).collect();
        blocks.extend((!lines.is_empty()).then(|| lines.join("\n")));
        blocks.push(table::together(&all));
    }
    for compare in compares {
        let tables = match shown {
            Shown::Apart => vec![speeds(&results.rows(compare))],
            Shown::Together => Vec::new(),
            Shown::Jobs => vec![jobs::table(results, compare)],
            Shown::Beside => {
                vec![jobs::checkpoints_beside(results, compare), jobs::restarts_beside(results, compare)]
            }
            Shown::Cost => vec![cost::table(results, compare)],
        };
        if !tables.is_empty() {
            blocks.push(format!("### `{compare}`: {}", title(compare)));
            blocks.extend(about::of(compare, &results.rows(compare)).map(|about| format!("{about}.")));
        }
        blocks.extend(tables);
        for plot in plots::of(results, compare, shown) {
            blocks.push(format!("![{}]({}.svg)", plot.title, plot.file));
            plots.push(plot);
        }
    }
}
