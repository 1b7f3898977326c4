//! The options of one measurement, named as those of `alluvium bench` where they mean the same.
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::keys::{Key, Keys};
use super::systems::System;
use crate::units::{ByteSize, Count, Delay};

const DEFAULT_RECORDS: u64 = 1_000_000;
/// Maps of the mixed case hold one entry for so many single values.
const MIXED_MAP_SHARE: u64 = 10;

/// Options of `measure`.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_name = "CASE")]
    pub(super) case: Case,

    /// What to measure it on
    #[arg(value_name = "SYSTEM")]
    pub(super) system: System,

    /// How many keys to load, or entries of maps; a number like 500k or 10M
    #[arg(long, value_name = "N", default_value = "1M")]
    pub(super) keys: Count,

    /// Bytes of a value; half of them random, the other half compresses away
    #[arg(long, value_name = "N", default_value_t = 100)]
    value_bytes: u32,

    /// How many operations to measure [default: 1M]
    #[arg(long, value_name = "N", conflicts_with = "seconds")]
    records: Option<Count>,

    /// Measure so many seconds instead
    #[arg(long, value_name = "S")]
    pub(super) seconds: Option<u32>,

    /// Operations before those that count
    #[arg(long, value_name = "N")]
    warm_up: Option<Count>,

    /// Entries of a map
    #[arg(long, value_name = "N", default_value_t = 100)]
    scan_length: u32,

    /// Draw keys by Zipf's law with this exponent instead of uniformly
    #[arg(long, value_name = "S")]
    pub(super) zipf: Option<f64>,

    /// How many of a hundred reads ask for a key that is not there
    #[arg(long, value_name = "PERCENT")]
    pub(super) absent: Option<u8>,

    /// What keys, values and operations are drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,

    /// Reads under way at once, where the system can do that
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) in_flight: u32,

    /// Keys that are looked up together and changes that are written together; a load writes so many at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,

    /// What caches and write buffers may hold together
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    pub(super) memory: ByteSize,

    /// The folder to write to; emptied before and after
    #[arg(long, value_name = "DIR", default_value = ".alluvium/peers")]
    pub(super) folder: PathBuf,

    /// A round trip to put in front of the store, like 15ms; for systems on an object store
    #[arg(long, value_name = "DUR")]
    pub(super) latency: Option<Delay>,

    /// Keep the data on the S3 server that `serve` started there; it wants the AWS_* variables set for it
    #[arg(long, value_name = "ADDR", conflicts_with = "latency")]
    pub(super) server: Option<String>,

    /// The order in which keys are loaded: that of the store, or as good as random
    #[arg(long, value_name = "ORDER", default_value = "ascending")]
    pub(super) order: Order,
}

/// In which order keys are loaded, as `alluvium bench` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// Ascending
    Ascending,
    /// As good as random
    Random,
}

/// What is measured, as `alluvium bench` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// Puts of all keys in ascending order, until the last one is in a file
    Load,
    /// Reads of single values
    Get,
    /// Reads, each followed by a write of the changed value
    Rmw,
    /// Reads of all entries of one map, which lie side by side
    MapScan,
    /// One ordered pass over everything
    Scan,
    /// Blind additions to sums of eight bytes
    Add,
    /// Blind appends of elements to lists
    Append,
    /// Half reads, 45 % read-modify-writes, 5 % reads of maps that hold a tenth as many entries besides
    Mixed,
    #[value(skip)]
    #[expect(dead_code, reason = "the workload names it")]
    Checkpoint,
}

/// As it is written on the command line.
pub(super) fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl BenchArgs {
    /// Entries of a map.
    pub(super) fn scan_length(&self) -> u64 {
        self.scan_length.into()
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

    /// What the entries of a map begin with. Beside single values it is no key of theirs: there is but one space of keys here.
    pub(super) fn map_key(&self, keys: &Keys, index: u64) -> Key {
        if self.case == Case::Mixed { keys.absent(index) } else { keys.key(index) }
    }

    /// How many keys have a value.
    pub(super) fn single_keys(&self) -> u64 {
        if self.case == Case::MapScan { 0 } else { self.keys.0 }
    }

    /// Bytes of a value.
    pub(super) fn value_bytes(&self) -> usize {
        if self.case == Case::Add {
            return size_of::<u64>();
        }
        self.value_bytes as usize
    }

    /// How many operations are measured, where no time is set.
    pub(super) fn records(&self) -> u64 {
        self.records.map_or(DEFAULT_RECORDS, |records| records.0)
    }

    /// How many operations come before.
    pub(super) fn warm_up(&self) -> u64 {
        self.warm_up.map_or(0, |records| records.0)
    }

    /// Keys that go together.
    pub(super) fn batch(&self) -> usize {
        self.batch.max(1) as usize
    }
}
