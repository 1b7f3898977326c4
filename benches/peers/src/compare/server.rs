//! The S3 server of one measurement, a process of its own so that its CPU and memory are nobody's.
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use alluvium_env::{Error, Result};

/// Serves until it is dropped.
pub(super) struct Server {
    process: Child,
    pub(super) address: String,
}

impl Server {
    /// Starts it, so far away; it listens then.
    ///
    /// # Errors
    /// `Unavailable` if it does not come up.
    pub(super) fn start(latency: &str) -> Result<Self> {
        let failed = |e| Error::unavailable("cannot start the S3 server").with_source(e);
        let own = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(own)
            .args(["serve", "--latency", latency])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut address = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut address).map_err(failed)?;
        }
        let server = Self { process, address: address.trim().to_owned() };
        if server.address.is_empty() {
            return Err(Error::unavailable("the S3 server ended before it listened"));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended by itself has what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
