//! The options of `alluvium state`.
use alluvium_env::{Error, Result};
use clap::{Args, Subcommand};

use super::keys::KeyType;
use super::values::ValueType;

/// After the options.
pub(crate) const STATE_EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  Which states the latest checkpoint holds, also while the job runs:
    alluvium state ls
    alluvium state ls --checkpoint s3://bucket/words

  One count; the counts of all words that begin with \"al\":
    alluvium state get counts alluvium --value-type u64 --sum
    alluvium state scan counts --prefix al --value-type u64 --sum

  What has been broadcast to the operator:
    alluvium state scan rules --operator
    alluvium state get rules eu --operator

  Everything of an older checkpoint, for a script:
    alluvium state scan counts --id 7 --json | jq -r .key

\x1b[1;33mKeys and values:\x1b[0m
  A checkpoint does not say of which types they are. What is text is shown as text and everything else in hexadecimal \
  digits, unless --key-type and --value-type say better. What folds the operands of a reducing or aggregating state is \
  part of the job: operands that no flush or compaction has folded yet are shown one by one, oldest first; --sum adds \
  them up. Of a state with a TTL it holds what has expired and was not cleaned yet; --json says when each was updated.

\x1b[1;33mExit codes:\x1b[0m
  0  done
  1  there is no such checkpoint, state or key, or it cannot be read
  2  wrong usage";

/// Options of `alluvium state`.
#[derive(Args, Debug)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    pub(super) command: StateCommand,
}

/// What to do with a checkpoint's states.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// List the states of a checkpoint, the operator's as well: names, kinds, sizes
    Ls(LsArgs),

    /// Show what a state holds of one key
    Get(GetArgs),

    /// Show what a state holds, in order of key group and key
    Scan(ScanArgs),
}

/// Which checkpoint, and how to print.
#[derive(Args, Debug)]
pub(super) struct CheckpointArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "Where the checkpoints are: a state's path, file:///… or s3://bucket/… [default: .alluvium/wordcount here]"
    )]
    pub(super) checkpoint: Option<String>,

    /// Which of those that are retained [default: the latest]
    #[arg(long, value_name = "N")]
    pub(super) id: Option<u64>,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// How keys and values are read and shown.
#[derive(Args, Debug)]
pub(super) struct TypeArgs {
    /// What record keys are
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub(super) key_type: KeyType,

    /// What values, elements and operands are
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub(super) value_type: ValueType,

    /// Add operands up; with --value-type u64 or i64
    #[arg(long)]
    pub(super) sum: bool,
}

/// Options of `alluvium state ls`.
#[derive(Args, Debug)]
pub(super) struct LsArgs {
    #[command(flatten)]
    pub(super) checkpoint: CheckpointArgs,

    /// Count by reading every entry, instead of estimating from the tables' indexes
    #[arg(long)]
    pub(super) exact: bool,
}

/// Options of `alluvium state get`.
#[derive(Args, Debug)]
pub(super) struct GetArgs {
    /// The state's name
    #[arg(value_name = "STATE")]
    pub(super) state: String,

    /// The record key; with --operator the key of an entry
    #[arg(value_name = "KEY", allow_hyphen_values = true)]
    pub(super) key: String,

    /// The state is the operator's and of no record key: a broadcast state, of which this is a key
    #[arg(long, conflicts_with = "sum")]
    pub(super) operator: bool,

    #[command(flatten)]
    pub(super) types: TypeArgs,

    #[command(flatten)]
    pub(super) checkpoint: CheckpointArgs,
}

/// Options of `alluvium state scan`.
#[derive(Args, Debug)]
pub(super) struct ScanArgs {
    /// The state's name
    #[arg(value_name = "STATE")]
    pub(super) state: String,

    /// Only record keys that begin so: text, or hexadecimal digits with --key-type hex
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(super) prefix: Option<String>,

    /// Show so many entries at most
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,

    /// The state is the operator's and of no key: a list, a union list or a broadcast state
    #[arg(long, conflicts_with_all = ["prefix", "sum"])]
    pub(super) operator: bool,

    #[command(flatten)]
    pub(super) types: TypeArgs,

    #[command(flatten)]
    pub(super) checkpoint: CheckpointArgs,
}

impl TypeArgs {
    /// Finds options that contradict each other.
    ///
    /// # Errors
    /// `Invalid`, naming both.
    pub(super) fn check(&self) -> Result<()> {
        if self.sum && !matches!(self.value_type, ValueType::U64 | ValueType::I64) {
            return Err(Error::invalid(
                "--sum adds numbers up: say which with --value-type u64 or --value-type i64",
            ));
        }
        Ok(())
    }
}

impl ScanArgs {
    /// Finds options that contradict each other.
    ///
    /// # Errors
    /// `Invalid`, naming both.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(prefix) = &self.prefix {
            self.types.key_type.encode_prefix(prefix)?;
        }
        self.types.check()
    }
}
