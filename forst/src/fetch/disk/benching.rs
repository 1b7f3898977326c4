//! The disk tier by itself, for its bench beside others (`benches/disk-tier`).
use std::path::Path;
use std::sync::Arc;

use alluvium_env::{Entropy, Error, Result};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{DiskCache, DiskLimits};
use crate::block::Block;
use crate::compression::Compression;
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::expiry::Ages;
use crate::fetch::Wanted;
use crate::key_range::KeyRange;
use crate::table::{FileId, FileMeta, Held, KeepAll, TableBuilder, TableFile, TableOptions};

const VALUE_BYTES: usize = 100;

/// How a table comes into the tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// It is there already.
    None,
    /// Block by block, as misses bring it.
    Blocks,
    /// Whole, as flushes and compactions write it.
    Tables,
}

/// A table that is not in a tier yet.
pub struct BuiltPart {
    file: Arc<TableFile>,
    payload: Vec<Bytes>,
}

impl std::fmt::Debug for BuiltPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuiltPart").field("table", &self.file.name()).finish_non_exhaustive()
    }
}

impl BuiltPart {
    /// What its blocks take.
    pub fn bytes(&self) -> u64 {
        self.file.data_bytes()
    }
}

/// A tier, and the tables that it mirrors. Nothing of them compresses.
pub struct DiskPart {
    cache: Arc<DiskCache>,
    tables: Vec<Arc<TableFile>>,
    blocks: u32,
    block_size_bytes: usize,
}

impl std::fmt::Debug for DiskPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskPart").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

impl DiskPart {
    /// A tier in a folder; its tables will have so many blocks, each a little larger than `block_size_bytes`.
    ///
    /// # Errors
    /// `Invalid` if the folder cannot be used.
    pub fn open(folder: &Path, size_bytes: u64, blocks: u32, block_size_bytes: usize) -> Result<Self> {
        let cache = DiskCache::open(folder, DiskLimits { size_bytes, min_free_bytes: 0 })?;
        Ok(Self { cache, tables: Vec::new(), blocks, block_size_bytes })
    }

    /// Adds a table. Called on the I/O runtime.
    ///
    /// # Errors
    /// `Internal` if it lacks a block.
    pub async fn add(&mut self, BuiltPart { file, payload }: BuiltPart, filling: Filling) -> Result<()> {
        match filling {
            Filling::None => {}
            Filling::Tables => {
                if let Some(mirroring) = self.cache.mirror(&file, &payload) {
                    mirroring.end().await;
                }
            }
            Filling::Blocks => {
                let stored = Bytes::from(payload.concat());
                for wanted in (0..self.blocks).map(|block| self.wanted(&file, block)) {
                    let Wanted { block, range } = wanted?;
                    let bytes = stored.slice(range.start as usize..range.end as usize);
                    self.cache.write(&file, vec![(block as usize, range.start, bytes)]);
                }
                self.written().await;
            }
        }
        self.tables.push(file);
        Ok(())
    }

    /// Waits until the tier has written all it was given.
    async fn written(&self) {
        while !self.cache.writes.is_idle() {
            tokio::time::sleep(std::time::Duration::from_micros(100)).await;
        }
    }

    /// Builds the table of a number.
    ///
    /// # Errors
    /// `Internal` if the builder is broken.
    pub fn build(&self, number: u64) -> Result<BuiltPart> {
        let options = TableOptions {
            block_size_bytes: self.block_size_bytes,
            table_size_bytes: usize::MAX,
            compression: Compression::Lz4,
        };
        let (mut builder, random) = (TableBuilder::new(options), Entropy::from_seed(number));
        let mut entry = 0_u64;
        while builder.blocks() < self.blocks as usize {
            let key = [number.to_be_bytes(), entry.to_be_bytes()].concat();
            let value: Vec<u8> = (0..VALUE_BYTES.div_ceil(8))
                .flat_map(|_| random.next_u64().to_le_bytes())
                .take(VALUE_BYTES)
                .collect();
            builder.add(EntryKind::Put, &key, &value);
            entry += 1;
        }
        let built = builder.finish(DeletedRanges::default());
        let built = built.ok_or_else(|| Error::internal("a table without entries"))?;
        let meta = FileMeta {
            size_bytes: built.payload.iter().map(|piece| piece.len() as u64).sum(),
            tail_bytes: built.tail_bytes,
            keys: built.keys,
            entries: entry,
            deletes: 0,
            content_hash: built.content_hash,
            deleted_ranges: 0,
            ages: Ages::default(),
        };
        let held = Held::new(&format!("bench/{number:012}.sst"), Arc::new(KeepAll));
        let file = TableFile::new(FileId(number), meta, KeyRange::default(), held);
        file.set_tail(built.tail);
        Ok(BuiltPart { file: Arc::new(file), payload: built.payload })
    }

    fn wanted(&self, file: &TableFile, block: u32) -> Result<Wanted> {
        let range = file.whole().and_then(|tail| tail.index.range(block as usize));
        Ok(Wanted { block, range: range.ok_or_else(|| Error::internal("no such block"))? })
    }

    /// Reads blocks by numbers below [`DiskPart::all_blocks`], and checks and unpacks them as a fetch does: how many were
    /// there. Called on the I/O runtime.
    ///
    /// # Errors
    /// `Corruption` if a block is broken.
    pub async fn hits(&self, numbers: &mut [u64]) -> Result<usize> {
        numbers.sort_unstable();
        let of_table = |number: &u64| (*number / u64::from(self.blocks)) as usize;
        let mut reads = FuturesUnordered::new();
        for numbers in numbers.chunk_by(|a, b| of_table(a) == of_table(b)) {
            let Some(file) = numbers.first().and_then(|first| self.tables.get(of_table(first))) else {
                continue;
            };
            let block = |number: &u64| self.wanted(file, (number % u64::from(self.blocks)) as u32);
            let wanted = numbers.iter().map(block).collect::<Result<Vec<_>>>()?;
            reads.push(self.cache.read(file, wanted));
        }
        let mut found = 0;
        while let Some((here, _)) = reads.next().await {
            for (_, bytes) in here {
                found += usize::from(!Block::decode(&bytes)?.entries().is_empty());
            }
        }
        Ok(found)
    }

    /// How many blocks all tables have.
    pub fn all_blocks(&self) -> u64 {
        self.tables.len() as u64 * u64::from(self.blocks)
    }
}
