//! Measures Alluvium beside the stores that people use instead: the same keys, values, memory and thread for all.
//!
//! `measure` runs one case on one system; `compare` runs cases on all systems and shows the figures side by side. Each
//! measurement is a process of its own, so that memory and CPU are its own. How each system is set, and why, is in
//! `README.md` and at the top of its file in `bench/systems`.
mod bench;
mod compare;
mod s3;
#[path = "../../../cli/src/units.rs"]
#[expect(dead_code, reason = "`alluvium` needs more of it")]
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// Alluvium's allocator, set as Alluvium sets it; allocations of `RocksDB` go there too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Read by jemalloc when it starts, before `main`: as in `cli/src/allocator.rs`.
// SAFETY: the symbol's type is `const char *`, which is how a slice reference begins; the string ends with a zero.
#[expect(unsafe_code, reason = "jemalloc finds its options by this symbol's name")]
#[unsafe(export_name = "malloc_conf")]
static OPTIONS: &[u8; 41] = b"thp:always,narenas:4,dirty_decay_ms:1000\0";

#[derive(Parser)]
#[command(about = "Measures Alluvium beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one case on one system and prints its figures as JSON
    Measure(bench::BenchArgs),
    /// Runs cases on all systems, one process each, and prints tables
    Compare(compare::CompareArgs),
    /// Prints the tables of measurements that `compare --results` kept
    Tables(compare::TablesArgs),
    /// Takes memory, writes to all of it, and ends: what a virtual machine's host has to find is there for the next process
    #[command(hide = true)]
    Touch,
    /// Serves objects by the protocol of S3, from memory and a round trip away, until it is killed
    Serve(s3::ServeArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Measure(args) => bench::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Tables(args) => compare::tables(&args),
        Command::Touch => {
            compare::touch();
            Ok(())
        }
        Command::Serve(args) => s3::serve(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
