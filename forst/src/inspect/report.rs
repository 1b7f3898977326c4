//! What a verification found.
use std::fmt;

use super::TableSummary;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where in the object, or where the part begins that is wrong.
    pub offset: u64,
    /// Which part.
    pub part: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, part, expected, found } = self;
        write!(f, "{part} at offset {offset}: expected {expected}, found {found}")
    }
}

/// Findings that are kept: a table of which more is wrong is not worth more lines.
const MAX_FINDINGS: usize = 100;

/// What a verification found out of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report<S> {
    /// What the object holds, as far as it could be read.
    pub summary: S,
    /// What is wrong, in the order it was found. Empty for a sound object.
    pub findings: Vec<Finding>,
    /// How many more there were.
    pub more_findings: u64,
}

/// Of [`super::verify_table`].
pub type TableReport = Report<TableSummary>;
/// Of [`super::verify_values`].
pub type ValuesReport = Report<ValuesSummary>;
/// Of [`super::verify_delta`] and [`super::verify_pack`].
pub type DeltaReport = Report<DeltaSummary>;

/// What a value file holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ValuesSummary {
    /// The whole object.
    pub size_bytes: u64,
    /// Its records as they are stored.
    pub data_bytes: u64,
    /// How many there are.
    pub records: u64,
    /// Keys and values before compression.
    pub raw_bytes: u64,
}

/// What a delta holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeltaSummary {
    /// The whole object.
    pub size_bytes: u64,
    /// Entries of all kinds.
    pub entries: u64,
    /// Deleted ranges.
    pub deleted_ranges: u64,
}

impl<S> Report<S> {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }

    /// Adds a finding, unless the same was expected there before.
    pub(super) fn find(
        &mut self,
        offset: u64,
        part: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        let (part, expected, found) = (part.into(), expected.into(), found.into());
        if self.findings.iter().any(|other| other.offset == offset && other.expected == expected) {
            return;
        }
        if self.findings.len() == MAX_FINDINGS {
            self.more_findings += 1;
            return;
        }
        self.findings.push(Finding { offset, part, expected, found });
    }
}
