//! Planning without fetching, for the micro-benches.
use super::{Reads, Store, grouped};
use crate::fetch::{FetchParts, coalesce};

impl Store {
    /// Plans a batch as [`Store::read`] does, down to the ranges that would be asked for, and forgets it again.
    ///
    /// Returns how many requests it would have made.
    pub(crate) fn plan_only<'k>(&mut self, batch: impl IntoIterator<Item = &'k [u8]>, gap: u64) -> usize {
        let (_, needs) = self.plan_batch((0..).zip(batch));
        let (tables, values) = grouped(needs);
        let requests = tables.into_iter().map(|request| match request.parts {
            FetchParts::Tail { .. } => 1,
            FetchParts::Blocks(wanted) => coalesce(wanted, gap).len(),
        });
        let requests = requests.sum::<usize>() + values.len();
        self.reads = Reads::default();
        requests
    }
}
