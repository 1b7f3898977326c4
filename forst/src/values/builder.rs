//! Builds a value file from values in the order they come.
use std::sync::Arc;

use bytes::Bytes;

use super::{ValueFile, ValueMeta, ValuePlace, trailer};
use crate::block::{Block, BlockBuilder};
use crate::coding::{SectionWriter, crc32c, put_varint};
use crate::compression::{Compression, Packing};
use crate::entry::EntryKind;
use crate::expiry::Stamp;
use crate::table::{Keeping, content_hash};

/// Records that are handed to the store as one piece.
const PIECE_BYTES: usize = 256 << 10;
/// Larger values are stored as they are: to pack them would take their size in memory once more, and what is that large
/// has mostly been packed by whoever made it.
const MAX_PACKED_BYTES: usize = 4 << 20;

/// A finished file, not yet written.
pub(crate) struct BuiltValues {
    pub(crate) file: Arc<ValueFile>,
    pub(crate) payload: Vec<Bytes>,
    /// The records by number, if they were to be kept.
    pub(crate) records: Vec<(u32, Block)>,
}

/// Collects the records of one file.
pub(crate) struct ValueBuilder {
    file: Arc<ValueFile>,
    keeping: Keeping,
    piece: Vec<u8>,
    payload: Vec<Bytes>,
    /// Bytes of all records so far.
    data_bytes: u64,
    lengths: Vec<u32>,
    block: BlockBuilder,
    sections: SectionWriter,
    records: Vec<(u32, Block)>,
}

impl ValueBuilder {
    pub(crate) fn new(file: ValueFile, keeping: Keeping) -> Self {
        Self {
            file: Arc::new(file),
            keeping,
            piece: Vec::new(),
            payload: Vec::new(),
            data_bytes: 0,
            lengths: Vec::new(),
            block: BlockBuilder::default(),
            sections: SectionWriter::default(),
            records: Vec::new(),
        }
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Appends a value.
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8], stamp: Option<Stamp>) -> ValuePlace {
        let start = self.piece.len();
        if key.len() + value.len() <= MAX_PACKED_BYTES {
            self.block.add(EntryKind::Put, key, value);
            let content = self.block.finish();
            self.sections.put(&mut self.piece, content, Compression::Lz4);
            if self.keeping.takes(false, content.len())
                && let Ok(block) = Block::from_content(content)
            {
                self.records.push((self.lengths.len() as u32, block));
            }
            self.block.reset();
        } else {
            self.add_large(key, value);
        }
        self.end_record(start, stamp)
    }

    /// Appends a record as another file stores it.
    pub(crate) fn add_stored(&mut self, record: &[u8], stamp: Option<Stamp>) -> ValuePlace {
        let start = self.piece.len();
        self.piece.extend_from_slice(record);
        self.end_record(start, stamp)
    }

    /// The same bytes that a block builder and a section writer make, with no copy in between.
    fn add_large(&mut self, key: &[u8], value: &[u8]) {
        let (start, piece) = (self.piece.len(), &mut self.piece);
        // Room for the lengths, the restart array and the section's end.
        piece.reserve_exact(key.len() + value.len() + 64);
        put_varint(piece, 0);
        put_varint(piece, key.len() as u64);
        put_varint(piece, (value.len() as u64) << 2 | EntryKind::Put as u64);
        piece.extend_from_slice(key);
        piece.extend_from_slice(value);
        piece.extend_from_slice(&0_u32.to_le_bytes());
        piece.extend_from_slice(&1_u32.to_le_bytes());
        piece.push(Packing::Plain as u8);
        let crc = crc32c(piece.get(start..).unwrap_or_default());
        piece.extend_from_slice(&crc.to_le_bytes());
    }

    fn end_record(&mut self, start: usize, stamp: Option<Stamp>) -> ValuePlace {
        let length = self.piece.len() - start;
        let offset = self.data_bytes;
        let number = self.lengths.len() as u32;
        self.data_bytes += length as u64;
        self.lengths.push(length as u32);
        if self.piece.len() >= PIECE_BYTES {
            self.payload.push(std::mem::take(&mut self.piece).into());
        }
        ValuePlace { file: Arc::clone(&self.file), number, range: offset..self.data_bytes, stamp }
    }

    /// Ends the file.
    pub(crate) fn finish(mut self) -> BuiltValues {
        self.piece.extend_from_slice(&trailer::encode(&self.lengths));
        self.payload.push(self.piece.into());
        self.file.end(ValueMeta {
            size_bytes: self.payload.iter().map(|piece| piece.len() as u64).sum(),
            data_bytes: self.data_bytes,
            content_hash: content_hash(&self.payload),
        });
        BuiltValues { file: self.file, payload: self.payload, records: self.records }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::table::{FileId, Held, Keep, KeepAll};

    #[test]
    fn no_more_records_are_held_for_the_cache_than_it_has_room_for() {
        let held = || Held::new("1.val", Arc::new(KeepAll));
        let taken = Arc::new(AtomicUsize::new(0));
        let keeping = Keeping::new(Keep::All, 5500, Arc::clone(&taken));
        for expected in [5, 0] {
            let mut builder = ValueBuilder::new(ValueFile::new(FileId(1), held()), keeping.clone());
            (0..10_u8).for_each(|key| drop(builder.add(&[key], &[key; 1000], None)));
            assert_eq!(builder.finish().records.len(), expected, "the file before has taken its room");
        }
        assert!(taken.load(Ordering::Relaxed) > 5000);
    }

    #[test]
    fn a_value_that_is_too_large_to_pack_is_written_as_the_block_it_would_be() {
        let builder = || {
            ValueBuilder::new(
                ValueFile::new(FileId(1), Held::new("1.val", Arc::new(KeepAll))),
                Keeping::default(),
            )
        };
        let (mut packed, mut large) = (builder(), builder());
        let noise: Vec<u8> = (0..2000_u32).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        packed.add(b"key", &noise, None);
        large.add_large(b"key", &noise);
        large.end_record(0, None);
        assert_eq!(packed.finish().payload.concat(), large.finish().payload.concat());
    }
}
