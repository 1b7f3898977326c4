//! The command line: what a person can ask for, and its help.
//!
//! **Failure**: what clap refuses and what [`WordcountArgs::check`] finds contradicting ends with exit code 2.
use std::path::{Path, PathBuf};

use alluvium_checkpoint::RestoreMode;
use alluvium_env::{Error, Result};
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::StoreArgs;
use crate::bench::{self, BenchCommand};
use crate::checkpointing::CheckpointArgs;
use crate::compactor::{self, CompactorArgs};
use crate::gc::{self, GcArgs};
use crate::inspect::{self, CheckpointCommands, SavepointCommands, SstArgs, StateArgs};
use crate::metrics::MetricsTarget;
use crate::state::{is_in_memory, local_folder};
use crate::units::ByteSize;

/// Where state lives if nothing else is said, below the current folder.
pub(crate) const DEFAULT_STATE: &str = ".alluvium/wordcount";

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  Count the words of a file; state and checkpoints go to .alluvium/wordcount:
    alluvium wordcount README.md

  A folder, 20 times over, in 64 MiB of memory, into a sorted file:
    alluvium wordcount docs --repeat 20 --memory 64MiB --output counts.tsv

  Keep the state in a bucket, continue there after a crash with four subtasks:
    alluvium wordcount docs --state s3://bucket/words --checkpoint-interval 10s
    alluvium wordcount docs --state s3://bucket/words --restore latest --parallelism 4

  Keep what it has counted, and go on from there in another place, as often as you like:
    alluvium savepoint create --to s3://bucket/words-monday
    alluvium wordcount docs --restore s3://bucket/words-monday --state s3://bucket/words-fork

  From a pipe, for a script:
    zcat logs.gz | alluvium wordcount - --state memory:/// --json | tail -n 1 | jq .distinct_keys

