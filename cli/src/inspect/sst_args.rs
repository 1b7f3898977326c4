//! The options of `alluvium sst`.
use clap::{Args, Subcommand};

use super::verify::ToVerify;

/// After the options.
pub(crate) const SST_EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  Check every byte of all tables, value files and deltas of a state, also while its job runs:
    alluvium sst verify .alluvium/wordcount
    alluvium sst verify s3://bucket/words

  Only whether all is there that its checkpoints need, and is what they say; no data is read:
    alluvium sst verify s3://bucket/words --quick

  What a table holds, with its first hundred entries:
    alluvium sst dump s3://bucket/words/state/00000001/0000/000000000003.sst --entries --limit 100

  All keys of a table, for a script:
    alluvium sst dump s3://bucket/words/state/00000001/0000/000000000003.sst --entries --json |
      jq -r 'select(.type == \"entry\").key'

\x1b[1;33mVerifying a state:\x1b[0m
  Given a state's URL, verify also compares what is there with what the retained checkpoints name: each object is there, \
  as long as they say, and a table has the keys, counts and ages they say. What is missing is named, with the checkpoints \
  that need it. Objects that no retained checkpoint names are counted, and named by --json; a running job has some that \
  its next checkpoint will name, and whoever takes the state over next deletes what a dead one left.

\x1b[1;33mExit codes:\x1b[0m
  0  done, and what was verified is sound
  1  something is damaged or missing, or cannot be read
  2  wrong usage";

/// Options of `alluvium sst`.
#[derive(Args, Debug)]
pub(crate) struct SstArgs {
    #[command(subcommand)]
    pub(super) command: SstCommand,
}

/// What to do with tables.
#[derive(Debug, Subcommand)]
pub(super) enum SstCommand {
    /// Show what one table holds: sizes, counts, key groups, deleted ranges, blocks, entries
    Dump(DumpArgs),

    /// Check every byte of tables, value files and deltas, and that nothing is missing that a checkpoint needs
    Verify(VerifyArgs),
}

/// Options of `alluvium sst dump`.
#[derive(Args, Debug)]
pub(super) struct DumpArgs {
    #[arg(value_name = "URL", help = "The table: a path, file:///…/3.sst or s3://bucket/…/3.sst")]
    pub(super) url: String,

    /// Show the entries below their blocks
    #[arg(long)]
    pub(super) entries: bool,

    /// Show so many entries at most
    #[arg(long, value_name = "N", requires = "entries")]
    pub(super) limit: Option<u64>,

    /// Show keys and values as hexadecimal digits instead of text with escapes
    #[arg(long)]
    pub(super) hex: bool,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of `alluvium sst verify`.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    #[arg(
        value_name = "URL",
        help = "An object that checkpoints name (*.sst, *.val, *.delta, *.pack, *.page, *.hint, *.entries), or a folder or prefix with such below it: a path, file:///… or s3://bucket/…"
    )]
    pub(super) url: String,

    /// Of what checkpoints name read ends only: lengths, keys, counts, ages
    #[arg(long)]
    pub(super) quick: bool,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

impl VerifyArgs {
    /// Everything that is there.
    pub(super) fn to_verify(&self) -> ToVerify<'_> {
        let Self { url, quick, json } = self;
        ToVerify { url, quick: *quick, json: *json, named_only: false, checkpoint: None }
    }
}
