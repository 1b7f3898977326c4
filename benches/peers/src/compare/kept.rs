//! Measurements as lines of JSON: each with what is compared, the row it is of, its figures, and how much of the machine others
//! took; before those of a run a line that says when, where and with what.
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use alluvium_env::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A measurement that was kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) compare: String,
    pub(super) row: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) point: Option<String>,
    /// Or `error`, with why there are none.
    pub(super) figures: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) others_percent: Option<f64>,
}

/// Appends a line.
///
/// # Errors
/// `Unavailable` if the file cannot be written.
pub(super) fn append(file: &Path, line: &impl Serialize) -> Result<()> {
    let failed = |e| Error::unavailable(format!("cannot write {}", file.display())).with_source(e);
    let line = serde_json::to_string(line);
    let line = line.map_err(|e| Error::internal("cannot write the figures as JSON").with_source(e))?;
    let mut file = OpenOptions::new().create(true).append(true).open(file).map_err(failed)?;
    writeln!(file, "{line}").map_err(failed)
}

/// All measurements of a file.
///
/// # Errors
/// `Unavailable` if it cannot be read, `Corruption` if it holds something else.
pub(super) fn read(file: &Path) -> Result<Vec<Kept>> {
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|e| Error::unavailable(format!("cannot read {name}")).with_source(e))?;
    let failed = |e| Error::corruption(format!("{name} holds a line that is no measurement")).with_source(e);
    let lines = text.lines().filter(|line| !line.starts_with("{\"run\":"));
    lines.map(|line| serde_json::from_str(line).map_err(failed)).collect()
}
