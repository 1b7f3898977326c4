//! `RUST_LOG`: what the command does inside, on stderr, for whoever asks.
//!
//! **Invariants**: only spans and events of Alluvium's own crates are shown, whatever the filter says: what an HTTP client
//! logs of its requests can hold credentials. Without the variable nothing listens, and nothing costs.
use std::io::{IsTerminal as _, stderr};

use alluvium_env::{Error, Result};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, filter, fmt};

const VARIABLE: &str = "RUST_LOG";
/// Begins the targets of all our crates.
const OURS: &str = "alluvium";

/// Whether anybody asked.
pub(crate) fn is_wanted() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|filter| !filter.is_empty())
}

/// Starts showing what `RUST_LOG` asks for: `info` shows flushes and compactions as they end, with what they wrote and
/// how long they took; `alluvium_forst::fetch=debug` every fetch.
///
/// # Errors
/// `Invalid` for what is no filter.
pub(crate) fn start() -> Result<()> {
    if !is_wanted() {
        return Ok(());
    }
    let filter = EnvFilter::builder().with_env_var(VARIABLE).try_from_env().map_err(|e| {
        Error::invalid(format!("{VARIABLE} is no filter ({e}); write info, or alluvium_forst=debug"))
    })?;
    let lines = fmt::layer()
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(filter::filter_fn(|what| what.target().starts_with(OURS)));
    let subscriber = Registry::default().with(filter).with(lines);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|e| Error::internal("something logs already").with_source(e))
}
