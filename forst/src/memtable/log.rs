//! Reading a log: what a delta holds of a memtable, in write order, whole or in pieces as they arrive.
//!
//! **Failure**: a log that is no log is `Corruption`. What came before that was handed out.
use alluvium_env::{Error, Result};

use super::arena::{CONTINUATION, RANGE_DELETE, cut, parse, parse_continuation, record_bytes};
use crate::entry::EntryKind;

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogRecord<'a> {
    Entry(LogEntry<'a>),
    /// These bytes come behind the value that the log has of the key so far.
    Continuation {
        key: &'a [u8],
        bytes: &'a [u8],
    },
    /// The keys `start..end` are gone; an empty end is none.
    DeleteRange {
        start: &'a [u8],
        end: &'a [u8],
    },
}

/// An entry as the log holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogEntry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

/// Takes the records of a log, each with the bytes that it has there.
pub(crate) type Each<'a> = &'a mut dyn FnMut(LogRecord<'_>, usize) -> Result<()>;

/// Hands every record of a log to `each`, in write order.
pub(crate) fn read_log(log: &[u8], each: Each<'_>) -> Result<()> {
    let mut reader = LogReader::default();
    reader.read(log, each)?;
    reader.finish()
}

/// Reads a log that comes in pieces, cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct LogReader {
    /// What came of a record of which the rest is in the next piece.
    begun: Vec<u8>,
}

impl LogReader {
    /// Hands every record that ends in the next piece to `each`.
    pub(crate) fn read(&mut self, mut piece: &[u8], each: Each<'_>) -> Result<()> {
        while !self.begun.is_empty() && !piece.is_empty() {
            let missing = record_bytes(&self.begun).saturating_sub(self.begun.len());
            let (head, rest) = piece.split_at(missing.min(piece.len()));
            self.begun.extend_from_slice(head);
            piece = rest;
            // Once its header is whole, it says how long the record is.
            if self.begun.len() == record_bytes(&self.begun) {
                hand_over(&self.begun, each)?;
                self.begun.clear();
            }
        }
        while piece.len() >= record_bytes(piece) {
            piece = piece.get(hand_over(piece, each)?..).unwrap_or_default();
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    /// There are no more pieces.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.begun.is_empty() { Ok(()) } else { Err(cut()) }
    }
}

/// Hands the record at the start of `bytes` to `each`, and says how long it is.
fn hand_over(bytes: &[u8], each: Each<'_>) -> Result<usize> {
    let (kind, key, value, length) = parse(bytes)?;
    let record = match kind {
        RANGE_DELETE => LogRecord::DeleteRange { start: key, end: value },
        CONTINUATION => LogRecord::Continuation { key, bytes: parse_continuation(value)?.value },
        kind => match EntryKind::from_code(kind)? {
            EntryKind::Pointer => return Err(Error::corruption("a log has a pointer to a value file")),
            kind => LogRecord::Entry(LogEntry { kind, key, value }),
        },
    };
    each(record, length)?;
    Ok(length)
}
