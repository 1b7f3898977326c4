//! One step as a process of its own, so that memory and CPU are its own.
use std::process::{Command, Stdio};

use alluvium_env::{Error, Result};
use clap::ValueEnum as _;
use serde::de::DeserializeOwned;

use super::args::{CompareArgs, Place};
use super::figures::{Expected, Figures};

/// Computes the answer.
///
/// # Errors
/// `Unavailable` if the process cannot be started; `Internal` with what it says if it fails.
pub(super) fn expected(args: &CompareArgs, query: &str) -> Result<Expected> {
    step("expect", args, query, Place::None)
}

/// Measures.
///
/// # Errors
/// As [`expected`].
pub(super) fn measured(args: &CompareArgs, query: &str, place: Place) -> Result<Figures> {
    step("measure", args, query, place)
}

fn step<T: DeserializeOwned>(step: &str, args: &CompareArgs, query: &str, place: Place) -> Result<T> {
    let own =
        std::env::current_exe().map_err(|e| Error::internal("cannot find this program").with_source(e))?;
    let place = place.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new(own);
    command.args([step, query, place.as_str()]).args(args.job.line());
    let output = command.stderr(Stdio::piped()).output();
    let output = output.map_err(|e| Error::unavailable("cannot start this program again").with_source(e))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(Error::internal(format!("{step} {query}: {}: {last}", output.status)));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .map_err(|e| Error::internal(format!("{step} {query} printed no figures")).with_source(e))
}
