//! Replaying: the logs of memtables that had not been flushed are read again, and written into memtables.
//!
//! They are at most a few memtables, however much state there is; but of a small state they are all there is, so what a restore
//! takes until its first record is what this takes. All logs are read as one sequence of pieces, some ahead of the one that is
//! replayed, and each piece is let go before the next: so round trips, the wire and the replay overlap, and the allocator gives
//! the same few buffers out again and again. Reading each log whole took as much memory again as the memtables do, and memory that a
//! process touches for the first time costs more than what is done in it.
//!
//! **Invariants**: what is read ahead is within the buffers of flush and compaction, which do not run yet.
//!
//! **Failure**: the first log that cannot be read names its delta; what was replayed and what is under way is dropped.
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::fetch::{Fetcher, UnderWay};
use crate::key_range::KeyRange;
use crate::memtable::{LogEntry, LogRecord, Memtable};
use crate::store::deltas::reader::DeltaReader;
use crate::store::manifest::{DELTA_FRAME_BYTES, DeltaRecord, MemtableRecord};
use crate::store::{DeltaChain, Frozen, Store};

/// The most that is read ahead: with more, more memory is touched; with less, a far store's round trips show.
const MAX_AHEAD_BYTES: u64 = 16 << 20;
/// Pieces that are read at a time.
const PIECES_AHEAD: u64 = 16;

/// A memtable to be replayed.
pub(in crate::store) struct Unflushed {
    /// Which of its keys are taken over.
    pub(in crate::store) clip: KeyRange,
    /// How many are newer in its manifest.
    pub(in crate::store) age: usize,
    pub(in crate::store) record: MemtableRecord,
}

impl Unflushed {
    fn replay(&self, record: LogRecord<'_>, table: &mut Memtable) -> Result<()> {
        match record {
            LogRecord::Entry(LogEntry { key, .. }) | LogRecord::Continuation { key, .. } => {
                if self.clip.contains(key) { table.replay(record) } else { Ok(()) }
            }
            LogRecord::DeleteRange { start, end } => {
                let range = KeyRange::new(start, end).intersect(&self.clip);
                if range.is_empty() { Ok(()) } else { table.delete_range(range) }
            }
        }
    }
}

/// Where the pieces of a delta begin and end in it.
fn pieces(delta: &DeltaRecord, piece_bytes: u64) -> impl Iterator<Item = Range<u64>> + use<> {
    let size_bytes = delta.size_bytes;
    (0..size_bytes.div_ceil(piece_bytes)).map(move |number| {
        let start = number * piece_bytes;
        start..size_bytes.min(start + piece_bytes)
    })
}

/// Reads a piece of a delta.
async fn read(fetcher: Arc<Fetcher>, delta: DeltaRecord, piece: Range<u64>) -> Result<Bytes> {
    let place = delta.range().ok_or_else(|| {
        let (name, bytes) = (&delta.name, delta.pack_bytes);
        Error::corruption(format!("a manifest names a delta that is not within the {bytes} bytes of {name}"))
    })?;
    if delta.pack_bytes == 0 && piece.start == 0 {
        // Tells whether the object has as many bytes as it should.
        return fetcher.read_part(&delta.name, piece, delta.size_bytes).await;
    }
    fetcher.read_range(&delta.name, place.start + piece.start..place.start + piece.end).await
}

/// Pieces of deltas in their order, some of them under way.
struct Ahead<'a, I: Iterator> {
    fetcher: &'a Arc<Fetcher>,
    pieces: std::iter::Peekable<I>,
    under_way: VecDeque<(u64, UnderWay<Bytes>)>,
    bytes: u64,
    limit_bytes: u64,
}

impl<'a, I: Iterator<Item = (&'a DeltaRecord, Range<u64>)>> Ahead<'a, I> {
    fn new(fetcher: &'a Arc<Fetcher>, pieces: I, limit_bytes: u64) -> Self {
        Self { fetcher, pieces: pieces.peekable(), under_way: VecDeque::new(), bytes: 0, limit_bytes }
    }

    /// Waits for the next piece; the one before must have been let go.
    fn next(&mut self) -> Result<Bytes> {
        let has_room = |(_, piece): &(&DeltaRecord, Range<u64>), bytes: u64| {
            bytes == 0 || bytes + (piece.end - piece.start) <= self.limit_bytes
        };
        while let Some((delta, piece)) = self.pieces.next_if(|next| has_room(next, self.bytes)) {
            let bytes = piece.end - piece.start;
            let reading = read(Arc::clone(self.fetcher), delta.clone(), piece);
            self.under_way.push_back((bytes, UnderWay::begin(self.fetcher.io(), reading)));
            self.bytes += bytes;
        }
        let (bytes, reading) =
            self.under_way.pop_front().ok_or_else(|| Error::internal("a log has more pieces than bytes"))?;
        self.bytes -= bytes;
        self.fetcher.io().block_on(reading.end())
    }
}

impl Store {
    /// Replays logs: within one memtable a later entry replaces an earlier one; memtables stay apart, since an operand
    /// of a newer one folds into an older one. Those of several parts that are as old as each other have no key in common: they are
    /// one memtable until it is full.
    pub(in crate::store) fn replay(&mut self, memtables: &[Unflushed]) -> Result<()> {
        let ages = memtables.iter().map(|memtable| memtable.age + 1).max().unwrap_or(0);
        let mut tables: Vec<Vec<Memtable>> = (0..ages).map(|_| vec![Memtable::default()]).collect();
        let limit_bytes = (self.budget.background_bytes as u64).min(MAX_AHEAD_BYTES);
        let piece_bytes = (limit_bytes / PIECES_AHEAD).max(DELTA_FRAME_BYTES);
        let deltas = memtables.iter().flat_map(|memtable| &memtable.record.deltas);
        let all = deltas.flat_map(|delta| pieces(delta, piece_bytes).map(move |piece| (delta, piece)));
        let mut ahead = Ahead::new(&self.fetcher, all, limit_bytes);
        for memtable in memtables {
            let Some(alike) = tables.get_mut(memtable.age) else { continue };
            if alike.last().is_none_or(|table| table.size_bytes() >= self.budget.memtable_bytes) {
                alike.push(Memtable::default());
            }
            let Some(table) = alike.last_mut() else { continue };
            for delta in &memtable.record.deltas {
                let mut reader = DeltaReader::new(delta);
                for _ in pieces(delta, piece_bytes) {
                    reader.read(&ahead.next()?, &mut |record, _| memtable.replay(record, table));
                }
                reader.finish()?;
            }
        }
        drop(ahead);
        // Oldest first; the newest goes on as the active one.
        let mut tables: Vec<Memtable> = tables.into_iter().rev().flatten().collect();
        self.active = tables.pop().unwrap_or_default();
        for mut table in tables.into_iter().filter(|table| !table.is_empty()) {
            table.seal();
            let (table, deltas) = (Arc::new(table), DeltaChain::default());
            // When the log was written is not known.
            self.frozen.push(Frozen { table, deltas, order: RefCell::default(), since_millis: 0 });
        }
        Ok(())
    }
}
