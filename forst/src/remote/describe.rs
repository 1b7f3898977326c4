//! A compaction as a job on the store, and back: nothing that it depends on stays behind.
use std::sync::Arc;

use alluvium_env::{Error, HashSet, Result};
use bytes::Bytes;

use super::format::{Job, MomentRecord, RunRecord};
use crate::coding::Compression;
use crate::compaction::{Action, Compaction, CompactionJob, Separation};
use crate::expiry::Moment;
use crate::fetch::Fetcher;
use crate::key_range::KeyRange;
use crate::merge::MergeOperators;
use crate::naming::{Naming, Reserved};
use crate::scan::Depth;
use crate::store::{TableRecord, ValueList};
use crate::table::{Ownership, TableOptions};
use crate::values::ValueFile;
use crate::version::{LEVELS, Run};

/// Describes a job whose outputs get these names.
pub(super) fn describe(job: &CompactionJob, operators: Bytes, names: Reserved) -> Job {
    let (Compaction { upper, lower, target, depth, .. }, separation) = (&job.compaction, &job.separation);
    let mut values = ValueList::default();
    let mut record = |run: &Run| {
        let tables = run.iter().map(|file| TableRecord::of((0, 0), file, &mut values)).collect();
        RunRecord { tables }
    };
    let runs = upper.iter().chain([lower]).map(&mut record).collect();
    let mut garbage: Vec<u32> = separation.garbage.iter().filter_map(|file| values.place(*file)).collect();
    garbage.sort_unstable();
    Job {
        runs,
        level: *target as u32,
        bottom: *depth == Depth::Bottom,
        block_size_bytes: job.options.block_size_bytes as u64,
        table_size_bytes: job.options.table_size_bytes as u64,
        compression: job.options.compression as u32,
        // The largest size of one machine is that of another one, also where sizes have another width.
        value_threshold_bytes: u64::try_from(separation.threshold_bytes).unwrap_or(u64::MAX),
        value_file_bytes: separation.file_bytes as u64,
        garbage,
        moment: job
            .moment
            .map(|Moment { now_millis, horizon_millis }| MomentRecord { now_millis, horizon_millis }),
        operators,
        table_names: names.tables,
        value_names: names.values,
        value_files: values.records(),
    }
}

/// What a compactor adds to a job.
pub(super) struct Means {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) ownership: Arc<dyn Ownership>,
    pub(super) operators: Arc<dyn MergeOperators>,
    pub(super) buffer_bytes: usize,
}

impl Job {
    /// What tables and value files being written may take: two of each under way, and one of each that grows.
    pub(super) fn writing_bytes(&self) -> u64 {
        let values = if self.value_threshold_bytes == u64::MAX { 0 } else { self.value_file_bytes };
        self.table_size_bytes.saturating_mul(3).saturating_add(values)
    }

    /// What filters and indexes of the inputs take.
    pub(super) fn tail_bytes(&self) -> u64 {
        self.runs.iter().flat_map(|run| &run.tables).map(|table| table.tail_bytes).sum()
    }

    /// The compaction.
    ///
    /// # Errors
    /// `Corruption` for a job that describes what cannot be.
    pub(super) fn open(self, means: Means) -> Result<CompactionJob> {
        let names = Reserved { tables: self.table_names, values: self.value_names };
        let naming = Naming::reserved(names, means.ownership);
        let open = |record: &crate::store::ValueFileRecord| {
            record.open(naming.next_id(), naming.hold_existing(&record.name))
        };
        let values = self.value_files.iter().map(open).collect::<Result<Vec<Arc<ValueFile>>>>()?;
        let garbage = self.garbage.iter().filter_map(|place| Some(values.get(*place as usize)?.id));
        let garbage: HashSet<_> = garbage.collect();
        let table = |record: TableRecord| {
            let (id, held) = (naming.next_id(), naming.hold_existing(&record.name));
            record.open(&KeyRange::default(), &values, id, held).map(Arc::new)
        };
        let run = |run: RunRecord| run.tables.into_iter().map(table).collect::<Result<Run>>();
        let upper = self.runs.into_iter().map(run).collect::<Result<Vec<_>>>()?;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let compression = match self.compression {
            0 => Compression::None,
            1 => Compression::Lz4,
            other => {
                return Err(Error::invalid(format!(
                    "a compaction's job wants compression {other}, which this build does not know"
                )));
            }
        };
        if self.level as usize > LEVELS || self.block_size_bytes == 0 || self.table_size_bytes == 0 {
            return Err(Error::corruption("a compaction's job describes impossible tables"));
        }
        let depth = if self.bottom { Depth::Bottom } else { Depth::Middle };
        let target = self.level as usize;
        Ok(CompactionJob {
            compaction: Compaction { upper, lower: Run::new(), target, depth, action: Action::Merge },
            options: TableOptions {
                block_size_bytes: size(self.block_size_bytes),
                table_size_bytes: size(self.table_size_bytes),
                compression,
                keep_blocks: false,
            },
            separation: Separation {
                threshold_bytes: size(self.value_threshold_bytes),
                file_bytes: size(self.value_file_bytes),
                keep_bytes: 0,
                garbage,
                operators: Arc::clone(&means.operators),
            },
            moment: self
                .moment
                .map(|MomentRecord { now_millis, horizon_millis }| Moment { now_millis, horizon_millis }),
            fetcher: means.fetcher,
            naming: Arc::new(naming),
            operators: means.operators,
            buffer_bytes: means.buffer_bytes,
        })
    }
}
