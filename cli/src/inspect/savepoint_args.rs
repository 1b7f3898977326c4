//! The options of `alluvium savepoint`.
use clap::{Args, Subcommand, ValueEnum};

use super::state_args::TypeArgs;
use crate::args::DEFAULT_STATE;

/// After the options.
pub(crate) const SAVEPOINT_EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  Keep the latest checkpoint for good, also while the job runs; start two jobs from it:
    alluvium savepoint create --to .alluvium/monday
    alluvium wordcount docs --restore .alluvium/monday --state file:///data/fork-1
    alluvium wordcount docs --restore .alluvium/monday --state file:///data/fork-2

  Or make a state of it, in which a job goes on whenever it is started:
    alluvium savepoint restore .alluvium/monday --state file:///data/words
    alluvium wordcount docs --state file:///data/words --restore latest

  What has changed since, and everything as lines of JSON:
    alluvium savepoint diff .alluvium/monday .alluvium/wordcount --value-type u64 --sum
    alluvium savepoint export --state .alluvium/monday --format jsonl | jq -r .key

  In a form that does not depend on the backend:
    alluvium savepoint create --canonical --to .alluvium/portable

  From one store to another; and what there is:
    alluvium savepoint create --state s3://bucket/words --checkpoint 7 --to file:///backup/words-7
    alluvium savepoint ls /backup

\x1b[1;33mWhat a savepoint is:\x1b[0m
  A state of its own with one checkpoint: a ledger and the objects it names. `state`, `sst` and `checkpoint` read it by its \
  URL as they read any state. It may be moved or copied as a whole, since no name in it says where it is. Where one store \
  holds both, the store copies: folders on one disk share files (which nobody changes), and a bucket copies on its side. \
  What was interrupted is no savepoint yet; the same command makes it whole. A canonical one is for another backend, or for \
  another version of this one: it holds no files of a backend, only entries, and is read whole when a job starts from it.

\x1b[1;33mExit codes:\x1b[0m
  0  done
  1  there is no such checkpoint, it cannot be read, or the savepoint cannot be written
  2  wrong usage";

/// Options of `alluvium savepoint`.
#[derive(Args, Debug)]
pub(crate) struct SavepointCommands {
    #[command(subcommand)]
    pub(super) command: SavepointCommand,
}

/// What to do with savepoints.
#[derive(Debug, Subcommand)]
pub(super) enum SavepointCommand {
    /// Make a savepoint of a retained checkpoint, beside the job that may be running
    Create(CreateArgs),

    /// Make a state of a savepoint, in an empty folder or prefix: a job goes on there with --restore latest
    Restore(RestoreArgs),

    /// List the savepoints and states in a folder or below a prefix
    Ls(SavepointLsArgs),

    /// Show in what two savepoints or checkpoints differ, state by state and key by key
    Diff(DiffArgs),

    /// Print everything that a savepoint or checkpoint holds, for other programs
    Export(ExportArgs),
}

/// Options of `alluvium savepoint create`.
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "The state: a path, file:///… or s3://bucket/… [default: .alluvium/wordcount here]"
    )]
    state: Option<String>,

    /// Which of the retained checkpoints: its number, or latest
    #[arg(long, value_name = "N|latest", default_value = "latest", value_parser = checkpoint)]
    pub(super) checkpoint: Chosen,

    /// Where to put it: an empty folder or prefix
    #[arg(long, value_name = "URL")]
    pub(super) to: String,

    /// Write it in a form that every backend can restore: entries in order, read from the store and written anew
    #[arg(long)]
    pub(super) canonical: bool,

    /// Print a summary as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// A checkpoint that is asked for; the latest without a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen(pub(super) Option<u64>);

fn checkpoint(text: &str) -> Result<Chosen, String> {
    if text == "latest" {
        return Ok(Chosen(None));
    }
    let id = text.parse().map_err(|_| "write latest, or the number of a checkpoint".to_owned());
    id.map(|id| Chosen(Some(id)))
}

impl CreateArgs {
    /// Where the checkpoint is.
    pub(super) fn location(&self) -> &str {
        self.state.as_deref().unwrap_or(DEFAULT_STATE)
    }
}

/// Options of `alluvium savepoint restore`.
#[derive(Args, Debug)]
pub(super) struct RestoreArgs {
    #[arg(
        value_name = "URL[#ID]",
        help = "The savepoint, or a state and which of its checkpoints [default: the latest]"
    )]
    pub(super) savepoint: String,

    #[arg(
        long,
        value_name = "URL",
        help = "Where the state is to be, an empty folder or prefix [default: .alluvium/wordcount here]"
    )]
    state: Option<String>,

    /// Print a summary as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl RestoreArgs {
    /// Where the state is to be.
    pub(super) fn location(&self) -> &str {
        self.state.as_deref().unwrap_or(DEFAULT_STATE)
    }
}

/// Options of `alluvium savepoint ls`.
#[derive(Args, Debug)]
pub(super) struct SavepointLsArgs {
    #[arg(value_name = "URL", help = "The folder or prefix: a path, file:///… or s3://bucket/…")]
    pub(super) url: String,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Options of `alluvium savepoint diff`.
#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    #[arg(
        value_name = "URL[#ID]",
        help = "The older: a savepoint or state, and which of its checkpoints [default: the latest]"
    )]
    pub(super) before: String,

    #[arg(value_name = "URL[#ID]", help = "The newer")]
    pub(super) after: String,

    /// Only this state
    #[arg(long, value_name = "STATE")]
    pub(super) only: Option<String>,

    /// Show so many differences at most; all are counted
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<u64>,

    #[command(flatten)]
    pub(super) types: TypeArgs,

    /// Print one JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// How to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON object a line and entry
    Jsonl,
}

/// Options of `alluvium savepoint export`.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    #[arg(
        long,
        value_name = "URL",
        help = "The savepoint or state: a path, file:///… or s3://bucket/… [default: .alluvium/wordcount here]"
    )]
    state: Option<String>,

    /// Which of the retained checkpoints: its number, or latest
    #[arg(long, value_name = "N|latest", default_value = "latest", value_parser = checkpoint)]
    pub(super) checkpoint: Chosen,

    /// Only this state
    #[arg(long, value_name = "STATE")]
    pub(super) only: Option<String>,

    /// In which form
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Format,

    #[command(flatten)]
    pub(super) types: TypeArgs,
}

impl ExportArgs {
    /// Where the checkpoint is.
    pub(super) fn location(&self) -> &str {
        self.state.as_deref().unwrap_or(DEFAULT_STATE)
    }
}

/// Splits what names a checkpoint by location and number.
pub(super) fn located(text: &str) -> (&str, Option<u64>) {
    match text.rsplit_once('#') {
        Some((location, id)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
            (location, id.parse().ok())
        }
        _ => (text, None),
    }
}
