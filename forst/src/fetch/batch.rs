//! One request of a batch: where its blocks come from, and how they are handed over.
use std::sync::Arc;

use alluvium_env::Result;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tracing::debug;

use super::ranges::{Group, Wanted, coalesce};
use super::{FetchParts, FetchRequest, Fetched, FetchedPart, Fetcher};
use crate::block::Block;
use crate::table::{TableFile, Tail};

/// Whom the answers go to.
type Done<'a> = &'a (dyn Fn(Fetched) + Send + Sync);
/// A block for the disk tier: its number, its offset, its bytes as they are stored.
type Stored = (usize, u64, Bytes);

impl Fetcher {
    pub(super) async fn answer_all(&self, requests: Vec<FetchRequest>, done: Done<'_>) {
        let answers = requests.into_iter().map(|request| self.answer(request, done));
        answers.collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    pub(super) async fn answer(&self, request: FetchRequest, done: Done<'_>) {
        let file = request.file;
        match request.parts {
            FetchParts::Tail { slim } => {
                let tail = self.tail_for_reads(&file, slim).await;
                let from_disk = u64::from(matches!(tail, Ok((_, true))));
                let tail = tail.map(|(tail, _)| tail).inspect(|tail| file.set_tail(tail.clone()));
                let parts = vec![FetchedPart::Tail(tail)];
                done(Fetched { id: file.id, parts, from_disk, from_store: 1 - from_disk, room: None });
            }
            FetchParts::Blocks(wanted) => {
                self.read_wanted((&file, None), wanted, self.coalesce_gap_bytes, done).await;
            }
        }
    }

    /// Reads blocks from the disk tier, and the rest from the store, those together that are at most a gap apart. Whoever has a
    /// tail that memory has no room for gives it.
    pub(super) async fn read_wanted(
        &self,
        (file, tail): (&Arc<TableFile>, Option<&Tail>),
        wanted: Vec<Wanted>,
        gap_bytes: u64,
        done: Done<'_>,
    ) {
        let remote = self.take_from_disk((file, tail), wanted, done).await;
        if remote.is_empty() {
            return;
        }
        let blocks = remote.len();
        let groups = coalesce(remote, gap_bytes);
        let bytes = || groups.iter().map(|group| group.span.end - group.span.start).sum::<u64>();
        debug!(table = file.name(), blocks, bytes = bytes(), requests = groups.len(), "reads blocks");
        if self.near {
            let spans: Vec<_> = groups.iter().map(|group| group.span.clone()).collect();
            let pieces = self.requests.read_all(file.path(), &spans).await;
            return self.deliver(file, groups, pieces, done).await;
        }
        let read = |group: Group| async move {
            let piece = self.requests.read(file.path(), group.span.clone()).await;
            self.deliver(file, vec![group], piece.map(|piece| vec![piece]), done).await;
        };
        groups.into_iter().map(read).collect::<FuturesUnordered<_>>().collect::<()>().await;
    }

    /// Answers what the disk tier has; returns the rest.
    async fn take_from_disk(
        &self,
        (file, given): (&Arc<TableFile>, Option<&Tail>),
        wanted: Vec<Wanted>,
        done: Done<'_>,
    ) -> Vec<Wanted> {
        let Some(disk) = &self.disk else { return wanted };
        let (found, mut rest) = disk.read(file, wanted).await;
        let mut parts = Vec::with_capacity(found.len());
        for (wanted, bytes) in found {
            if let Ok(block) = Block::decode(&bytes)
                && file.tail().or(given).is_some_and(|tail| belongs(&block, tail, wanted.block as usize))
            {
                parts.push(fetched(file, wanted.block, Ok(block)));
            } else {
                // Garbage from the disk is a miss.
                disk.doubt(file, wanted.block);
                rest.push(wanted);
            }
        }
        if !parts.is_empty() {
            let from_disk = parts.len() as u64;
            done(Fetched { id: file.id, parts, from_disk, from_store: 0, room: None });
        }
        rest.sort_unstable_by_key(|wanted| wanted.block);
        rest
    }

    /// Decodes the blocks of spans that were fetched together and hands them over together.
    async fn deliver(
        &self,
        file: &Arc<TableFile>,
        groups: Vec<Group>,
        pieces: Result<Vec<Bytes>>,
        done: Done<'_>,
    ) {
        let mut parts = Vec::with_capacity(groups.iter().map(|group| group.wanted.len()).sum());
        let mut good = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            let piece = pieces.as_ref().map(|pieces| pieces.get(number).map_or(&[][..], |piece| piece));
            for wanted in &group.wanted {
                let block = match &piece {
                    Ok(piece) => self.decode(file, wanted, group.bytes_of(wanted, piece), &mut good).await,
                    Err(error) => Err(error.duplicate()),
                };
                parts.push(fetched(file, wanted.block, block));
            }
        }
        let from_store = parts.len() as u64;
        done(Fetched { id: file.id, parts, from_disk: 0, from_store, room: None });
        if let Some(disk) = &self.disk {
            disk.write(file, good);
        }
    }

    /// Decodes a fetched block; what is good is also for the disk tier.
    async fn decode(
        &self,
        file: &Arc<TableFile>,
        wanted: &Wanted,
        stored: &[u8],
        good: &mut Vec<Stored>,
    ) -> Result<Block> {
        let block = match Block::decode(stored) {
            Ok(block) => {
                // The disk tier has index blocks with the tail.
                if self.disk.is_some() && !is_index(file, wanted.block) {
                    // A slice would keep the whole span in memory while it waits.
                    good.push((wanted.block as usize, wanted.range.start, Bytes::copy_from_slice(stored)));
                }
                Ok(block)
            }
            // Bytes can break on the way; what is broken at rest breaks again.
            Err(_) => Block::decode(&self.requests.read(file.path(), wanted.range.clone()).await?),
        };
        block.map_err(|e| e.context(file.place(wanted.range.start)))
    }
}

/// Whether a number is that of an index block.
fn is_index(file: &TableFile, block: u32) -> bool {
    file.tail().is_some_and(|tail| block as usize >= tail.blocks())
}

fn fetched(file: &TableFile, number: u32, block: Result<Block>) -> FetchedPart {
    if is_index(file, number) {
        FetchedPart::Index(number, block.map(Block::plain))
    } else {
        FetchedPart::Block(number, block)
    }
}

/// Whether a block is the one of its number, as far as its first key tells: a disk may give back a whole block that was
/// written elsewhere.
fn belongs(block: &Block, tail: &Tail, number: usize) -> bool {
    block.first_key().is_some_and(|first| tail.may_begin(number, first))
}
