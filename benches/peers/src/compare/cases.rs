//! What is compared: the cases that the targets name, and how each is asked of Alluvium and of its peers.
use clap::ValueEnum;

/// Everything fits, several times.
const LARGE_MEMORY: &str = "4GiB";
/// One part in so many of the data: 128 MiB for ten million keys.
const DATA_BYTES: u64 = 116;
const SCARCITY: u64 = 9;
/// The least that Alluvium works with.
const LEAST_MEMORY_MIB: u64 = 64;
/// The round trip of cases that are far away.
pub(super) const FAR: &str = "15ms";
/// How uneven keys are drawn where they are.
const ZIPF: &str = "0.99";

const PEERS: [&str; 4] = ["rocksdb", "fjall", "slatedb", "cobble"];
/// Those that keep their data on an object store.
const REMOTE_PEERS: [&str; 2] = ["slatedb", "cobble"];

/// Whether a row shows what the others are compared with.
pub(super) fn is_peer(label: &str) -> bool {
    PEERS.iter().any(|peer| label.starts_with(peer))
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// All keys in ascending order, until the last one is in a file
    Load,
    /// Single reads, everything in memory
    Get,
    /// Reads of a thousand keys together, everything in memory
    GetBatch,
    /// Read-modify-writes, everything in memory
    Rmw,
    /// Read-modify-writes of a thousand keys together, everything in memory
    RmwBatch,
    /// Single reads, ten times more data than memory, local files
    Get10x,
    /// Read-modify-writes, ten times more data than memory, local files
    Rmw10x,
    /// Read-modify-writes by Zipf's law, ten times more data than memory, local files
    RmwZipf,
    /// Scans of 100 neighbouring keys, everything in memory
    Range,
    /// One ordered pass over everything
    Scan,
    /// Single reads from a store 15 ms away, 256 at a time
    Cold,
    /// 64 keys together from a store 15 ms away
    ColdBatch,
    /// Scans of 100 neighbouring keys from a store 15 ms away
    ColdRange,
    /// All keys in random order onto a store 15 ms away, until nothing is left to compact: what compactions read
    Compact,
}

/// How large a run is.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) keys: u64,
    pub(super) seconds: u32,
}

/// One row of a table: a system and how it is asked.
pub(super) struct Cell {
    pub(super) system: &'static str,
    how: &'static str,
    pub(super) args: Vec<String>,
    pub(super) is_far: bool,
}

impl Cell {
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.system, self.how).trim_end().to_owned()
    }
}

impl Scale {
    fn small_memory(self) -> String {
        let mebibytes = (self.keys * DATA_BYTES / SCARCITY) >> 20;
        // Alluvium's budget comes in whole megabytes; ten million keys are 128 MiB.
        format!("{}MiB", (mebibytes + 5).max(LEAST_MEMORY_MIB))
    }
}

