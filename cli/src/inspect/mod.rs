//! `alluvium sst`, `state`, `checkpoint` and `savepoint`: tables and checkpoints without running a job.
//!
//! **Invariants**: everything is opened for reading only: no lock, no claim, no write, whatever else runs on the state. But
//! for three: `savepoint create` writes where `--to` says, `savepoint restore` where `--state` says, and `checkpoint rm` takes the state over.
mod any_entries;
mod checkpoint;
mod checkpoint_args;
mod diff;
mod dump;
mod entries;
mod export;
mod held;
mod keys;
mod ls;
mod named;
mod objects;
mod operator_states;
mod output;
mod part;
mod retained;
mod savepoint;
mod savepoint_args;
mod shown;
mod sst_args;
mod state_args;
mod text;
mod values;
mod verify;

use alluvium_env::{ErrorKind, IoRuntime, Result};

use crate::Failure;
use checkpoint_args::CheckpointCommand;
pub(crate) use checkpoint_args::{CHECKPOINT_EXAMPLES, CheckpointCommands};
pub(crate) use output::Output;
use savepoint_args::SavepointCommand;
pub(crate) use savepoint_args::{SAVEPOINT_EXAMPLES, SavepointCommands};
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
        SstCommand::Verify(args) => verify::run(&args.to_verify(), &io),
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

/// Runs `alluvium checkpoint`.
///
/// # Errors
/// `Usage` for a removal that needs to be meant, `Job` for what is not there, cannot be read or is damaged.
pub(crate) fn run_checkpoint(args: &CheckpointCommands) -> Result<(), Failure> {
    let io = IoRuntime::new(IO_THREADS).map_err(Failure::Job)?;
    ended(match &args.command {
        CheckpointCommand::Ls(args) => retained::ls(args, &io),
        CheckpointCommand::Show(args) => retained::show(args, &io),
        CheckpointCommand::Verify(args) => verify::run(&args.to_verify(), &io),
        CheckpointCommand::Rm(args) => {
            args.check().map_err(Failure::Usage)?;
            retained::rm(args, &io)
        }
    })
}

/// Runs `alluvium savepoint`.
///
/// # Errors
/// `Usage` for options that contradict each other, `Job` for what is not there, cannot be read or cannot be written.
pub(crate) fn run_savepoint(args: &SavepointCommands) -> Result<(), Failure> {
    let io = IoRuntime::new(IO_THREADS).map_err(Failure::Job)?;
    ended(match &args.command {
        SavepointCommand::Create(args) => savepoint::create(args, &io),
        SavepointCommand::Restore(args) => savepoint::restore(args, &io),
        SavepointCommand::Ls(args) => savepoint::ls(args, &io),
        SavepointCommand::Diff(args) => {
            args.types.check().map_err(Failure::Usage)?;
            diff::run(args, &io)
        }
        SavepointCommand::Export(args) => {
            args.types.check().map_err(Failure::Usage)?;
            export::run(args, &io)
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
