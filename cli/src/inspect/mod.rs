//! `alluvium sst`: looks into tables without running a job.
//!
//! **Invariants**: everything is opened for reading only: no lock, no claim, no write, whatever else runs on the state.
mod dump;
mod objects;
mod output;
mod sst_args;
mod text;
mod verify;

use alluvium_env::{ErrorKind, IoRuntime, Result};

use crate::Failure;
use sst_args::SstCommand;
pub(crate) use sst_args::{SST_EXAMPLES, SstArgs};

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

/// A reader of stdout that has seen enough is not a failure.
fn ended(result: Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::Cancelled => Ok(()),
        result => result.map_err(Failure::Job),
    }
}
