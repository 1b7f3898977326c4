//! Checks and reads a delta that comes in pieces.
//!
//! Its checksum comes last, so records are handed out before it is known: whoever takes them drops what it made of them if
//! [`DeltaReader::finish`] fails.
//!
//! **Failure**: `Corruption` that names the delta. Where the checksum is wrong it says that, whatever the records were taken for.
use alluvium_env::{Error, Result};

use crate::memtable::{Each, LogReader};
use crate::store::manifest::{DELTA_FRAME_BYTES, DeltaRecord, strip_magic};

/// Bytes of the checksum.
const CRC_BYTES: u64 = 4;

/// A delta of which some came.
pub(in crate::store) struct DeltaReader<'a> {
    record: &'a DeltaRecord,
    at: u64,
    digest: crc_fast::Digest,
    crc: Vec<u8>,
    log: LogReader,
    /// What is wrong with the records.
    wrong: Option<Error>,
}

impl<'a> DeltaReader<'a> {
    pub(in crate::store) fn new(record: &'a DeltaRecord) -> Self {
        Self {
            record,
            at: 0,
            digest: crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi),
            crc: Vec::new(),
            log: LogReader::default(),
            wrong: None,
        }
    }

    /// Hands every record that ends in the next piece to `each`, if all was right so far. The first piece has the magic.
    pub(in crate::store) fn read(&mut self, piece: &[u8], each: Each<'_>) {
        let covered =
            (self.record.size_bytes - CRC_BYTES.min(self.record.size_bytes)).saturating_sub(self.at);
        let (covered, crc) = piece.split_at(piece.len().min(usize::try_from(covered).unwrap_or(usize::MAX)));
        self.digest.update(covered);
        self.crc.extend_from_slice(crc);
        if self.wrong.is_none() {
            let log = if self.at == 0 { strip_magic(covered) } else { Ok(covered) };
            self.wrong = log.and_then(|log| self.log.read(log, each)).err();
        }
        self.at += piece.len() as u64;
    }

    /// There are no more pieces.
    pub(in crate::store) fn finish(self) -> Result<()> {
        let (name, expected, got) = (&self.record.name, self.record.size_bytes, self.at);
        if got != expected {
            return Err(Error::corruption(format!("delta {name}: expected {expected} bytes, got {got}")));
        }
        let crc = self.crc.first_chunk::<4>().filter(|_| expected >= DELTA_FRAME_BYTES);
        let crc = crc.ok_or_else(|| Error::corruption(format!("delta {name} is shorter than its frame")))?;
        let (expected, found) = (u32::from_le_bytes(*crc), self.digest.finalize() as u32);
        if expected != found {
            return Err(Error::corruption(format!(
                "delta {name}: expected checksum {expected:08x}, got {found:08x}"
            )));
        }
        self.wrong.map_or_else(|| self.log.finish(), Err).map_err(|e| e.context(format!("delta {name}")))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::EntryKind;
    use crate::memtable::{LogRecord, Memtable, read_log};
    use crate::store::manifest::frame_delta;

    /// A delta with entries of many lengths, a list that grew and a deleted range.
    fn delta() -> Bytes {
        let mut table = Memtable::default();
        for length in 0..60_u8 {
            table.write(EntryKind::Put, &[length; 3], &vec![length; usize::from(length)]).unwrap();
        }
        table.delete_range(crate::key_range::KeyRange::new(&[7], &[9])).unwrap();
        table.seal();
        let mut log = table.sealed_from(0);
        log.push(crate::memtable::grown_log(b"list", [b"first", b"second", b"3rd"]));
        frame_delta(log).concat().into()
    }

    fn record(size_bytes: usize) -> DeltaRecord {
        DeltaRecord { name: "some.delta".to_owned(), size_bytes: size_bytes as u64, ..DeltaRecord::default() }
    }

    fn seen(record: LogRecord<'_>) -> String {
        format!("{record:?}")
    }

    /// The records of what comes in pieces of so many bytes, and what is said at the end.
    fn read(record: &DeltaRecord, object: &[u8], piece_bytes: usize) -> (Vec<String>, Result<()>) {
        let (mut reader, mut records) = (DeltaReader::new(record), Vec::new());
        for piece in object.chunks(piece_bytes) {
            reader.read(piece, &mut |record, _| {
                records.push(seen(record));
                Ok(())
            });
        }
        (records, reader.finish())
    }

    #[test]
    fn a_delta_in_pieces_has_the_records_of_the_whole_wherever_it_is_cut() {
        let object = delta();
        let mut whole = Vec::new();
        let log = &object[8..object.len() - 4];
        read_log(log, &mut |record, _| {
            whole.push(seen(record));
            Ok(())
        })
        .unwrap();
        assert_eq!(whole.len(), 63);
        for piece_bytes in 8..=object.len() {
            let (records, end) = read(&record(object.len()), &object, piece_bytes);
            end.unwrap();
            assert_eq!(records, whole, "in pieces of {piece_bytes}");
        }
    }

    #[test]
    fn a_flipped_bit_is_told_by_the_checksum_and_a_cut_by_the_length() {
        let object = delta();
        for at in 0..object.len() {
            let mut broken = object.to_vec();
            broken[at] ^= 0x10;
            let error = read(&record(object.len()), &broken, 100).1.unwrap_err().to_string();
            assert!(error.contains("delta some.delta: expected checksum"), "byte {at}: {error}");
            let error = read(&record(object.len()), &object[..at], 100).1.unwrap_err().to_string();
            assert!(error.contains("delta some.delta: expected"), "cut at {at}: {error}");
            // As if it had always been so short.
            let error = read(&record(at), &object[..at], 100).1.unwrap_err().to_string();
            assert!(error.contains("some.delta"), "of {at} bytes: {error}");
        }
    }

    #[test]
    fn a_log_that_ends_within_an_entry_or_is_of_no_version_says_so_behind_a_right_checksum() {
        let log = |cut: usize| {
            let log = delta().slice(8..delta().len() - 4);
            frame_delta(vec![log.slice(..log.len() - cut)]).concat()
        };
        let told = |object: &[u8]| read(&record(object.len()), object, 100).1.unwrap_err().to_string();
        assert!(told(&log(1)).contains("ends within an entry"));
        let mut other = log(0);
        other[7] = 9;
        let covered = other.len() - 4;
        let crc = crate::coding::crc32c(&other[..covered]).to_le_bytes();
        other[covered..].copy_from_slice(&crc);
        assert!(told(&other).contains("expected a log behind the magic"), "{}", told(&other));
    }
}
