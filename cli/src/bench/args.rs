//! The options of `alluvium bench`, and which of them contradict each other.
use alluvium_async_exec::ControllerSettings;
use alluvium_env::{Error, Result};
use alluvium_host::storage::SlowTail;
use alluvium_state_api::MaxParallelism;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::job_args::JobArgs;
use super::keys::Keys;
use super::page::ReportArgs;
use super::values::VERSION_BYTES;
use crate::backend::StoreArgs;
use crate::metrics::MetricsTarget;
use crate::units::{ByteSize, Count, Delay};

/// Where the state lives if nothing else is said, below the current folder.
pub(super) const DEFAULT_STATE: &str = ".alluvium/bench";
const REPORT: &str = "report";
const DEFAULT_VALUE_BYTES: usize = 100;
const DEFAULT_RECORDS: u64 = 1_000_000;
const DEFAULT_SCAN_LENGTH: u32 = 100;
/// In a mixed load maps hold one entry for so many keys.
const MIXED_MAP_SHARE: u64 = 10;

/// After the options.
pub(crate) const EXAMPLES: &str = "\
\x1b[1;33mExamples:\x1b[0m
  What memory answers, on one task thread, every operation a call:
    alluvium bench get --keys 10M --memory 4GiB --mode sync --warm-up 10M

  Read, change, write back for a minute, with ten times more data than memory:
    alluvium bench rmw --keys 10M --memory 128MiB --seconds 60

  Cold reads from a store 15 ms away, 256 at a time; the folder stands for it:
    alluvium bench get --keys 10M --memory 128MiB --latency 15ms --in-flight 256 --mode sync

  Checkpoints of a job whose store is 15 ms away, then a rescale to three subtasks and back:
    alluvium bench checkpoint --keys 10M --latency 15ms --parallelism 2 --restore-at 3,2

  64 keys at a time, for a script:
    alluvium bench get --latency 15ms --mode sync --batch 64 --json | tail -n 1 | jq .latency

