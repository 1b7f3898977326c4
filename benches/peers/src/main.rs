//! Measures Alluvium beside the stores that people use instead: the same keys, values, memory and thread for all.
//!
//! `measure` runs one case on one system; `compare` runs cases on all systems and shows the figures side by side. Each
//! measurement is a process of its own, so that memory and CPU are its own. How each system is set, and why, is in
//! `README.md` and at the top of its file in `bench/systems`.
mod bench;
mod compare;
#[path = "../../../cli/src/units.rs"]
#[expect(dead_code, reason = "`alluvium` needs more of it")]
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[derive(Parser)]
#[command(about = "Measures Alluvium beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one case on one system and prints its figures as JSON
    Measure(bench::BenchArgs),
    /// Runs cases on all systems, one process each, and prints tables
    Compare(compare::CompareArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Measure(args) => bench::run(&args),
        Command::Compare(args) => compare::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
