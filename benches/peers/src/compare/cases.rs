//! What is compared: the cases that the targets name, and how each is asked of Alluvium and of its peers.
use clap::ValueEnum;

/// Everything fits, several times.
const LARGE_MEMORY: &str = "4GiB";
/// One part in so many of the data: 128 MiB for ten million keys.
const DATA_BYTES: u64 = 116;
const SCARCITY: u64 = 9;
/// The least that Alluvium works with.
const LEAST_MEMORY_MIB: u64 = 64;
/// What each point of a sweep goes on for.
const SWEEP_SECONDS: u32 = 4;
/// The round trip of cases that are far away.
pub(super) const FAR: &str = "15ms";
/// How uneven keys are drawn where they are.
const ZIPF: &str = "0.99";
/// How uneven words are in a text.
const WORDS_ZIPF: &str = "1";
/// A text of so many words has one in ten that it did not have before.
const WORDS_REPEATED: u64 = 10;

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
    /// Blind additions of one to sums of eight bytes, everything in memory
    Add,
    /// Blind appends of elements to lists, everything in memory
    Append,
    /// Half reads, 45 % read-modify-writes, 5 % scans of maps of 100 entries, everything in memory
    Mixed,
    /// Words counted, as often as Zipf's law has them: one added to the sum of each, everything in memory
    WordCount,
    /// Single reads from stores at several distances, 256 at a time
    ByDistance,
    /// Single reads with memory for several parts of the data, local files
    ByMemory,
    /// Single reads from a store 15 ms away, so many at a time
    ByInFlight,
    /// So many keys together from a store 15 ms away
    ByBatch,
}

/// How large a run is.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) keys: u64,
    pub(super) seconds: u32,
}

/// One row of a table: a system, how it is asked, and where in a sweep.
pub(super) struct Cell {
    pub(super) system: &'static str,
    how: &'static str,
    pub(super) point: Option<&'static str>,
    pub(super) args: Vec<String>,
    /// The round trip to its data, where that is far away.
    pub(super) far: Option<&'static str>,
}

impl Cell {
    /// The system and how it is asked.
    pub(super) fn row(&self) -> String {
        format!("{} {}", self.system, self.how).trim_end().to_owned()
    }

    /// The same, and where in a sweep.
    pub(super) fn label(&self) -> String {
        label(&self.row(), self.point)
    }
}

/// A row's name in a table.
pub(super) fn label(row: &str, point: Option<&str>) -> String {
    point.map_or_else(|| row.to_owned(), |point| format!("{row}, {point}"))
}