impl Case {
    pub(super) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn what(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// How much must be asked before it counts: caches are filled then.
    fn warm_up(self, scale: Scale) -> u64 {
        match self {
            Self::Get | Self::GetBatch | Self::Get10x => scale.keys / 5,
            Self::Rmw10x | Self::RmwZipf => scale.keys / 20,
            Self::Range => scale.keys / 200,
            // Indexes and filters are fetched then.
            Self::Cold => scale.keys / 1000,
            Self::ColdBatch => 1280,
            Self::ColdRange => 50,
            _ => 0,
        }
    }

    /// The arguments that `alluvium bench` and `measure` share.
    fn common(self, scale: Scale) -> Vec<String> {
        let (keys, seconds) = (scale.keys, scale.seconds);
        let line = match self {
            Self::Load => format!("load --memory {LARGE_MEMORY}"),
            Self::Get | Self::GetBatch => format!("get --memory {LARGE_MEMORY} --records {}", keys / 5),
            Self::Rmw | Self::RmwBatch => format!("rmw --memory {LARGE_MEMORY} --seconds {seconds}"),
            Self::Get10x => format!("get --memory {} --records {}", scale.small_memory(), keys / 10),
            Self::Rmw10x => format!("rmw --memory {} --seconds {seconds}", scale.small_memory()),
            Self::RmwZipf => {
                format!("rmw --memory {} --seconds {seconds} --zipf {ZIPF}", scale.small_memory())
            }
            Self::Range => format!("map-scan --memory {LARGE_MEMORY} --records {}", keys / 100),
            Self::Scan => format!("scan --memory {LARGE_MEMORY}"),
            Self::Cold => format!("get --memory {} --records {}", scale.small_memory(), keys / 100),
            Self::ColdBatch => format!("get --memory {} --records 3200", scale.small_memory()),
            Self::ColdRange => format!("map-scan --memory {} --records 100", scale.small_memory()),
            Self::Compact => format!("load --memory {} --order random", scale.small_memory()),
        };
        let mut args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        args.extend(["--keys".to_owned(), keys.to_string()]);
        let warm_up = self.warm_up(scale);
        if warm_up > 0 {
            args.extend(["--warm-up".to_owned(), warm_up.to_string()]);
        }
        args
    }

    /// Whether the data is far away.
    pub(super) fn is_far(self) -> bool {
        matches!(self, Self::Cold | Self::ColdBatch | Self::ColdRange | Self::Compact)
    }

    /// How Alluvium is asked: by calls, and as an operator asks it.
    fn alluvium(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Load => &[
                ("calls", "--mode sync"),
                ("calls, 1000 together", "--mode sync --batch 1000"),
                ("records", "--mode async"),
            ],
            Self::Rmw10x | Self::RmwZipf | Self::Get10x => &[
                ("calls", "--mode sync"),
                ("records", "--mode async"),
                ("records, blocks of 2 KiB", "--mode async --block-size 2KiB"),
            ],
            Self::GetBatch | Self::RmwBatch => {
                &[("calls, 1000 together", "--mode sync --batch 1000"), ("records", "--mode async")]
            }
            Self::Get | Self::Rmw | Self::Range | Self::ColdRange | Self::Compact => {
                &[("calls", "--mode sync")]
            }
            Self::Scan => &[("", "--mode sync")],
            Self::Cold => &[("calls", "--mode sync --in-flight 256")],
            Self::ColdBatch => &[("calls", "--mode sync --batch 64")],
        }
    }

    /// How a peer is asked.
    fn peer(self, system: &str) -> &'static [(&'static str, &'static str)] {
        match (self, system) {
            (Self::Load | Self::GetBatch | Self::RmwBatch | Self::Compact, _) => &[("", "--batch 1000")],
            // Its calls block: each read under way is a thread.
            (Self::Cold, "cobble") => &[("64 threads", "--in-flight 64"), ("256 threads", "--in-flight 256")],
            (Self::Cold, _) => &[("", "--in-flight 256")],
            (Self::ColdBatch, _) => &[("", "--batch 64")],
            _ => &[("", "")],
        }
    }

    /// Whether memory alone can do that, within its limit.
    fn suits_map(self) -> bool {
        matches!(self, Self::Load | Self::Get | Self::GetBatch | Self::Rmw | Self::RmwBatch)
    }

    /// All rows of the case.
    pub(super) fn cells(self, scale: Scale) -> Vec<Cell> {
        let common = self.common(scale);
        let cell = |system, (how, extra): &(&'static str, &str)| {
            let extra = extra.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
            let args = common.iter().cloned().chain(extra).collect();
            Cell { system, how, args, is_far: self.is_far() }
        };
        let peers: &[&str] = if self.is_far() { &REMOTE_PEERS } else { &PEERS };
        let others = peers.iter().copied().chain(self.suits_map().then_some("map"));
        let ways = |system| self.peer(system).iter().map(move |way| cell(system, way));
        let alluvium = self.alluvium().iter().map(|way| cell("alluvium", way));
        alluvium.chain(others.flat_map(ways)).collect()
    }
}
