//! The systems that are measured, one a file; each says there how it is set and why.
#[cfg(feature = "cobble")]
mod cobble;
#[cfg(feature = "fjall")]
mod fjall;
mod map;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "slatedb")]
mod slatedb;

use alluvium_env::{Error, Result};
use clap::ValueEnum;

use super::Bench;
use super::args::{BenchArgs, name};
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
    /// An LSM of a stream processor's, on folders and object stores
    #[cfg(feature = "cobble")]
    Cobble,
}

impl System {
    /// Refuses to measure what the figures would not say: a system that cannot be where the arguments put it.
    pub(super) fn check(self, args: &BenchArgs) -> Result<()> {
        #[cfg(feature = "slatedb")]
        let takes_store = self == Self::SlateDb;
        #[cfg(not(feature = "slatedb"))]
        let takes_store = false;
        #[cfg(feature = "cobble")]
        let takes_server = takes_store || self == Self::Cobble;
        #[cfg(not(feature = "cobble"))]
        let takes_server = takes_store;
        let system = name(&self);
        if args.latency.is_some() && !takes_store {
            let way_out = if takes_server { "; give it --server" } else { "" };
            return Err(Error::invalid(format!(
                "{system} opens its files itself, past the link of --latency{way_out}"
            )));
        }
        if args.server.is_some() && !takes_server {
            return Err(Error::invalid(format!("{system} has no object store; leave out --server")));
        }
        Ok(())
    }
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
        #[cfg(feature = "cobble")]
        System::Cobble => Bench::<cobble::Cobble>::open(args, place).await?.measure().await,
    }
}