\x1b[1;33mS3:\x1b[0m
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
  AWS_ENDPOINT_URL (another server than Amazon's), AWS_ALLOW_HTTP=true (a plain http endpoint),
  AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true (bucket in the host name instead of the path)

\x1b[1;33mExit codes:\x1b[0m
  0  the input ended, or Ctrl-C or SIGTERM stopped the job after a last checkpoint
  1  failed; the last complete checkpoint is untouched
  2  wrong usage";

/// Disaggregated state for stream processing
///
/// State lives on an object store or a file system; memory and an optional local disk are caches.
#[derive(Debug, Parser)]
#[command(name = "alluvium", version, arg_required_else_help = true, styles = STYLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count the words of files, folders or stdin in keyed, checkpointed state
    ///
    /// Text is split into lower-cased Unicode words (UAX #29), keyed by word, counted in keyed state and printed. The
    /// job takes checkpoints while it runs; after a crash `--restore latest` continues from the last complete one, at
    /// whatever parallelism is given, and counts every word exactly once.
    #[command(after_long_help = EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Wordcount(Box<WordcountArgs>),

    /// Drive the state engine with one kind of operation and report what it takes
    ///
    /// Loads keys into a backend as a task thread of a job has it, then reads, changes, adds or scans them, and prints
    /// operations a second, latencies, CPU, requests and bytes, hit rates, amplification and memory.
    #[command(after_long_help = bench::EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Bench(BenchCommand),

    /// Do the compactions of jobs that run elsewhere: start any number of these, anywhere, and kill them at will
    ///
    /// A job that runs with --compaction remote offers its compactions on the store that holds its state. A compactor takes
    /// what nobody has, reads, merges and writes tables, and tells the job, which installs them. It keeps no state of its
    /// own. What one of them leaves undone is done by another one, or by the job itself.
    #[command(after_long_help = compactor::EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Compactor(CompactorArgs),

    /// Delete what no retained checkpoint names: what killed jobs have left on the store
    ///
    /// A job does that itself when it starts. This is for state whose job is not started again, or to know first. Only for
    /// state on which no job runs: a folder that a job has is refused, and elsewhere a job that still runs is fenced and
    /// ends, which --take-over allows.
    #[command(after_long_help = gc::EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Gc(GcArgs),

    /// Look into tables: show what one holds, or check every byte of many
    ///
    /// Tables are read as they lie on the store, without a job and beside one that runs: nothing is locked or written.
    #[command(after_long_help = inspect::SST_EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Sst(SstArgs),

    /// Look into checkpoints: list their states, show what they hold
    ///
    /// A checkpoint is read as it lies on the store, without a job and beside one that runs: nothing is claimed, locked
    /// or written.
    #[command(after_long_help = inspect::STATE_EXAMPLES, after_help = "`--help` shows more, with examples.")]
    State(StateArgs),

    /// Look after checkpoints: list, show, verify, remove
    ///
    /// All but rm read the store as it is, beside a job that runs: nothing is claimed, locked or written.
    #[command(after_long_help = inspect::CHECKPOINT_EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Checkpoint(CheckpointCommands),

    /// Make savepoints: checkpoints that stand by themselves, wherever they are put
    ///
    /// A savepoint is a folder or prefix that holds one checkpoint and all it needs. Nobody deletes it, it may be moved, and
    /// any number of jobs can be started from it.
    #[command(after_long_help = inspect::SAVEPOINT_EXAMPLES, after_help = "`--help` shows more, with examples.")]
    Savepoint(SavepointCommands),
}

/// Options of `alluvium wordcount`.
#[derive(Args, Debug)]
pub(crate) struct WordcountArgs {
    /// Files, folders, or - for stdin [default: stdin, if it is a pipe]
    ///
    /// Folders are read recursively in sorted order, without hidden entries and symbolic links. Files that are not text
    /// (a NUL byte in their first KiB) are skipped.
    #[arg(value_name = "INPUT")]
    pub(crate) inputs: Vec<PathBuf>,

    #[arg(
        long,
        help = "Where state and checkpoints live: file:///…, s3://bucket/prefix or memory:/// [default: .alluvium/wordcount here]",
        value_name = "URL",
        help_heading = "State"
    )]
    pub(crate) state: Option<String>,

    /// The whole memory budget: memtables, block cache, indexes, records in flight
    #[arg(long, value_name = "SIZE", default_value = "512MiB", help_heading = "State")]
    pub(crate) memory: ByteSize,

    #[command(flatten)]
    pub(crate) checkpoints: CheckpointArgs,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Which checkpoint to continue from: latest (the beginning, if there is none), none, its number, or URL[#ID] for a
    /// savepoint or another job's checkpoint; then --state is empty before
    #[arg(
        long,
        value_name = "latest|none|ID|URL[#ID]",
        default_value = "none",
        value_parser = restore,
        help_heading = "State"
    )]
    pub(crate) restore: RestoreFrom,

    /// Who owns the checkpoint of a --restore URL from then on [default: no-claim]
    #[arg(long, value_name = "MODE", help_heading = "State")]
    pub(crate) restore_mode: Option<Claiming>,

    /// Keyed subtasks, each with its own thread and its own store [default: cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=128), help_heading = "Job")]
    pub(crate) parallelism: Option<u16>,

    /// Read the input N times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000), help_heading = "Job")]
    pub(crate) repeat: u64,

    /// How to count: add merges blindly and never reads; get-put reads the count and writes it back
    #[arg(long, value_name = "HOW", default_value = "add", help_heading = "Job")]
    pub(crate) count: Counting,

    /// Write word<TAB>count lines, sorted by word, when the input ends; the file appears whole or not at all
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Print a table of the K most frequent words
    #[arg(long, value_name = "K", default_value_t = 10, help_heading = "Output")]
    pub(crate) top: usize,

    /// Print a summary as one JSON object, the last line of stdout
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// Keep metrics for Prometheus in a file, rewritten whole every 5 s, or answer GET /metrics on 127.0.0.1:PORT
    #[arg(long, value_name = "FILE|ADDR", help_heading = "Output")]
    pub(crate) metrics: Option<MetricsTarget>,
}

/// Which state access the job shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Counting {
    /// A reducing state: one blind merge a record.
    Add,
    /// A value state: one read and one write a record.
    GetPut,
}

impl Counting {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::GetPut => "get-put",
        }
    }
}

