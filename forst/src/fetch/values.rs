//! Records of value files: for reads, and for whoever writes them anew.
//!
//! Neighbours travel together like blocks. A value may be as large as 64 MiB, so what is under way to readers is limited
//! in bytes as well: a large read takes its bytes' part of the room, at most all of it, and gives it back once the task
//! thread has the values.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, StreamExt as _, TryStreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ranges::{Group, Wanted, coalesce};
use super::{Fetched, FetchedPart, Fetcher};
use crate::block::Block;
use crate::coding::check_section;
use crate::values::{ValueFile, ValuePlace};

/// What the room is counted in.
const UNIT_BYTES: u64 = 4 << 10;
/// Reads up to this size need no room: they are what a few blocks and the gaps between them are.
const MAX_SMALL_BYTES: u64 = 64 << 10;

/// Reads that are under way for one who writes values anew or scans: readers want requests as well.
const MAX_READS: usize = 64;

/// The bytes of values that may be under way.
pub(super) struct Room {
    units: u32,
    free: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let units = (bytes as u64 / UNIT_BYTES).clamp(1, u64::from(u32::MAX)) as u32;
        Self { units, free: Arc::new(Semaphore::new(units as usize)) }
    }

    async fn take(&self, bytes: u64) -> Result<Option<OwnedSemaphorePermit>> {
        if bytes <= MAX_SMALL_BYTES {
            return Ok(None);
        }
        let units = bytes.div_ceil(UNIT_BYTES).min(u64::from(self.units)) as u32;
        let free = Arc::clone(&self.free);
        free.acquire_many_owned(units).await.map(Some).map_err(|_| Error::closed("the store is closed"))
    }
}

/// Records of one value file that are wanted, ascending.
pub(crate) struct ValueRequest {
    pub(crate) file: Arc<ValueFile>,
    pub(crate) records: Vec<Wanted>,
}

impl Fetcher {
    /// Starts the reads of values of a batch; `done` is called on the I/O runtime, once for every group that arrives
    /// together.
    pub(crate) fn start_values(
        self: &Arc<Self>,
        requests: Vec<ValueRequest>,
        done: &Arc<dyn Fn(Fetched) + Send + Sync>,
    ) {
        for ValueRequest { file, records } in requests {
            let (fetcher, done) = (Arc::clone(self), Arc::clone(done));
            drop(self.io.spawn(async move {
                let groups = coalesce(records, fetcher.coalesce_gap_bytes).into_iter();
                let answers = groups.map(|group| fetcher.answer_values(&file, group, done.as_ref()));
                answers.collect::<FuturesUnordered<_>>().collect::<()>().await;
            }));
        }
    }

    async fn answer_values(&self, file: &ValueFile, group: Group, done: &(dyn Fn(Fetched) + Send + Sync)) {
        let (room, records) = match self.room.take(group.span.end - group.span.start).await {
            Ok(room) => (room, self.read_group(file, &group).await),
            Err(error) => (None, Err(error)),
        };
        let part = |(number, wanted): (usize, &Wanted)| {
            let record = match &records {
                Ok(records) => records.get(number).map_or(&[][..], |record| record),
                Err(error) => return FetchedPart::Block(wanted.block, Err(error.duplicate())),
            };
            let block = Block::decode(record);
            FetchedPart::Block(wanted.block, block.map_err(|e| e.context(place(file, wanted))))
        };
        let parts: Vec<_> = group.wanted.iter().enumerate().map(part).collect();
        drop(records);
        let from_store = parts.len() as u64;
        done(Fetched { id: file.id, parts, from_disk: 0, from_store, room });
    }

    /// The records of a group as they are stored, each checked.
    async fn read_group(&self, file: &ValueFile, group: &Group) -> Result<Vec<Bytes>> {
        let span = self.requests.read(file.path(), group.span.clone()).await?;
        let mut records = Vec::with_capacity(group.wanted.len());
        for wanted in &group.wanted {
            // Pointers that lie may overlap; then what they lead to does not check out.
            let within = |at: u64| (at.saturating_sub(group.span.start) as usize).min(span.len());
            let (start, end) = (within(wanted.range.start), within(wanted.range.end));
            let mut record = span.slice(start..end.max(start));
            if check_section("a value", &record).is_err() {
                // Bytes can break on the way; what is broken at rest breaks again.
                record = self.requests.read(file.path(), wanted.range.clone()).await?;
                check_section("a value", &record).map_err(|e| e.context(place(file, wanted)))?;
            }
            records.push(record);
        }
        Ok(records)
    }

    /// The records at these places as they are stored, each checked; in the order of the places. Past the room, which is
    /// the readers': whoever calls this bounds what it asks for.
    pub(crate) async fn read_records(&self, places: Vec<ValuePlace>) -> Result<Vec<Bytes>> {
        let mut order: Vec<_> = places.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, place)| (place.file.id, place.range.start));
        let mut order = order.into_iter().peekable();
        let mut reads = Vec::new();
        while let Some((first, ValuePlace { file, range, .. })) = order.next() {
            let wanted =
                |at: usize, range: &std::ops::Range<u64>| Wanted { block: at as u32, range: range.clone() };
            let mut records = vec![wanted(first, range)];
            while let Some((at, place)) = order.next_if(|(_, place)| place.file.id == file.id) {
                records.push(wanted(at, &place.range));
            }
            reads.extend(coalesce(records, self.coalesce_gap_bytes).into_iter().map(|group| async move {
                let records = self.read_group(file, &group).await?;
                Ok::<_, Error>((group, records))
            }));
        }
        let mut found = vec![Bytes::new(); places.len()];
        let mut reads = stream::iter(reads).buffer_unordered(MAX_READS);
        while let Some((group, records)) = reads.try_next().await? {
            for (wanted, record) in group.wanted.iter().zip(records) {
                if let Some(place) = found.get_mut(wanted.block as usize) {
                    *place = record;
                }
            }
        }
        Ok(found)
    }
}

/// Object and offset, for an error.
fn place(file: &ValueFile, wanted: &Wanted) -> String {
    format!("{} at offset {}", file.name(), wanted.range.start)
}
