//! The options of `alluvium checkpoint`.
use alluvium_env::{Error, Result};
use clap::{Args, Subcommand};

use super::verify::ToVerify;
use crate::args::DEFAULT_STATE;
use crate::state::local_folder;

/// After the options.
pub(crate) const CHECKPOINT_EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  What a state can be restored from, and what one of them is made of:
    alluvium checkpoint ls
    alluvium checkpoint show 7 --state s3://bucket/words

  Read every byte that a checkpoint needs, and compare it with all checksums:
    alluvium checkpoint verify --state s3://bucket/words

  Give one up, with the files that only it needs; its job must have ended:
    alluvium checkpoint rm 7 --state file:///data/words

\x1b[1;33mExit codes:\x1b[0m
  0  done, and what was verified is sound
  1  there is no such checkpoint, it cannot be read, or something of it is damaged or missing
  2  wrong usage";

/// Options of `alluvium checkpoint`.
#[derive(Args, Debug)]
pub(crate) struct CheckpointCommands {
    #[command(subcommand)]
    pub(super) command: CheckpointCommand,
}

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub(super) enum CheckpointCommand {
    /// List the checkpoints that a state retains, oldest first
    Ls(RootArgs),

    /// Show what a checkpoint is made of: subtasks, key groups, objects
    Show(ShowArgs),

    /// Read every byte that a checkpoint needs, and check it
    Verify(VerifyCheckpointArgs),

    /// Give up checkpoints of a state that no job runs on, with the files that only they need
    Rm(RmArgs),
}

/// Which state, and how to print.
#[derive(Args, Debug)]
pub(super) struct RootArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "The state or savepoint: a path, file:///… or s3://bucket/… [default: .alluvium/wordcount here]"
    )]
    state: Option<String>,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl RootArgs {
    /// Where the checkpoints are.
    pub(super) fn location(&self) -> &str {
        self.state.as_deref().unwrap_or(DEFAULT_STATE)
    }
}

/// Options of `alluvium checkpoint show`.
#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// Its number [default: the latest]
    #[arg(value_name = "ID")]
    pub(super) id: Option<u64>,

    #[command(flatten)]
    pub(super) root: RootArgs,
}

/// Options of `alluvium checkpoint verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyCheckpointArgs {
    /// Its number [default: all that are retained]
    #[arg(value_name = "ID")]
    id: Option<u64>,

    /// Read the ends of its objects only: lengths, keys, counts, ages
    #[arg(long)]
    quick: bool,

    #[command(flatten)]
    root: RootArgs,
}

impl VerifyCheckpointArgs {
    /// Only what checkpoints name.
    pub(super) fn to_verify(&self) -> ToVerify<'_> {
        let Self { id, quick, root } = self;
        ToVerify { url: root.location(), quick: *quick, json: root.json, named_only: true, checkpoint: *id }
    }
}

/// Options of `alluvium checkpoint rm`.
#[derive(Args, Debug)]
pub(super) struct RmArgs {
    /// Their numbers
    #[arg(value_name = "ID", required = true)]
    pub(super) ids: Vec<u64>,

    /// Fence a job that may still run on a state that is not in a local folder: it ends
    #[arg(long)]
    take_over: bool,

    #[command(flatten)]
    pub(super) root: RootArgs,
}

impl RmArgs {
    /// Whether it is meant: only a folder tells by its lock whether a job runs on it.
    ///
    /// # Errors
    /// `Invalid` if that cannot be known.
    pub(super) fn check(&self) -> Result<()> {
        let location = self.root.location();
        let is_local = !location.contains(':') || local_folder(Some(location), DEFAULT_STATE).is_some();
        if is_local || self.take_over {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "whether a job runs on {location} cannot be told from here, and removing a checkpoint would stop it; add \
             --take-over if none does"
        )))
    }
}