/// A point of a sweep: its name, what is asked there, and how far away the data is.
type Point = (&'static str, &'static [&'static str], Option<&'static str>);

const DISTANCES: [Point; 4] = [
    ("0.07 ms", &[], Some("70us")),
    ("1.5 ms", &[], Some("1500us")),
    ("15 ms", &[], Some(FAR)),
    ("23 ms", &[], Some("23ms")),
];
const IN_FLIGHT: [Point; 5] = [
    ("1", &["--in-flight", "1"], Some(FAR)),
    ("16", &["--in-flight", "16"], Some(FAR)),
    ("64", &["--in-flight", "64"], Some(FAR)),
    ("256", &["--in-flight", "256"], Some(FAR)),
    ("1024", &["--in-flight", "1024"], Some(FAR)),
];
const BATCHES: [Point; 4] = [
    ("1 key", &["--batch", "1"], Some(FAR)),
    ("8 keys", &["--batch", "8"], Some(FAR)),
    ("64 keys", &["--batch", "64"], Some(FAR)),
    ("512 keys", &["--batch", "512"], Some(FAR)),
];
/// Percent of the data that memory is as large as; nothing is not possible.
const SHARES: [(&str, u64); 5] = [("least", 0), ("25 %", 25), ("50 %", 50), ("100 %", 100), ("200 %", 200)];

impl Scale {
    /// So much of the data, but at least what Alluvium works with.
    fn memory_of(self, percent: u64) -> String {
        let mebibytes = (self.keys * DATA_BYTES * percent / 100) >> 20;
        format!("{}MiB", mebibytes.max(LEAST_MEMORY_MIB))
    }

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
            Self::Get | Self::GetBatch | Self::Get10x | Self::ByMemory => scale.keys / 5,
            Self::Rmw10x | Self::RmwZipf => scale.keys / 20,
            Self::Range => scale.keys / 200,
            // Indexes and filters are fetched then.
            Self::Cold | Self::ByDistance | Self::ByInFlight => scale.keys / 1000,
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
            Self::Mixed => format!("mixed --memory {LARGE_MEMORY} --seconds {seconds}"),
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
            Self::Add => format!("add --memory {LARGE_MEMORY} --records {}", keys / 2),
            Self::Append => format!("append --memory {LARGE_MEMORY} --records {}", keys / 2),
            Self::WordCount => format!("add --memory {LARGE_MEMORY} --records {keys} --zipf {WORDS_ZIPF}"),
            Self::ByDistance | Self::ByInFlight | Self::ByBatch => {
                format!("get --memory {} --seconds {SWEEP_SECONDS}", scale.small_memory())
            }
            Self::ByMemory => format!("get --seconds {SWEEP_SECONDS}"),
        };
        let mut args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let keys = if self == Self::WordCount { keys / WORDS_REPEATED } else { keys };
        args.extend(["--keys".to_owned(), keys.to_string()]);
        let warm_up = self.warm_up(scale);
        if warm_up > 0 {
            args.extend(["--warm-up".to_owned(), warm_up.to_string()]);
        }
        args
    }

    /// How far away the data is, where that is the same for all rows.
    fn far(self) -> Option<&'static str> {
        matches!(self, Self::Cold | Self::ColdBatch | Self::ColdRange | Self::Compact).then_some(FAR)
    }

    /// What is different from row to row of a sweep; memory is given in arguments of its own.
    fn points(self) -> &'static [Point] {
        match self {
            Self::ByDistance => &DISTANCES,
            Self::ByInFlight => &IN_FLIGHT,
            Self::ByBatch => &BATCHES,
            _ => &[],
        }
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
            Self::Get
            | Self::Rmw
            | Self::Range
            | Self::ColdRange
            | Self::Compact
            | Self::Append
            | Self::Mixed
            | Self::ByInFlight
            | Self::ByBatch => &[("calls", "--mode sync")],
            Self::Add | Self::WordCount | Self::ByMemory => {
                &[("calls", "--mode sync"), ("records", "--mode async")]
            }
            Self::ByDistance => {
                &[("calls", "--mode sync --in-flight 256"), ("records, 6000 under way", "--mode async")]
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
            (Self::Cold | Self::ByDistance, _) => &[("", "--in-flight 256")],
            (Self::ColdBatch, _) => &[("", "--batch 64")],
            _ => &[("", "")],
        }
    }

    /// Whether memory alone can do that, within its limit.
    fn suits_map(self) -> bool {
        matches!(
            self,
            Self::Load
                | Self::Get
                | Self::GetBatch
                | Self::Rmw
                | Self::RmwBatch
                | Self::Add
                | Self::Append
                | Self::WordCount
        )
    }

    /// All rows of the case; those of a point together, so that systems take turns.
    pub(super) fn cells(self, scale: Scale) -> Vec<Cell> {
        if self == Self::ByMemory {
            let of = |(point, percent)| {
                let memory = ["--memory".to_owned(), scale.memory_of(percent)];
                self.cells_at(scale, Some(point), &memory, None)
            };
            return SHARES.into_iter().flat_map(of).collect();
        }
        if self.points().is_empty() {
            return self.cells_at(scale, None, &[], self.far());
        }
        let of = |(point, extra, far): &Point| {
            let extra: Vec<String> = extra.iter().map(|word| (*word).to_owned()).collect();
            self.cells_at(scale, Some(point), &extra, *far)
        };
        self.points().iter().flat_map(of).collect()
    }

    fn cells_at(
        self,
        scale: Scale,
        point: Option<&'static str>,
        more: &[String],
        far: Option<&'static str>,
    ) -> Vec<Cell> {
        let common = self.common(scale);
        let cell = |system, (how, extra): &(&'static str, &str)| {
            let extra = extra.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
            let args = common.iter().cloned().chain(extra).chain(more.iter().cloned()).collect();
            Cell { system, how, point, args, far }
        };
        let peers: &[&str] = match self {
            // Its calls block, and threads for a thousand of them are not what it is for.
            Self::ByDistance | Self::ByInFlight => &["slatedb"],
            // It takes minutes to load what the others load in seconds, and is never the first.
            Self::ByMemory => &["rocksdb", "fjall", "cobble"],
            _ if far.is_some() => &REMOTE_PEERS,
            _ => &PEERS,
        };
        let others = peers.iter().copied().chain(self.suits_map().then_some("map"));
        let ways = |system| self.peer(system).iter().map(move |way| cell(system, way));
        let alluvium = self.alluvium().iter().map(|way| cell("alluvium", way));
        alluvium.chain(others.flat_map(ways)).collect()
    }
}
