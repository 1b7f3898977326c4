//! Lines on stdout, many of them.
//!
//! **Failure**: a reader that has gone (`| head`) ends the command by `Cancelled`, which nobody is told of.
use std::io::{self, BufWriter, StdoutLock, Write};

use alluvium_env::{Error, Result};
use serde::Serialize;

/// Buffered lines; call [`Output::finish`] at the end.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()) }
    }

    /// Prints a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{}", line.trim_end()).map_err(failed)
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string(value);
        self.line(&json.map_err(|e| Error::internal("cannot write a line of JSON").with_source(e))?)
    }

    /// Prints names and figures, a pair a line.
    pub(crate) fn figures(&mut self, figures: &[(&str, String)]) -> Result<()> {
        let width = figures.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        figures.iter().try_for_each(|(name, figure)| self.line(&format!("{name:width$}  {figure}")))
    }

    /// Writes what is still buffered.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.out.flush().map_err(failed)
    }
}

fn failed(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Error::cancelled("nobody reads stdout any more");
    }
    Error::unavailable("cannot write to stdout").with_source(error)
}
