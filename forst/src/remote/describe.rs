//! A compaction as a job on the store, and back: nothing that it depends on stays behind.
use std::sync::Arc;

use alluvium_env::{Error, HashSet, Result};
use bytes::Bytes;

use super::format::{Job, MomentRecord, RunRecord};
use crate::compaction::{Action, Compaction, CompactionJob, Separation};
use crate::compression::{Compression, Packing};
use crate::expiry::Moment;
use crate::fetch::Fetcher;
use crate::key_range::KeyRange;
use crate::merge::MergeOperators;
use crate::naming::{Naming, Reserved};
use crate::scan::Depth;
use crate::store::{TableRecord, ValueList};
use crate::table::{Keeping, Ownership, TableOptions};
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
    let (compression, compression_level) = match job.options.compression {
        Compression::None => (Packing::Plain as u32, 0),
        Compression::Lz4 => (Packing::Lz4 as u32, 0),
        Compression::Zstd { level } => (Packing::Zstd as u32, level),
    };
    Job {
        runs,
        level: *target as u32,
        bottom: *depth == Depth::Bottom,
        block_size_bytes: job.options.block_size_bytes as u64,
        table_size_bytes: job.options.table_size_bytes as u64,
        compression,
        compression_level,
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
        self.runs
            .iter()
            .flat_map(|run| &run.tables)
            .fold(0, |sum, table| sum.saturating_add(table.tail_bytes))
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
        let compression = compression_of(self.compression, self.compression_level)?;
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
            },
            warm: Arc::default(),
            keeping: Keeping::default(),
            separation: Separation {
                threshold_bytes: size(self.value_threshold_bytes),
                file_bytes: size(self.value_file_bytes),
                garbage,
                operators: Arc::clone(&means.operators),
            },
            moment: self
                .moment
                .map(|MomentRecord { now_millis, horizon_millis }| Moment { now_millis, horizon_millis }),
            fetcher: means.fetcher,
            naming: Arc::new(naming),
            operators: means.operators,
            progress: None,
            buffer_bytes: means.buffer_bytes,
        })
    }
}

/// What a job's outputs are compressed with.
fn compression_of(number: u32, level: i32) -> Result<Compression> {
    let known = match number {
        0 => Some(Compression::None),
        1 => Some(Compression::Lz4),
        2 => Some(Compression::Zstd { level }).filter(|zstd| zstd.is_valid()),
        _ => None,
    };
    known.ok_or_else(|| {
        Error::invalid(format!(
            "a compaction's job wants compression {number} at level {level}, which this build does not know"
        ))
    })
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use object_store::memory::InMemory;

    use super::*;
    use crate::merge::NoMerges;
    use crate::remote::format::Framed as _;
    use crate::settings::ForstSettings;
    use crate::table::{FileId, FileMeta, Keep, KeepAll, TableFile};
    use crate::values::{ValueMeta, ValueShare};

    fn table(naming: &Naming, keys: (&[u8], &[u8]), clip: KeyRange, values: &[ValueShare]) -> Arc<TableFile> {
        let meta = FileMeta {
            size_bytes: 500,
            tail_bytes: 100,
            keys: KeyRange::new(keys.0, keys.1),
            entries: 7,
            deletes: 2,
            content_hash: 9,
            deleted_ranges: 1,
            ages: crate::expiry::Ages { expiring: 3, raw_bytes: 11, ..Default::default() },
        };
        let file = TableFile::new(naming.next_id(), meta, clip, naming.hold("sst"));
        Arc::new(file.with_values(values.to_vec()))
    }

    /// Everything by which two jobs could differ, with files by their names.
    fn shown(job: &CompactionJob) -> String {
        let name = |id: &FileId| {
            let mut shares = job.compaction.inputs().flat_map(|table| table.values());
            shares.find(|share| share.file.id == *id).map(|share| share.file.name().to_owned())
        };
        let garbage: Vec<_> = job.separation.garbage.iter().filter_map(name).collect();
        let Compaction { upper, lower, target, depth, .. } = &job.compaction;
        let part = |file: &Arc<TableFile>| {
            let share = |s: &ValueShare| (s.file.name().to_owned(), s.file.meta(), s.values, s.bytes);
            let values: Vec<_> = file.values().iter().map(share).collect();
            format!("{} {:?} {:?} {values:?}", file.name(), file.meta, file.clip)
        };
        let runs = upper.iter().chain([lower]).filter(|run| !run.is_empty());
        let runs: Vec<Vec<_>> = runs.map(|run| run.iter().map(part).collect()).collect();
        let Separation { threshold_bytes, file_bytes, .. } = &job.separation;
        let TableOptions { block_size_bytes, table_size_bytes, compression, .. } = &job.options;
        let options = (block_size_bytes, table_size_bytes, compression, threshold_bytes, file_bytes);
        format!("{runs:#?} {garbage:?} {target} {depth:?} {options:?} {:?}", job.moment)
    }

    #[test]
    fn a_job_that_was_described_is_the_job_that_is_opened() {
        let io = IoRuntime::new(1).unwrap();
        let fetcher =
            || Fetcher::creating(Arc::new(InMemory::new()), io.clone(), &ForstSettings::default(), "a");
        let naming = Arc::new(Naming::new("state/00000001/0000".to_owned(), Arc::new(KeepAll)));
        let values = [10, 20].map(|data_bytes| {
            let file = ValueFile::new(naming.next_id(), naming.hold("val"));
            file.end(ValueMeta { size_bytes: data_bytes + 5, data_bytes, content_hash: data_bytes });
            ValueShare { file: Arc::new(file), values: 2, bytes: 4 }
        });
        let whole = KeyRange::default();
        let clipped = KeyRange::new(b"c", b"");
        for (depth, moment) in
            [(Depth::Middle, None), (Depth::Bottom, Some(Moment { now_millis: 7, horizon_millis: 5 }))]
        {
            let upper = vec![
                vec![table(&naming, (b"a", b"e"), clipped.clone(), &values)],
                vec![table(&naming, (b"a", b"b"), whole.clone(), &values[1..])],
            ];
            let lower = vec![
                table(&naming, (b"a", b"c"), whole.clone(), &[]),
                table(&naming, (b"c", b""), whole.clone(), &[]),
            ];
            let job = CompactionJob {
                compaction: Compaction { upper, lower, target: 3, depth, action: Action::Merge },
                fetcher: fetcher(),
                naming: Arc::clone(&naming),
                operators: Arc::new(NoMerges),
                options: TableOptions {
                    block_size_bytes: 1000,
                    table_size_bytes: 2000,
                    compression: Compression::Zstd { level: 2 },
                },
                warm: Arc::default(),
                keeping: Keeping::new(Keep::All, 100, Arc::default()),
                separation: Separation {
                    threshold_bytes: 300,
                    file_bytes: 400,
                    garbage: [values[1].file.id].into_iter().collect(),
                    operators: Arc::new(NoMerges),
                },
                moment,
                progress: None,
                buffer_bytes: 5,
            };
            let framed = describe(&job, Bytes::new(), Reserved::default()).frame();
            let means = Means {
                fetcher: fetcher(),
                ownership: Arc::new(KeepAll),
                operators: Arc::new(NoMerges),
                buffer_bytes: 6,
            };
            let opened = Job::unframe(&framed).unwrap().open(means).unwrap();
            assert_eq!(shown(&opened), shown(&job));
            assert!(!opened.keeping.takes(true, 1), "nobody caches there");
            assert!(opened.naming.hold_output(crate::naming::Output::Table).is_err(), "none was reserved");
        }
    }
}
