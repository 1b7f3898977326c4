//! What a measurement asks the server besides objects: how much was asked of it, and to be near while keys are loaded.
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use alluvium_env::{Error, Result};
use alluvium_host::storage::StoreRequests;
use serde::{Deserialize, Serialize};

/// The server's counters as it tells them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(super) gets: u64,
    pub(super) puts: u64,
    pub(super) deletes: u64,
    pub(super) lists: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    /// What all objects hold.
    pub(super) stored_bytes: u64,
    /// One round trip.
    pub(super) latency_micros: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct ServerClient {
    address: String,
}

impl ServerClient {
    /// Of the server that listens there.
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned() }
    }

    /// Where it listens.
    #[cfg_attr(
        not(feature = "cobble"),
        expect(dead_code, reason = "Cobble's client is not set by variables")
    )]
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What was asked of it so far.
    ///
    /// # Errors
    /// `Unavailable` if it does not tell.
    pub(crate) fn requests(&self) -> Result<StoreRequests> {
        let Told { gets, puts, deletes, lists, bytes_read, bytes_written, .. } = self.ask("GET", "/")?;
        Ok(StoreRequests { gets, puts, deletes, lists, bytes_read, bytes_written })
    }

    /// Bytes of all its objects, and its round trip in microseconds.
    ///
    /// # Errors
    /// As for [`Self::requests`].
    pub(crate) fn holds(&self) -> Result<(u64, u64)> {
        let told = self.ask("GET", "/")?;
        Ok((told.stored_bytes, told.latency_micros))
    }

    /// Has it answer after a round trip, or at once.
    ///
    /// # Errors
    /// As for [`Self::requests`].
    pub(crate) fn set_far(&self, is_far: bool) -> Result<()> {
        self.ask("PUT", if is_far { "/?far" } else { "/?near" }).map(drop)
    }

    fn ask(&self, method: &str, what: &str) -> Result<Told> {
        let Self { address } = self;
        let ask = || -> std::io::Result<String> {
            let mut socket = TcpStream::connect(address)?;
            let head = format!("{method} {what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            socket.write_all(head.as_bytes())?;
            let mut text = String::new();
            socket.read_to_string(&mut text)?;
            Ok(text)
        };
        let unavailable =
            || Error::unavailable(format!("the S3 server at {address} does not tell its counters"));
        let text = ask().map_err(|e| unavailable().with_source(e))?;
        let (_, body) = text.split_once("\r\n\r\n").ok_or_else(unavailable)?;
        serde_json::from_str(body).map_err(|e| unavailable().with_source(e))
    }
}
