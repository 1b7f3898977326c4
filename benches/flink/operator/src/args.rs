//! The options of one measurement: those of `Arguments.java`.
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::values::WORD_BYTES;

/// Where the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// Nowhere: what the job around it costs.
    None,
    /// An ordered map in memory.
    Heap,
    /// The LSM store on a folder.
    Forst,
    /// The same at the far end of a link, with a disk cache.
    ForstRemote,
}

/// Keyed read-modify-write by a job on Alluvium's host
#[derive(Clone, Debug, Parser)]
pub(crate) struct Args {
    #[arg(long, default_value = "forst")]
    pub(crate) backend: Backend,
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    #[arg(long, default_value_t = 100, value_parser = value_bytes)]
    pub(crate) value_bytes: usize,
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) parallelism: u16,
    /// What the stores may hold together: Flink's managed memory.
    #[arg(long, default_value_t = 1 << 30)]
    pub(crate) memory_bytes: u64,
    /// The disk cache of forst-remote.
    #[arg(long, default_value_t = 256 << 20)]
    pub(crate) cache_bytes: u64,
    /// The link's round trip.
    #[arg(long, default_value_t = 0)]
    pub(crate) latency_micros: u64,
    #[arg(long, default_value_t = 5)]
    pub(crate) warm_up: u64,
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// A folder of nobody else's; the caller deletes it.
    #[arg(long)]
    pub(crate) dir: PathBuf,
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().map_err(|_| format!("{text:?} is no number of bytes"))?;
    if bytes < WORD_BYTES {
        Err(format!("{bytes} bytes have no room for a counter of {WORD_BYTES}"))
    } else {
        Ok(bytes)
    }
}
