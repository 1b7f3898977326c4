//! A query's answer, row by row.
use std::collections::{BTreeMap, BTreeSet};

use crate::answer::{Change, Row, Rows};

/// Rows, and how often each is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table<T: Ord>(BTreeMap<T, i64>);

impl<T: Ord> Default for Table<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Row> Rows<T> for Table<T> {
    fn change(&mut self, change: Change<T>) {
        let (row, by) = match change {
            Change::Insert(row) => (row, 1),
            Change::Retract(row) => (row, -1),
        };
        let count = self.0.entry(row.clone()).or_default();
        *count += by;
        // One that is retracted before it comes stays, so that two such errors do not hide each other.
        if *count == 0 {
            self.0.remove(&row);
        }
    }
}

/// What a test compares.
pub(super) trait Answer<T: Row>: Rows<T> + Default + PartialEq + Send + 'static {
    /// How often a row is there.
    fn count(&self, row: &T) -> i64;
    /// The different rows.
    fn rows(&self) -> impl Iterator<Item = &T>;
}

impl<T: Row> Answer<T> for Table<T> {
    fn count(&self, row: &T) -> i64 {
        self.0.get(row).copied().unwrap_or(0)
    }
    fn rows(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }
}

/// The rows of which nothing later is known than that they came: what somebody has who hears some changes twice. After a stop
/// those of the records that the last checkpoint holds come again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known<T: Ord>(BTreeSet<T>);

impl<T: Ord> Default for Known<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Row> Rows<T> for Known<T> {
    fn change(&mut self, change: Change<T>) {
        match change {
            Change::Insert(row) => self.0.insert(row),
            Change::Retract(row) => self.0.remove(&row),
        };
    }
}

impl<T: Row> Answer<T> for Known<T> {
    fn count(&self, row: &T) -> i64 {
        i64::from(self.0.contains(row))
    }
    fn rows(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// The first rows that are not in both equally often, for a message.
pub(super) fn difference<T: Row, A: Answer<T>>(found: &A, expected: &A) -> String {
    let rows: BTreeSet<&T> = found.rows().chain(expected.rows()).collect();
    let different = rows.into_iter().filter(|row| found.count(row) != expected.count(row));
    let shown = different.map(|row| format!("{row:?} {} × of {}", found.count(row), expected.count(row)));
    shown.take(5).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_row_that_is_retracted_and_never_came_is_seen() {
    let mut table = Table::default();
    table.change(Change::Insert(1));
    table.change(Change::Retract(1));
    assert_eq!(table, Table::default());
    table.change(Change::Retract(2));
    assert_ne!(table, Table::default());
}
