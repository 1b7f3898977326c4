//! Executes flushes and compactions: reads in order, writes tables. Runs on a background thread and may wait.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use futures_util::future::try_join_all;
use tokio::task::JoinHandle;

use super::Compaction;
use crate::block::Block;
use crate::deleted::DeletedRanges;
use crate::expiry::Moment;
use crate::fetch::Fetcher;
use crate::key_range::KeyRange;
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::scan::{MergeScan, Source, TableScan};
use crate::table::{BuiltTable, FileMeta, TableBuilder, TableFile, TableOptions};
use crate::version::Run;

/// A table that is on the store, with the blocks that the cache may take over.
pub(crate) struct WrittenTable {
    pub(crate) file: Arc<TableFile>,
    pub(crate) blocks: Vec<Arc<Block>>,
}

/// Cuts entries in key order into tables and uploads each while the next is built.
pub(crate) struct TableWriter {
    fetcher: Arc<Fetcher>,
    naming: Arc<Naming>,
    options: TableOptions,
    /// Whether the disk tier takes the tables as well.
    mirror: bool,
    builder: TableBuilder,
    uploads: Vec<JoinHandle<Result<WrittenTable>>>,
}

/// Tables whose upload may be under way; each is held in memory until then.
const MAX_UPLOADS: usize = 2;

impl TableWriter {
    pub(crate) fn new(fetcher: Arc<Fetcher>, naming: Arc<Naming>, options: TableOptions) -> Self {
        let builder = TableBuilder::new(options);
        Self { fetcher, naming, options, mirror: true, builder, uploads: Vec::new() }
    }

    /// Says that the disk tier need not take the tables.
    pub(crate) fn without_mirror(self, without: bool) -> Self {
        Self { mirror: !without, ..self }
    }

    /// Writes all that is left of a scan, and what the scan hides of older tables.
    pub(crate) fn write_all(mut self, mut scan: MergeScan<Source>) -> Result<Vec<WrittenTable>> {
        let mut written = Vec::new();
        let mut deleted = scan.deleted();
        while let Some(((kind, key, value), stamp)) = scan.next_stamped()? {
            if self.builder.ends_before(key) {
                let deleted_before = deleted.split_before(key);
                self.end_table(deleted_before, &mut written)?;
            }
            self.builder.add(kind, key, value);
            if let Some(stamp) = stamp {
                self.builder.stamp(kind, stamp, key.len() + value.len());
            }
        }
        self.end_table(deleted, &mut written)?;
        for upload in std::mem::take(&mut self.uploads) {
            written.push(self.wait(upload)?);
        }
        Ok(written)
    }

    fn end_table(&mut self, deleted: DeletedRanges, written: &mut Vec<WrittenTable>) -> Result<()> {
        let builder = std::mem::replace(&mut self.builder, TableBuilder::new(self.options));
        let Some(built) = builder.finish(deleted) else { return Ok(()) };
        if self.uploads.len() == MAX_UPLOADS {
            let oldest = self.uploads.remove(0);
            written.push(self.wait(oldest)?);
        }
        let (fetcher, naming, mirror) = (Arc::clone(&self.fetcher), Arc::clone(&self.naming), self.mirror);
        self.uploads
            .push(self.fetcher.io().spawn(async move { upload(&fetcher, &naming, built, mirror).await }));
        Ok(())
    }

    fn wait(&self, upload: JoinHandle<Result<WrittenTable>>) -> Result<WrittenTable> {
        self.fetcher.io().block_on(upload).map_err(|_| Error::closed("the I/O runtime is gone"))?
    }
}

async fn upload(fetcher: &Fetcher, naming: &Naming, built: BuiltTable, mirror: bool) -> Result<WrittenTable> {
    // Held before it is written, so that a failed write is cleaned up by its release.
    let held = naming.hold("sst");
    let size_bytes = built.payload.iter().map(|piece| piece.len() as u64).sum();
    let properties = &built.tail.properties;
    let meta = FileMeta {
        size_bytes,
        tail_bytes: built.tail_bytes,
        keys: built.keys,
        entries: properties.entries,
        deletes: properties.deletes,
        content_hash: built.content_hash,
        deleted_ranges: built.tail.deleted.len() as u64,
        ages: properties.ages.clone().unwrap_or_default(),
    };
    let file = Arc::new(TableFile::new(naming.next_id(), meta, KeyRange::default(), held));
    file.set_tail(built.tail);
    fetcher.write_table(&file, built.payload, mirror).await?;
    Ok(WrittenTable { file, blocks: built.blocks })
}

/// A compaction with all it needs to run anywhere.
pub(crate) struct CompactionJob {
    pub(crate) compaction: Compaction,
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) naming: Arc<Naming>,
    pub(crate) operators: Arc<dyn MergeOperators>,
    pub(crate) options: TableOptions,
    /// When entries are judged; `None` for a store whose entries last.
    pub(crate) moment: Option<Moment>,
    /// For the read-ahead of all sources together.
    pub(crate) buffer_bytes: usize,
}

impl CompactionJob {
    pub(crate) fn run(&self) -> Result<Vec<WrittenTable>> {
        let Compaction { upper, lower, depth, .. } = &self.compaction;
        let runs = self.without_deleted(upper.iter().chain([lower]))?;
        // Each source holds the read it uses and the one under way.
        let read_ahead = (self.buffer_bytes / (2 * runs.len().max(1))).clamp(16 << 10, 1 << 20) as u64;
        let open = |run| TableScan::new(Arc::clone(&self.fetcher), run, read_ahead).map(Source::Tables);
        let sources = runs.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let scan = MergeScan::new(sources, Arc::clone(&self.operators), *depth).judged_at(self.moment);
        // What nobody reads shall not push out what is read: outputs are mirrored where most of the inputs are.
        let cold = !self.fetcher.mirrors_most_of(self.compaction.inputs());
        TableWriter::new(Arc::clone(&self.fetcher), Arc::clone(&self.naming), self.options)
            .without_mirror(cold)
            .write_all(scan)
    }

    /// The runs without the tables that a newer one's deleted ranges cover whole: those need not be read.
    fn without_deleted<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> Result<Vec<Run>> {
        let mut hidden = DeletedRanges::default();
        let mut kept = Vec::new();
        for run in runs {
            let run: Run = run.iter().filter(|file| !hidden.covers_all(file.keys())).cloned().collect();
            let tails = try_join_all(run.iter().map(|file| self.fetcher.tail(file)));
            let tails = self.fetcher.io().block_on(tails)?;
            let deleted = run.iter().zip(&tails).flat_map(|(file, tail)| tail.deleted.clip(file.keys()));
            hidden = DeletedRanges::union(hidden.iter().cloned().chain(deleted));
            if !run.is_empty() {
                kept.push(run);
            }
        }
        Ok(kept)
    }
}
