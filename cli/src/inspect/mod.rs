//! `alluvium sst` and `alluvium state`: look into tables and checkpoints without running a job.
//!
//! **Invariants**: everything is opened for reading only: no lock, no claim, no write, whatever else runs on the state.
mod checkpoint;
mod dump;
mod entries;
mod keys;
mod ls;
mod named;
mod objects;
mod output;
mod shown;
mod sst_args;
mod state_args;
mod text;
mod values;
mod verify;

use alluvium_env::{ErrorKind, IoRuntime, Result};

use crate::Failure;
pub(crate) use output::Output;
use sst_args::SstCommand;
pub(crate) use sst_args::{SST_EXAMPLES, SstArgs};
use state_args::StateCommand;
pub(crate) use state_args::{STATE_EXAMPLES, StateArgs};

/// Threads for requests; a tool has few at a time.
const IO_THREADS: usize = 2;

/// Runs `alluvium sst`.
///
/// # Errors
/// `Job` for what cannot be opened or read, and for a table that is damaged.
pub(crate) fn run_sst(args: &SstArgs) -> Result<(), Failure> {
    let io = IoRuntime::new(IO_THREADS).map_err(Failure::Job)?;
    ended(match &args.command {
        SstCommand::Dump(args) => dump::run(args, &io),
        SstCommand::Verify(args) => verify::run(args, &io),
    })
}

/// Runs `alluvium state`.
///
/// # Errors
/// `Usage` for options that contradict each other, `Job` for what is not there or cannot be read.
pub(crate) fn run_state(args: &StateArgs) -> Result<(), Failure> {
    let io = IoRuntime::new(IO_THREADS).map_err(Failure::Job)?;
    ended(match &args.command {
        StateCommand::Ls(args) => ls::run(args, &io),
        StateCommand::Get(args) => {
            args.types.check().map_err(Failure::Usage)?;
            entries::get(args, &io)
        }
        StateCommand::Scan(args) => {
            args.check().map_err(Failure::Usage)?;
            entries::scan(args, &io)
        }
    })
}

/// A reader of stdout that has seen enough is not a failure.
fn ended(result: Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::Cancelled => Ok(()),
        result => result.map_err(Failure::Job),
    }
}
