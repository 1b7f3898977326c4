//! Executes compactions: reads in order, merges, writes. Runs on a background thread and may wait.
use std::sync::Arc;

use alluvium_env::Result;

use super::{Compaction, Progress, Separation, TableWriter, Written};
use crate::deleted::DeletedRanges;
use crate::expiry::Moment;
use crate::fetch::Fetcher;
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::scan::{MergeScan, open_runs};
use crate::table::{Keeping, TableOptions, WarmBlocks};
use crate::version::Run;

/// A compaction with all it needs to run anywhere.
pub(crate) struct CompactionJob {
    pub(crate) compaction: Compaction,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) naming: Arc<Naming>,
    pub(crate) operators: Arc<dyn MergeOperators>,
    pub(crate) options: TableOptions,
    /// What of its inputs is in memory, and what of its outputs shall be.
    pub(crate) warm: Arc<WarmBlocks>,
    pub(crate) keeping: Keeping,
    pub(crate) separation: Separation,
    /// When entries are judged; `None` for a store whose entries last.
    pub(crate) moment: Option<Moment>,
    /// Whom it tells how far it is.
    pub(crate) progress: Option<Arc<Progress>>,
    /// For the read-ahead of all sources together.
    pub(crate) buffer_bytes: usize,
}

impl CompactionJob {
    /// Runs; hands back what was compacted and what came of it.
    pub(crate) fn run(self) -> Result<(Compaction, Written)> {
        self.fetcher.check_outputs_wanted()?;
        let Compaction { upper, lower, depth, .. } = &self.compaction;
        let runs = self.without_deleted(upper.iter().chain([lower]))?;
        let sources = open_runs(&self.fetcher, runs, self.buffer_bytes, &self.warm, true)?;
        let scan = MergeScan::new(sources, Arc::clone(&self.operators), *depth).judged_at(self.moment);
        // What nobody reads shall not push out what is read: outputs are mirrored where most of the inputs are.
        let cold = !self.fetcher.mirrors_most_of(self.compaction.inputs());
        let written = TableWriter::new(self.fetcher, self.naming, self.options, self.separation)
            .keeping(self.keeping)
            .telling(self.progress)
            .without_mirror(cold)
            .write_all(scan)?;
        Ok((self.compaction, written))
    }

    /// The runs without the tables that a newer one's deleted ranges cover whole: those need not be read.
    fn without_deleted<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> Result<Vec<Run>> {
        let mut hidden = DeletedRanges::default();
        let mut kept = Vec::new();
        for run in runs {
            let run: Run = run.iter().filter(|file| !hidden.covers_all(file.keys())).cloned().collect();
            let read = self.fetcher.while_outputs_are_wanted(self.fetcher.deleted_by(&run));
            let deleted = self.fetcher.io().block_on(read)?;
            hidden = DeletedRanges::union(hidden.iter().cloned().chain(deleted));
            if !run.is_empty() {
                kept.push(run);
            }
        }
        Ok(kept)
    }
}
