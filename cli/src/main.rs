//! The `alluvium` command.
//!
//! **Failure**: one sentence on stderr that names the thing and the way out, and exit code 1 (the job failed) or 2 (wrong
//! usage).
mod allocator;
mod args;
mod backend;
mod bench;
mod budget;
mod checkpointing;
mod compactor;
mod gc;
mod input;
mod inspect;
mod logging;
mod metrics;
mod progress;
mod results;
mod signals;
mod state;
mod units;
mod wordcount;
mod words;

use std::process::ExitCode;

use alluvium_env::Error;
use alluvium_host::Outcome;
use clap::Parser as _;

/// Why a command did not do what it should.
#[derive(Debug)]
enum Failure {
    /// The command line contradicts itself.
    Usage(Error),
    /// The job failed.
    Job(Error),
}

fn main() -> ExitCode {
    let command = args::Cli::parse().command;
    let ended = logging::start().map_err(Failure::Usage).and_then(|()| run(command));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            eprintln!("alluvium: {}", sentence(&error.to_string()));
            ExitCode::from(2)
        }
        Err(Failure::Job(error)) => {
            eprintln!("alluvium: {}", sentence(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: args::Command) -> Result<(), Failure> {
    match command {
        args::Command::Wordcount(args) => {
            wordcount::run(&args).map(|(Outcome::Finished | Outcome::Stopped)| ())
        }
        args::Command::Bench(args) => bench::run(&args),
        args::Command::Compactor(args) => compactor::run(&args),
        args::Command::Gc(args) => gc::run(&args),
        args::Command::Sst(args) => inspect::run_sst(&args),
        args::Command::State(args) => inspect::run_state(&args),
        args::Command::Checkpoint(args) => inspect::run_checkpoint(&args),
        args::Command::Savepoint(args) => inspect::run_savepoint(&args),
    }
}

/// One line with a full stop, whatever a cause deep below has put into its message.
fn sentence(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if !line.ends_with(['.', '!', '?']) {
        line.push('.');
    }
    line
}