\x1b[1;33mWhat is measured:\x1b[0m
  Every case but load first puts its keys and waits until flushes and compactions have ended; then come \
  --warm-up operations, which do not count, and those that do. Keys are 16 bytes and as good as random; about \
  half of a value's bytes are random, the other half compresses away; all follow from --seed. Of a sample of \
  keys every byte that comes back is compared with what was written: a wrong answer ends the benchmark.

  get and rmw are about single values, add about sums of 8 bytes, append adds an element of --value-bytes to a \
  list. map-scan reads one map of --scan-length entries, a page of 128 at a time; --keys counts the entries of \
  all maps. mixed is half get, 45 % rmw and 5 % map-scan, of maps that hold a tenth of --keys besides. scan is \
  one ordered pass. checkpoint is a whole job with sources: it puts all keys, waits until the store is quiet, \
  changes --change of them every second for --seconds while it takes checkpoints, stops, and is restored \
  --restore-at other parallelisms, with empty caches. append, map-scan and mixed run in mode sync only. With \
  --compaction remote, compactors find the work at the benchmark's --state URL with /bench behind it.

  A latency is one operation's; with --batch N in mode sync one batch's; in mode async it does not include the \
  wait behind another record of the key. CPU is the process's, without the thread that keeps the time of \
  --latency. debt is what flushes and compactions had left to do when the last operation ended: how long it \
  took, and what they wrote. Write amplification is bytes sent to the store, those included, over bytes of \
  keys and values written. Space amplification is bytes on the store at the end over bytes of keys and values \
  loaded.

\x1b[1;33mExit codes:\x1b[0m
  0  measured
  1  failed, or the store answered wrongly
  2  wrong usage";

/// What `alluvium bench` is asked.
#[derive(Clone, Debug)]
pub(crate) enum BenchCommand {
    /// To measure a case.
    Case(Box<BenchArgs>),
    /// To make a page of what was measured.
    Report(ReportArgs),
}

/// By hand, because a case is no subcommand: it needs what a report does not have.
impl Args for BenchCommand {
    fn augment_args(command: Command) -> Command {
        let report = ReportArgs::augment_args(Command::new(REPORT))
            .about("Make a page with tables and plots of measurements that were kept");
        BenchArgs::augment_args(command)
            .subcommand(report)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for BenchCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((REPORT, matches)) => ReportArgs::from_arg_matches(matches).map(Self::Report),
            _ => BenchArgs::from_arg_matches(matches).map(|args| Self::Case(Box::new(args))),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Options of a case.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_name = "CASE")]
    pub(super) case: Case,

    /// How many keys to load, or entries of maps; a number like 500k or 10M
    #[arg(long, value_name = "N", default_value = "1M", help_heading = "Workload")]
    pub(super) keys: Count,

    /// Bytes of a value; half of them random, the other half compresses away [default: 100]
    #[arg(long, value_name = "N", help_heading = "Workload", value_parser = clap::value_parser!(u32).range(1..=64 << 20))]
    value_bytes: Option<u32>,

    /// How many operations to measure [default: 1M]
    #[arg(long, value_name = "N", help_heading = "Workload")]
    records: Option<Count>,

    /// Measure so many seconds instead [default of checkpoint: 20]
    #[arg(long, value_name = "S", help_heading = "Workload", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) seconds: Option<u32>,

    /// Operations before those that count
    #[arg(long, value_name = "N", help_heading = "Workload")]
    warm_up: Option<Count>,

    /// Entries of a map [default: 100]
    #[arg(long, value_name = "N", help_heading = "Workload", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    scan_length: Option<u32>,

    /// The order in which keys are loaded: that of the store, or as good as random
    #[arg(long, value_name = "ORDER", default_value = "ascending", help_heading = "Workload")]
    pub(super) order: Order,

    /// Draw keys by Zipf's law with this exponent instead of uniformly
    #[arg(long, value_name = "S", help_heading = "Workload", value_parser = exponent)]
    pub(super) zipf: Option<f64>,

    /// How many of a hundred reads ask for a key that is not there
    #[arg(long, value_name = "PERCENT", help_heading = "Workload", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(super) absent: Option<u8>,

    /// What keys, values and operations are drawn from
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Workload")]
    pub(super) seed: u64,

    /// How operations reach the state: async runs them as records of a keyed operator, sync calls the backend
    /// [default: async; sync for append, map-scan and mixed]
    #[arg(long, value_name = "HOW", help_heading = "Engine")]
    mode: Option<Mode>,

    /// Which backend
    #[arg(long, value_name = "NAME", default_value = "forst", help_heading = "Engine")]
    pub(super) backend: Backend,

    /// Task threads, each with its own store and its share of the key groups
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128), help_heading = "Engine")]
    pub(super) parallelism: u16,

    /// Operations under way at once, a task thread [default: 6000 in mode async, 1 in mode sync]
    #[arg(long, value_name = "N", help_heading = "Engine", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(super) in_flight: Option<u32>,

    /// Mode async: reads that are submitted together; mode sync: keys that are looked up together
    /// [default: 1000 in mode async, 1 in mode sync]
    #[arg(long, value_name = "N", help_heading = "Engine", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    batch: Option<u32>,

    /// The whole memory budget, as for wordcount; the heap backend takes what it needs
    #[arg(long, value_name = "SIZE", default_value = "512MiB", help_heading = "State")]
    pub(super) memory: ByteSize,

    #[arg(
        long,
        help = "Where the state is written: file:///…, s3://bucket/prefix or memory:///; below bench/, and deleted at the end [default: .alluvium/bench here]",
        value_name = "URL",
        help_heading = "State"
    )]
    pub(super) state: Option<String>,

    #[command(flatten)]
    pub(super) store: StoreArgs,

    /// A round trip to put in front of the store, like 15ms or 70us
    #[arg(long, value_name = "DUR", help_heading = "State")]
    pub(super) latency: Option<Delay>,

    /// A round trip that some requests take instead, drawn at random: 1%:150ms
    #[arg(long, value_name = "SHARE:DUR", help_heading = "State", value_parser = slow_tail, requires = "latency")]
    pub(super) slow_tail: Option<SlowTail>,

    /// Ask a second time for blocks that take longer than so many times the 95th percentile; at most one read in twenty is
    #[arg(long, value_name = "FACTOR", help_heading = "State")]
    pub(super) hedge: Option<f64>,

    /// Bytes a second that pass between here and the store, in each direction
    #[arg(long, value_name = "SIZE", help_heading = "State")]
    pub(super) bandwidth: Option<ByteSize>,

    #[command(flatten)]
    pub(super) job: JobArgs,

    /// Print the figures as one JSON object, the last line of stdout
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,

    /// Keep metrics for Prometheus in a file, rewritten whole every 5 s, or answer GET /metrics on 127.0.0.1:PORT
    #[arg(long, value_name = "FILE|ADDR", help_heading = "Output")]
    pub(super) metrics: Option<MetricsTarget>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// Puts of all keys in ascending order, until the last one is on the store
    Load,
    /// Reads of single values
    Get,
    /// Reads, each followed by a write of the changed value
    Rmw,
    /// Blind additions to sums of eight bytes
    Add,
    /// Blind appends of elements to lists
    Append,
    /// Reads of whole maps, page by page
    MapScan,
    /// Half reads, 45 % read-modify-writes, 5 % reads of maps
    Mixed,
    /// One ordered pass over everything
    Scan,
    /// A whole job that takes checkpoints while values change, and is restored
    Checkpoint,
}

/// How operations reach the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// Through the asynchronous execution controller.
    Async,
    /// By calls.
    Sync,
}

