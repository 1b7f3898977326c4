//! `--metrics`: what a running job tells Prometheus, in a file or on a port of this machine.
//!
//! **Threads**: a file is written by a thread of its own, a port is answered on the I/O runtime. Neither asks the job for
//! anything: the counters are there, and are read.
mod file;
mod port;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use alluvium_env::{IoRuntime, Result};
use prometheus_client::registry::Registry;

use file::MetricsFile;
use port::MetricsPort;

/// Begins every name.
const PREFIX: &str = "alluvium";

/// Where metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetricsTarget {
    /// A file that is rewritten whole every few seconds.
    File(PathBuf),
    /// A port of this machine that answers `GET /metrics`.
    Port(SocketAddr),
}

impl fmt::Display for MetricsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Port(address) => address.fmt(f),
        }
    }
}

impl FromStr for MetricsTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Port(address)),
            Ok(_) => Err(format!(
                "{text} is not an address of this machine alone, and metrics are served to whoever asks; write \
                 127.0.0.1:PORT and put what knows your users in front of it"
            )),
            Err(_) if text.is_empty() => Err("write a file or 127.0.0.1:PORT".to_owned()),
            Err(_) => Ok(Self::File(PathBuf::from(text))),
        }
    }
}

/// Metrics that are being shown, until it is dropped.
pub(crate) struct ShownMetrics {
    _file: Option<MetricsFile>,
    _port: Option<MetricsPort>,
}

/// An empty registry.
pub(crate) fn registry() -> Registry {
    Registry::with_prefix(PREFIX)
}

impl ShownMetrics {
    /// Shows what is registered.
    ///
    /// # Errors
    /// `Invalid` if the file cannot be written or the port is taken: now, and not after hours.
    pub(crate) fn start(target: &MetricsTarget, registry: Registry, io: &IoRuntime) -> Result<Self> {
        let registry = Arc::new(registry);
        Ok(match target {
            MetricsTarget::File(path) => {
                Self { _file: Some(MetricsFile::start(path, registry)?), _port: None }
            }
            MetricsTarget::Port(address) => {
                Self { _file: None, _port: Some(MetricsPort::start(*address, registry, io)?) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_this_machine_and_everything_else_a_file() {
        let target = |text: &str| text.parse::<MetricsTarget>();
        assert_eq!(target("127.0.0.1:9100"), Ok(MetricsTarget::Port(([127, 0, 0, 1], 9100).into())));
        assert!(matches!(target("[::1]:9100"), Ok(MetricsTarget::Port(_))));
        assert!(target("0.0.0.0:9100").unwrap_err().contains("127.0.0.1:PORT"));
        assert_eq!(target("a/b.prom"), Ok(MetricsTarget::File("a/b.prom".into())));
        assert!(target("").is_err());
    }
}
