//! Answers: what a query's operator says becomes rows that come and go, and rows become a table, or a digest of one.
//!
//! A query whose rows change says of each which one it replaces, as a changelog in Flink does. What is left when the input has
//! ended is the answer, whatever the order in which subtasks spoke.
use std::fmt::Debug;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;

use foldhash::quality::FixedState;
use serde::{Deserialize, Serialize};

/// A row of an answer.
pub(crate) trait Row: Ord + Hash + Clone + Debug + Send + 'static {}

impl<T: Ord + Hash + Clone + Debug + Send + 'static> Row for T {}

/// What happens to a row.
#[derive(Clone, Debug)]
pub(crate) enum Change<T> {
    /// It is part of the answer.
    Insert(T),
    /// It is none any more.
    Retract(T),
}

/// Takes the rows of an answer.
pub(crate) trait Rows<T> {
    /// A row comes once more, or goes once.
    fn change(&mut self, change: Change<T>);
}

/// What a query does behind its keyed operator, in the sink; shared by the sinks of all subtasks.
pub(crate) trait Stage: Default + Send + 'static {
    /// What the operator emits.
    type In: 'static;
    /// The rows of the answer.
    type Row: Row;
    /// Takes an output.
    fn take(&mut self, input: Self::In, rows: &mut dyn Rows<Self::Row>);
    /// The input has ended.
    fn end(&mut self, _rows: &mut dyn Rows<Self::Row>) {}
}

/// The stage of a query whose operator emits the rows.
pub(crate) struct Emitted<T>(PhantomData<fn() -> T>);

impl<T> Default for Emitted<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Row> Stage for Emitted<T> {
    type In = Change<T>;
    type Row = T;
    fn take(&mut self, change: Change<T>, rows: &mut dyn Rows<T>) {
        rows.change(change);
    }
}

/// A table of rows without the rows: two are equal if the tables are, and by chance with a probability of 2^-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest {
    /// Rows of the answer.
    pub(crate) rows: i64,
    /// The sum of their hashes.
    pub(crate) hash: u64,
    /// Changes that led to it.
    pub(crate) changes: u64,
}

impl Digest {
    /// Whether both are of one answer, whatever led to it.
    pub(crate) fn is_of_same_rows(&self, other: &Self) -> bool {
        (self.rows, self.hash) == (other.rows, other.hash)
    }
}

impl<T: Row> Rows<T> for Digest {
    fn change(&mut self, change: Change<T>) {
        let hash = |row: &T| FixedState::default().hash_one(row);
        self.changes += 1;
        match change {
            Change::Insert(row) => {
                self.rows += 1;
                self.hash = self.hash.wrapping_add(hash(&row));
            }
            Change::Retract(row) => {
                self.rows -= 1;
                self.hash = self.hash.wrapping_sub(hash(&row));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_forgets_what_is_retracted_and_the_order_of_the_rest() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        for change in [7, 8].map(Change::Insert) {
            one.change(change);
        }
        let changes = [Change::Insert(8), Change::Insert(9), Change::Insert(7), Change::Retract(9)];
        for change in changes {
            other.change(change);
        }
        assert!(one.is_of_same_rows(&other) && one != other);
        other.change(Change::Insert(7));
        other.change(Change::Retract(8));
        assert_eq!(one.rows, other.rows);
        assert!(!one.is_of_same_rows(&other));
    }
}