/// In which order keys are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// By state key.
    Ascending,
    /// As good as random.
    Random,
}

/// Which backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Backend {
    /// The LSM store.
    Forst,
    /// An ordered map in memory.
    Heap,
}

fn exponent(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not an exponent between 0.01 and 10");
    text.parse().ok().filter(|exponent| (0.01..=10.0).contains(exponent)).ok_or_else(wrong)
}

fn slow_tail(text: &str) -> Result<SlowTail, String> {
    let wrong = || format!("{text:?} is not a share of requests and their time; write it like 1%:150ms");
    let (share, latency) = text.split_once("%:").ok_or_else(wrong)?;
    let percent: f64 = share.trim().parse().map_err(|_| wrong())?;
    let Delay(latency) = latency.parse().map_err(|_| wrong())?;
    if !(0.001..=100.0).contains(&percent) {
        return Err(format!("{share:?} is not between 0.001 and 100 percent; write it like 1%:150ms"));
    }
    Ok(SlowTail { per_million: per_million(percent), latency })
}

#[expect(clippy::cast_sign_loss, reason = "the range was checked")]
fn per_million(percent: f64) -> u32 {
    (percent * 10_000.0).round() as u32
}

/// As it is written on the command line.
pub(super) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl BenchArgs {
    /// How operations reach the state.
    pub(super) fn mode(&self) -> Mode {
        let default = if self.is_sync_only() { Mode::Sync } else { Mode::Async };
        self.mode.unwrap_or(default)
    }

    /// Whether there is no typed state for what the case does.
    fn is_sync_only(&self) -> bool {
        matches!(self.case, Case::Append | Case::MapScan | Case::Mixed)
    }

    /// Whether the case changes state, and so may leave something to do.
    pub(super) fn writes(&self) -> bool {
        matches!(self.case, Case::Rmw | Case::Add | Case::Append | Case::Mixed)
    }

    /// Entries of a map.
    pub(super) fn scan_length(&self) -> u64 {
        self.scan_length.unwrap_or(DEFAULT_SCAN_LENGTH).into()
    }

    /// How many maps there are.
    pub(super) fn maps(&self) -> u64 {
        let entries = match self.case {
            Case::MapScan => self.keys.0,
            Case::Mixed => self.keys.0 / MIXED_MAP_SHARE,
            _ => return 0,
        };
        (entries / self.scan_length()).max(1)
    }

    /// How many keys have a value, a sum or a list.
    pub(super) fn single_keys(&self) -> u64 {
        if self.case == Case::MapScan { 0 } else { self.keys.0 }
    }

    /// Bytes of a value.
    pub(super) fn value_bytes(&self) -> usize {
        if self.case == Case::Add {
            return size_of::<u64>();
        }
        self.value_bytes.map_or(DEFAULT_VALUE_BYTES, |bytes| bytes as usize)
    }

    /// How many operations are measured, where no time is set.
    pub(super) fn records(&self) -> u64 {
        match self.case {
            Case::Load | Case::Scan | Case::Checkpoint => self.keys.0,
            _ => self.records.map_or(DEFAULT_RECORDS, |records| records.0),
        }
    }

    /// How many operations come before.
    pub(super) fn warm_up(&self) -> u64 {
        self.warm_up.map_or(0, |records| records.0)
    }

    /// Operations under way at once.
    pub(super) fn in_flight(&self) -> usize {
        let default = match self.mode() {
            Mode::Async => ControllerSettings::DEFAULT_MAX_IN_FLIGHT,
            Mode::Sync => 1,
        };
        self.in_flight.map_or(default, |n| n as usize)
    }

    /// Reads that go together.
    pub(super) fn batch(&self) -> usize {
        let default = match self.mode() {
            Mode::Async => ControllerSettings::DEFAULT_BATCH_READS,
            Mode::Sync => 1,
        };
        self.batch.map_or(default, |n| n as usize)
    }

    /// Finds options that contradict each other.
    ///
    /// # Errors
    /// `Invalid`, naming both.
    pub(super) fn check(&self) -> Result<()> {
        for (one, other, why) in self.contradictions() {
            if let (Some(one), Some(other)) = (one, other) {
                return Err(Error::invalid(format!("{one} contradicts {other}: {why}")));
            }
        }
        self.store.check(self.state.as_deref(), DEFAULT_STATE)?;
        if let (Some(tail), Some(Delay(latency))) = (self.slow_tail, self.latency)
            && tail.latency <= latency
        {
            let slow = tail.latency;
            return Err(Error::invalid(format!(
                "--slow-tail of {slow:?} contradicts --latency {latency:?}: slow requests must take longer than the others"
            )));
        }
        self.check_shares()
    }

    /// Two options, as they were given, and why they do not go together.
    fn contradictions(&self) -> Vec<(Option<String>, Option<String>, &'static str)> {
        let is = |cases: &[Case]| cases.contains(&self.case).then(|| name(&self.case));
        let given = |option: &str, value: Option<String>| value.map(|value| format!("{option} {value}"));
        let heap = (self.backend == Backend::Heap).then(|| "--backend heap".to_owned());
        let sync_batch =
            (self.mode() == Mode::Sync && self.batch() > 1).then(|| format!("--batch {}", self.batch()));
        let value_bytes = given("--value-bytes", self.value_bytes.map(|n| n.to_string()));
        let short = self.value_bytes.is_some_and(|bytes| (bytes as usize) < VERSION_BYTES);
        let records = given("--records", self.records.map(|n| n.0.to_string()));
        let seconds = given("--seconds", self.seconds.map(|n| n.to_string()));
        let absent = given("--absent", self.absent.map(|n| n.to_string()));
        let whole = is(&[Case::Load, Case::Scan]);
        let job = is(&[Case::Checkpoint]);
        let no_job = (self.case != Case::Checkpoint).then(|| name(&self.case));
        let drawn = "the job draws its keys uniformly, from beginning to end";
        let all = "it goes once over all keys, so give it --keys only";
        let no_store = "it keeps its state in memory and asks no store";
        let no_get = (self.case != Case::Get).then(|| name(&self.case));
        let no_maps = (self.maps() == 0).then(|| name(&self.case));
        let sync_only = self.is_sync_only().then(|| name(&self.case));
        let asynchronous = self.mode.filter(|mode| *mode == Mode::Async).map(|_| "--mode async".to_owned());
        let synchronous = self.mode.filter(|mode| *mode == Mode::Sync).map(|_| "--mode sync".to_owned());
        let warm_up = given("--warm-up", self.warm_up.map(|n| n.0.to_string()));
        let zipf = given("--zipf", self.zipf.map(|s| s.to_string()));
        let order = (self.order == Order::Random).then(|| "--order random".to_owned());
        let too_long = self.scan_length() > self.keys.0;
        vec![
            (seconds.clone(), records.clone(), "give one of them"),
            (records.clone(), whole.clone(), all),
            (seconds, whole.clone(), all),
            (warm_up.clone(), whole.clone(), all),
            (zipf.clone(), whole, all),
            (records, job.clone(), "updates go on for --seconds"),
            (warm_up, job.clone(), drawn),
            (zipf, job.clone(), drawn),
            (order, job.clone(), drawn),
            (synchronous, job, "a job runs in mode async"),
            (self.job.given(), no_job, "only checkpoint runs a whole job"),
            (absent, no_get, "only get asks for keys that are not there"),
            (
                given("--scan-length", self.scan_length.map(|n| n.to_string())),
                no_maps,
                "only maps have a length",
            ),
            (
                is(&[Case::MapScan]).map(|_| format!("--keys {}", self.keys.0)).filter(|_| too_long),
                Some(format!("--scan-length {}", self.scan_length())),
                "that is less than one map",
            ),
            (asynchronous, sync_only, "lists and maps have no typed state for an operator to use"),
            (value_bytes.clone(), is(&[Case::Add]), "sums have eight bytes"),
            (
                value_bytes.filter(|_| short),
                is(&[Case::Rmw, Case::Append, Case::Mixed, Case::Checkpoint]),
                "what is changed and compared needs eight bytes",
            ),
            (
                given("--in-flight", self.in_flight.map(|n| n.to_string())),
                sync_batch,
                "in mode sync one batch is under way at a time",
            ),
            (given("--state", self.state.clone()), heap.clone(), no_store),
            (given("--latency", self.latency.map(|delay| format!("{:?}", delay.0))), heap.clone(), no_store),
            (given("--bandwidth", self.bandwidth.map(|size| size.to_string())), heap.clone(), no_store),
            (given("--metrics", self.metrics.as_ref().map(ToString::to_string)), heap.clone(), no_store),
            (self.store.given().next(), heap.clone(), no_store),
            (given("--hedge", self.hedge.map(|factor| factor.to_string())), heap, no_store),
        ]
    }

    /// Each task thread needs a key.
    fn check_shares(&self) -> Result<()> {
        let least = [self.single_keys(), self.maps()].into_iter().filter(|count| *count > 0).min();
        let keys = Keys::new(least.unwrap_or(1), self.seed);
        for subtask in 0..self.parallelism {
            if !keys.any_in(MaxParallelism::DEFAULT.range_of(subtask, self.parallelism)?) {
                let (keys, parallelism) = (self.keys.0, self.parallelism);
                return Err(Error::invalid(format!(
                    "--keys {keys} leaves a task thread of --parallelism {parallelism} without any of its own; give more keys \
                     or fewer threads"
                )));
            }
        }
        Ok(())
    }
}
