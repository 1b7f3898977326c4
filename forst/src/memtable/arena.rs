//! The arena: entries in write order, in chunks that are open until a checkpoint seals them.
//!
//! An entry is `header:u64le · key · value`; the header is `value_len << 32 | key_len << 4 | kind`. A deleted range is an
//! entry of a kind of its own, whose key and value are the range's ends. This is also the format of a delta's body
//! (`docs/formats/delta.md`).
use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::entry::EntryKind;
use crate::key_range::KeyRange;

/// Bits of a [`Location`] that are the offset within the chunk.
const OFFSET_BITS: u32 = 18;
/// A chunk's size. Small enough that sealing a started one costs little, large enough that few are needed.
const CHUNK_BYTES: usize = 1 << OFFSET_BITS;
const HEADER_BYTES: usize = 8;

/// Where an entry lies: chunk and offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(u32);

/// The kind of a deleted range in a log; the kinds of entries are below.
const RANGE_DELETE: u64 = 4;

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogRecord<'a> {
    Entry(LogEntry<'a>),
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

/// A place between two entries of an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    chunk: usize,
    offset: usize,
}

#[derive(Debug)]
enum Chunk {
    Open(Vec<u8>),
    Sealed(Bytes),
}

impl Chunk {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(bytes) => bytes,
            Self::Sealed(bytes) => bytes,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// The first chunk that is open.
    open: usize,
    size_bytes: usize,
}

#[inline]
fn header(kind: u64, key: usize, value: usize) -> u64 {
    (value as u64) << 32 | (key as u64) << 4 | kind
}

/// Reads kind, key and value at the start of `bytes` and says how long they are.
#[inline]
fn parse(bytes: &[u8]) -> Result<(u64, &[u8], &[u8], usize)> {
    let cut = || Error::corruption("a log ends within an entry");
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(cut)?;
    let head = u64::from_le_bytes(*head);
    let (key_len, value_len) = ((head >> 4 & 0xFFF_FFFF) as usize, (head >> 32) as usize);
    let (key, rest) = rest.split_at_checked(key_len).ok_or_else(cut)?;
    let (value, _) = rest.split_at_checked(value_len).ok_or_else(cut)?;
    Ok((head & 0xF, key, value, HEADER_BYTES + key_len + value_len))
}

