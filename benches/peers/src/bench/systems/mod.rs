//! The systems that are measured, one a file; each says there how it is set and why.
#[cfg(feature = "fjall")]
mod fjall;
mod map;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "slatedb")]
mod slatedb;

use alluvium_env::Result;
use clap::ValueEnum;

use super::Bench;
use super::args::BenchArgs;
use super::peer::Place;
use super::report::Figures;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum System {
    /// A hash map: what no store can reach
    Map,
    /// An embedded LSM in C++
    #[cfg(feature = "rocksdb")]
    #[value(name = "rocksdb")]
    RocksDb,
    /// An embedded LSM in Rust
    #[cfg(feature = "fjall")]
    Fjall,
    /// An LSM on an object store
    #[cfg(feature = "slatedb")]
    #[value(name = "slatedb")]
    SlateDb,
}

/// Measures on the system that the arguments name.
pub(super) async fn measure(args: &BenchArgs, place: &Place) -> Result<Figures> {
    match args.system {
        System::Map => Bench::<map::Map>::open(args, place).await?.measure().await,
        #[cfg(feature = "rocksdb")]
        System::RocksDb => Bench::<rocksdb::RocksDb>::open(args, place).await?.measure().await,
        #[cfg(feature = "fjall")]
        System::Fjall => Bench::<fjall::Fjall>::open(args, place).await?.measure().await,
        #[cfg(feature = "slatedb")]
        System::SlateDb => Bench::<slatedb::SlateDb>::open(args, place).await?.measure().await,
    }
}
