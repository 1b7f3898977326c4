//! Executes flushes and compactions: reads in order, writes tables. Runs on a background thread and may wait.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use tokio::task::JoinHandle;

use super::Compaction;
use crate::block::Block;
use crate::fetch::Fetcher;
use crate::merge::MergeOperators;
use crate::naming::Naming;
use crate::scan::{MergeScan, Source, TableScan};
use crate::table::{BuiltTable, Clip, FileMeta, TableBuilder, TableFile, TableOptions};

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

    /// Writes all that is left of a scan.
    pub(crate) fn write_all(mut self, mut scan: MergeScan) -> Result<Vec<WrittenTable>> {
        let mut written = Vec::new();
        while let Some((kind, key, value)) = scan.next_entry()? {
            if self.builder.ends_before(key) {
                self.end_table(&mut written)?;
            }
            self.builder.add(kind, key, value);
        }
        self.end_table(&mut written)?;
        for upload in std::mem::take(&mut self.uploads) {
            written.push(self.wait(upload)?);
        }
        Ok(written)
    }

    fn end_table(&mut self, written: &mut Vec<WrittenTable>) -> Result<()> {
        let builder = std::mem::replace(&mut self.builder, TableBuilder::new(self.options));
        let Some(built) = builder.finish() else { return Ok(()) };
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
        smallest: built.smallest,
        largest: built.largest,
        entries: properties.entries,
        deletes: properties.deletes,
        content_hash: built.content_hash,
    };
    let file = Arc::new(TableFile::new(naming.next_id(), meta, Clip::default(), held));
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
    /// For the read-ahead of all sources together.
    pub(crate) buffer_bytes: usize,
}

impl CompactionJob {
    pub(crate) fn run(&self) -> Result<Vec<WrittenTable>> {
        let Compaction { upper, lower, from_level0, depth, .. } = &self.compaction;
        let runs: Vec<Vec<Arc<TableFile>>> = if *from_level0 {
            upper.iter().map(|file| vec![Arc::clone(file)]).collect()
        } else {
            vec![upper.clone()]
        };
        let runs: Vec<_> = runs.into_iter().chain([lower.clone()]).filter(|run| !run.is_empty()).collect();
        // Each source holds the read it uses and the one under way.
        let read_ahead = (self.buffer_bytes / (2 * runs.len().max(1))).clamp(16 << 10, 1 << 20) as u64;
        let open = |run| TableScan::new(Arc::clone(&self.fetcher), run, read_ahead).map(Source::Tables);
        let sources = runs.into_iter().map(open).collect::<Result<Vec<_>>>()?;
        let scan = MergeScan::new(sources, Arc::clone(&self.operators), *depth);
        // What nobody reads shall not push out what is read: outputs are mirrored where most of the inputs are.
        let cold = !self.fetcher.mirrors_most_of(upper.iter().chain(lower));
        TableWriter::new(Arc::clone(&self.fetcher), Arc::clone(&self.naming), self.options)
            .without_mirror(cold)
            .write_all(scan)
    }
}