/// Where a job begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestoreFrom {
    /// At the beginning.
    None,
    /// At the latest checkpoint of its own.
    Latest,
    /// At one of its own.
    Id(u64),
    /// At the latest of another root, or at the one with this number.
    Elsewhere(String, Option<u64>),
}

/// Who owns a checkpoint that another state is begun from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Claiming {
    /// Whoever owned it before: nothing is written or deleted there
    NoClaim,
    /// This job: a job that runs there is stopped, and the checkpoint is deleted once this one has a checkpoint of its own
    Claim,
}

impl From<Claiming> for RestoreMode {
    fn from(claiming: Claiming) -> Self {
        match claiming {
            Claiming::NoClaim => Self::NoClaim,
            Claiming::Claim => Self::Claim,
        }
    }
}

fn restore(text: &str) -> Result<RestoreFrom, String> {
    let is_location = |text: &str| text.contains(['/', ':']);
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    match text {
        "none" => Ok(RestoreFrom::None),
        "latest" => Ok(RestoreFrom::Latest),
        url if is_location(url) => Ok(match url.rsplit_once('#').map(|(url, id)| (url, number(id))) {
            Some((url, Some(id))) => RestoreFrom::Elsewhere(url.to_owned(), Some(id)),
            _ => RestoreFrom::Elsewhere(url.to_owned(), None),
        }),
        id => number(id).map(RestoreFrom::Id).ok_or_else(|| {
            "write latest, none, the number of a checkpoint, or a savepoint as a URL or a path with a slash".to_owned()
        }),
    }
}

/// A path that names stdin.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

impl WordcountArgs {
    /// Finds options that contradict each other.
    ///
    /// # Errors
    /// `Invalid`, naming both.
    pub(crate) fn check(&self) -> Result<()> {
        let stdins = self.inputs.iter().filter(|path| is_stdin(path)).count();
        if stdins > 1 {
            return Err(Error::invalid("- is given twice, but stdin can be read only once"));
        }
        if self.repeat > 1 && (stdins > 0 || self.inputs.is_empty()) {
            return Err(Error::invalid(format!(
                "--repeat {} contradicts input from stdin, which can be read only once; save it to a file first",
                self.repeat
            )));
        }
        if let (Some(_), RestoreFrom::None | RestoreFrom::Latest | RestoreFrom::Id(_)) =
            (self.restore_mode, &self.restore)
        {
            return Err(Error::invalid(
                "--restore-mode is for checkpoints of other states: give one with --restore URL, or leave it out",
            ));
        }
        if matches!(self.restore, RestoreFrom::Latest | RestoreFrom::Id(_))
            && self.state.as_deref().is_some_and(|url| url.starts_with("memory:"))
        {
            return Err(Error::invalid(
                "--restore contradicts --state memory:///, which ends with the process; use a file:// or s3:// state",
            ));
        }
        self.checkpoints.settings().validate()?;
        self.store.check(self.state.as_deref(), DEFAULT_STATE)
    }

    /// Whether the state ends with the process.
    pub(crate) fn state_in_memory(&self) -> bool {
        self.state.as_deref().is_some_and(is_in_memory)
    }

    /// The local folder that holds the state, if one does.
    pub(crate) fn state_folder(&self) -> Option<PathBuf> {
        local_folder(self.state.as_deref(), DEFAULT_STATE)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// What a line may have beside its margins where the terminal is as wide as help is made for.
    const WIDTH: usize = 98;

    #[test]
    fn help_breaks_no_line_that_was_broken_by_hand() {
        for command in Cli::command().get_subcommands() {
            let Some(text) = command.get_after_long_help() else { continue };
            let text = text.to_string();
            let lines: Vec<&str> = text.lines().collect();
            for (at, line) in lines.iter().enumerate() {
                // A paragraph in one line is broken by the terminal alone.
                let begins = |before: &&str| before.is_empty() || !before.starts_with(' ');
                let is_paragraph = at.checked_sub(1).and_then(|at| lines.get(at)).is_none_or(begins)
                    && lines.get(at + 1).is_none_or(|after| after.is_empty());
                let (name, length) = (command.get_name(), line.chars().count());
                assert!(is_paragraph || length <= WIDTH, "{name}: {length} characters in {line}");
            }
        }
    }
}
