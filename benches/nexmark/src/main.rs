//! Nexmark on the host: queries as jobs with their state in the store, checked against a computation in plain memory, and timed.
//!
//! `README.md` says how it is run and what is measured.
#[path = "../../../cli/src/allocator.rs"]
mod allocator;
mod answer;
#[path = "../../../cli/src/budget.rs"]
#[expect(dead_code, reason = "`alluvium` has compactors too")]
mod budget;
mod compare;
#[path = "../../../cli/src/bench/cpu.rs"]
#[expect(dead_code, reason = "`alluvium bench` has threads' too")]
mod cpu;
mod events;
mod job;
mod oracle;
mod query;
#[cfg(test)]
mod tests;
#[path = "../../../cli/src/units.rs"]
mod units;

use std::process::ExitCode;

use clap::Parser as _;

use compare::{Cli, Step};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.step {
        None => compare::run(&cli.compare),
        Some(Step::Measure(args)) => compare::measure(&args),
        Some(Step::Expect(args)) => compare::expect(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
