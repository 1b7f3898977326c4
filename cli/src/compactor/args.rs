//! The options of `alluvium compactor`.
use clap::Args;

use crate::units::{ByteSize, Delay, Interval};

/// After the options.
pub(crate) const EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  A job whose compactions others do, and two who do them, on any machine that reaches the bucket:
    alluvium wordcount docs --state s3://bucket/words --compaction remote
    alluvium compactor --state s3://bucket/words
    alluvium compactor --state s3://bucket/words --memory 1GiB

  As long as there is something to do, for a machine that costs money:
    alluvium compactor --state s3://bucket/words --idle-exit 10m

\x1b[1;33mWhat it takes:\x1b[0m
  Four tables of the job fit into --memory, or it leaves the job's compactions to others and says so; how large the \
  compactions themselves are does not matter. A table is a sixteenth of what the job gives one of its stores, and 32MiB \
  at most. While it has nothing to do it lists compaction/ of the state every --poll, later every second --poll.

\x1b[1;33mExit codes:\x1b[0m
  0  it was stopped, or had nothing more to do; a job that it had by then is given back
  1  failed
  2  wrong usage";

/// Options of `alluvium compactor`.
#[derive(Args, Debug)]
pub(crate) struct CompactorArgs {
    #[arg(
        long,
        help = "Where the job's state lives: file:///… or s3://bucket/prefix, or a folder",
        value_name = "URL"
    )]
    pub(crate) state: String,

    /// The whole memory budget
    #[arg(long, value_name = "SIZE", default_value = "256MiB")]
    pub(crate) memory: ByteSize,

    /// How often to look for something to do
    #[arg(long, value_name = "DUR", default_value = "1s")]
    pub(crate) poll: Delay,

    /// End once there is nothing to do
    #[arg(long, conflicts_with = "idle_exit")]
    pub(crate) once: bool,

    /// End once there has been nothing to do for so long
    #[arg(long, value_name = "DUR|off", default_value = "off")]
    pub(crate) idle_exit: Interval,
}