/// Hands every record of a log to `each`, in write order.
pub(crate) fn read_log(mut log: &[u8], each: &mut dyn FnMut(LogRecord<'_>) -> Result<()>) -> Result<()> {
    while !log.is_empty() {
        let (kind, key, value, length) = parse(log)?;
        each(match kind {
            RANGE_DELETE => LogRecord::DeleteRange { start: key, end: value },
            kind => match EntryKind::from_code(kind)? {
                EntryKind::Pointer => return Err(Error::corruption("a log has a pointer to a value file")),
                kind => LogRecord::Entry(LogEntry { kind, key, value }),
            },
        })?;
        log = log.get(length..).unwrap_or_default();
    }
    Ok(())
}

impl Arena {
    #[inline]
    fn at(&self, at: Location) -> &[u8] {
        let chunk = self.chunks.get((at.0 >> OFFSET_BITS) as usize).map_or(&[][..], Chunk::bytes);
        chunk.get(at.0 as usize & (CHUNK_BYTES - 1)..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn entry(&self, at: Location) -> LogEntry<'_> {
        const NONE: LogEntry<'static> = LogEntry { kind: EntryKind::Delete, key: &[], value: &[] };
        let entry = parse(self.at(at)).and_then(|(kind, key, value, _)| {
            EntryKind::from_code(kind).map(|kind| LogEntry { kind, key, value })
        });
        debug_assert!(entry.is_ok(), "a location that this arena did not give out");
        entry.unwrap_or(NONE)
    }

    /// Hands entries to `each` in write order, from a mark on; returns the mark behind the last one.
    pub(super) fn entries_from<'a>(
        &'a self,
        mark: Mark,
        each: &mut dyn FnMut(Location, LogEntry<'a>),
    ) -> Mark {
        let mut end = mark;
        for (number, chunk) in self.chunks.iter().enumerate().skip(mark.chunk) {
            let bytes = chunk.bytes();
            let mut offset = if number == mark.chunk { mark.offset } else { 0 };
            while let Ok((kind, key, value, length)) = parse(bytes.get(offset..).unwrap_or_default()) {
                if let Ok(kind) = EntryKind::from_code(kind) {
                    let at = Location((number as u32) << OFFSET_BITS | offset as u32);
                    each(at, LogEntry { kind, key, value });
                }
                offset += length;
            }
            end = Mark { chunk: number, offset };
        }
        end
    }

    /// The value of an entry that may still change in place.
    #[inline]
    pub(super) fn open_value(&mut self, at: Location) -> Option<(EntryKind, &mut [u8])> {
        let Some(Chunk::Open(bytes)) = self.chunks.get_mut((at.0 >> OFFSET_BITS) as usize) else {
            return None;
        };
        let bytes = bytes.get_mut(at.0 as usize & (CHUNK_BYTES - 1)..)?;
        let (head, rest) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
        let head = u64::from_le_bytes(*head);
        let kind = EntryKind::from_code(head & 0xF).ok()?;
        let (key_len, value_len) = ((head >> 4 & 0xFFF_FFFF) as usize, (head >> 32) as usize);
        Some((kind, rest.get_mut(key_len..key_len + value_len)?))
    }

    /// Writes over an entry if its chunk is open and the value is as long as the old one.
    #[inline]
    pub(super) fn overwrite(&mut self, at: Location, kind: EntryKind, value: &[u8]) -> bool {
        let key_len = self.entry(at).key.len();
        match self.open_value(at) {
            Some((_, old)) if old.len() == value.len() => old.copy_from_slice(value),
            _ => return false,
        }
        let Some(Chunk::Open(bytes)) = self.chunks.get_mut((at.0 >> OFFSET_BITS) as usize) else {
            return false;
        };
        let start = at.0 as usize & (CHUNK_BYTES - 1);
        if let Some(head) = bytes.get_mut(start..start + HEADER_BYTES) {
            head.copy_from_slice(&header(kind as u64, key_len, value.len()).to_le_bytes());
        }
        true
    }

    /// Appends an entry.
    #[inline]
    pub(super) fn append(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<Location> {
        self.append_record(kind as u64, key, value)
    }

    /// Appends a deleted range.
    pub(super) fn append_range(&mut self, range: &KeyRange) -> Result<Location> {
        self.append_record(RANGE_DELETE, &range.start, &range.end)
    }

    fn append_record(&mut self, kind: u64, key: &[u8], value: &[u8]) -> Result<Location> {
        let length = HEADER_BYTES + key.len() + value.len();
        let fits = match self.chunks.last() {
            Some(Chunk::Open(bytes)) => bytes.len() + length <= CHUNK_BYTES,
            _ => false,
        };
        if !fits {
            if self.chunks.len() >= 1 << (32 - OFFSET_BITS) {
                return Err(Error::invalid(
                    "a memtable passed 4 GiB; give the store less memory or more subtasks",
                ));
            }
            self.chunks.push(Chunk::Open(Vec::with_capacity(CHUNK_BYTES.max(length))));
        }
        let chunk = self.chunks.len() - 1;
        let Some(Chunk::Open(bytes)) = self.chunks.last_mut() else {
            return Err(Error::internal("the last chunk of a memtable is sealed"));
        };
        let at = Location((chunk as u32) << OFFSET_BITS | bytes.len() as u32);
        bytes.extend_from_slice(&header(kind, key.len(), value.len()).to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        self.size_bytes += length;
        Ok(at)
    }

    pub(super) fn seal(&mut self) {
        for chunk in self.chunks.iter_mut().skip(self.open) {
            if let Chunk::Open(bytes) = chunk {
                let mut bytes = std::mem::take(bytes);
                let capacity = bytes.capacity();
                // At most one chunk a seal is much emptier than its buffer, so this copies at most half a chunk.
                if bytes.len() < capacity / 2 {
                    bytes.shrink_to_fit();
                }
                self.size_bytes += bytes.capacity() - bytes.len();
                *chunk = Chunk::Sealed(bytes.into());
            }
        }
        self.open = self.chunks.len();
    }

    pub(super) fn sealed_from(&self, from: usize) -> Vec<Bytes> {
        let sealed = |chunk: &Chunk| match chunk {
            Chunk::Sealed(bytes) => Some(bytes.clone()),
            Chunk::Open(_) => None,
        };
        self.chunks.iter().skip(from).filter_map(sealed).collect()
    }

    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Entries, and what sealed chunks have allocated beyond theirs.
    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_replayed(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_log(&bytes, &mut |_| Ok(()));
        }
    }

    #[test]
    fn a_log_that_is_cut_says_so() {
        let mut arena = Arena::default();
        arena.append(EntryKind::Put, b"key", b"value").unwrap();
        arena.seal();
        let log = arena.sealed_from(0).concat();
        for length in 1..log.len() {
            assert!(read_log(&log[..length], &mut |_| Ok(())).is_err(), "a log cut at {length}");
        }
    }
}
