//! The arena: entries in write order, in chunks that are open until a checkpoint seals them.
//!
//! An entry is `header:u64le · key · value`; the header is `value_len << 32 | key_len << 4 | kind`. A deleted range is an
//! entry of a kind of its own, whose key and value are the range's ends; so is what comes behind the value of an entry that
//! grew. This is also the format of a delta's body (`docs/formats/delta.md`).
use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::log::LogEntry;
use crate::entry::EntryKind;
use crate::key_range::KeyRange;
use crate::touch::touch;

/// Bits of a [`Location`] that are the offset within the chunk.
const OFFSET_BITS: u32 = 18;
/// A chunk's size. Small enough that sealing a started one costs little, large enough that few are needed.
const CHUNK_BYTES: usize = 1 << OFFSET_BITS;
const HEADER_BYTES: usize = 8;

/// Where an entry lies: chunk and offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(u32);

/// The kind of a deleted range in a log; the kinds of entries are below.
pub(super) const RANGE_DELETE: u64 = 4;
/// The kind of a continuation, whose value is `before:u32le · pieces:u32le · length:u32le · bytes · unused`: where the piece
/// before it lies, how many pieces there are so far, and how many bytes are its own. What is unused is room to grow.
pub(super) const CONTINUATION: u64 = 5;
/// What a continuation has before its bytes.
pub(super) const CONTINUATION_HEAD_BYTES: usize = 12;

/// An entry where it lies: all of it, or the last piece of one that grew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    /// Of a continuation [`EntryKind::Merge`]: it goes behind what is older.
    pub(super) kind: EntryKind,
    pub(super) value: &'a [u8],
    /// Where the piece before it lies.
    pub(super) before: Option<Location>,
    /// How many there are, with it.
    pub(super) pieces: u32,
    /// What its value takes, with the room behind it.
    pub(super) capacity: usize,
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

/// What a log is that ends too soon.
pub(super) fn cut() -> Error {
    Error::corruption("a log ends within an entry")
}

/// Reads kind, key and value at the start of `bytes` and says how long they are.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<(u64, &[u8], &[u8], usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or_else(cut)?;
    let head = u64::from_le_bytes(*head);
    let (key_len, value_len) = ((head >> 4 & 0xFFF_FFFF) as usize, (head >> 32) as usize);
    let (key, rest) = rest.split_at_checked(key_len).ok_or_else(cut)?;
    let (value, _) = rest.split_at_checked(value_len).ok_or_else(cut)?;
    Ok((head & 0xF, key, value, HEADER_BYTES + key_len + value_len))
}

/// The key at the start of `bytes`; an empty one if there is none.
#[inline]
fn key_of(bytes: &[u8]) -> &[u8] {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return &[] };
    rest.get(..(u64::from_le_bytes(*head) >> 4 & 0xFFF_FFFF) as usize).unwrap_or_default()
}

/// Bytes of the record that begins with these: all of it, or its header if that is not there whole.
#[inline]
pub(super) fn record_bytes(bytes: &[u8]) -> usize {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else { return HEADER_BYTES };
    let head = u64::from_le_bytes(*head);
    HEADER_BYTES + (head >> 4 & 0xFFF_FFFF) as usize + (head >> 32) as usize
}

/// Reads the value of a continuation.
pub(super) fn parse_continuation(value: &[u8]) -> Result<Piece<'_>> {
    let cut = || Error::corruption("a continuation in a log is shorter than it says");
    let (head, room) = value.split_first_chunk::<CONTINUATION_HEAD_BYTES>().ok_or_else(cut)?;
    let [b0, b1, b2, b3, p0, p1, p2, p3, l0, l1, l2, l3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    Ok(Piece {
        kind: EntryKind::Merge,
        value: room.get(..length).ok_or_else(cut)?,
        before: Some(Location(u32::from_le_bytes([b0, b1, b2, b3]))),
        pieces: u32::from_le_bytes([p0, p1, p2, p3]),
        capacity: room.len(),
    })
}

impl Arena {
    #[inline]
    fn at(&self, at: Location) -> &[u8] {
        let chunk = self.chunks.get((at.0 >> OFFSET_BITS) as usize).map_or(&[][..], Chunk::bytes);
        chunk.get(at.0 as usize & (CHUNK_BYTES - 1)..).unwrap_or_default()
    }

    /// The key of the entry here.
    #[inline]
    pub(super) fn key(&self, at: Location) -> &[u8] {
        key_of(self.at(at))
    }

    /// Whether what lies here is a piece with others before it.
    #[inline]
    pub(super) fn is_continuation(&self, at: Location) -> bool {
        let head = self.at(at).first_chunk::<HEADER_BYTES>();
        head.is_some_and(|head| u64::from_le_bytes(*head) & 0xF == CONTINUATION)
    }

    /// Loads the entry here.
    #[inline]
    pub(super) fn touch(&self, at: Location) -> u8 {
        touch(self.at(at))
    }

    /// The entry here, which is in one piece.
    #[inline]
    pub(super) fn entry(&self, at: Location) -> LogEntry<'_> {
        const NONE: LogEntry<'static> = LogEntry { kind: EntryKind::Delete, key: &[], value: &[] };
        let entry = parse(self.at(at)).and_then(|(kind, key, value, _)| {
            EntryKind::from_code(kind).map(|kind| LogEntry { kind, key, value })
        });
        debug_assert!(entry.is_ok(), "a location that this arena did not give out");
        entry.unwrap_or(NONE)
    }

    /// The entry here, or its last piece.
    #[inline]
    pub(super) fn piece(&self, at: Location) -> Piece<'_> {
        const NONE: Piece<'static> =
            Piece { kind: EntryKind::Delete, value: &[], before: None, pieces: 1, capacity: 0 };
        let piece = parse(self.at(at)).and_then(|(kind, _, value, _)| match kind {
            CONTINUATION => parse_continuation(value),
            kind => EntryKind::from_code(kind).map(|kind| Piece {
                kind,
                value,
                before: None,
                pieces: 1,
                capacity: value.len(),
            }),
        });
        debug_assert!(piece.is_ok(), "a location that this arena did not give out");
        piece.unwrap_or(NONE)
    }

    /// Puts the pieces of a value one behind the other, the last one lying here; returns the kind of the first.
    pub(super) fn join(&self, at: Location, whole: &mut Vec<u8>) -> EntryKind {
        let (mut kind, mut length, mut next) = (EntryKind::Merge, 0, Some(at));
        while let Some(at) = next {
            let piece = self.piece(at);
            (kind, next) = (piece.kind, piece.before);
            length += piece.value.len();
        }
        whole.clear();
        whole.resize(length, 0);
        let (mut rest, mut next) = (whole.as_mut_slice(), Some(at));
        while let Some(at) = next {
            let piece = self.piece(at);
            let (before, place) = rest.split_at_mut(rest.len().saturating_sub(piece.value.len()));
            place.copy_from_slice(piece.value);
            (rest, next) = (before, piece.before);
        }
        kind
    }

    /// Hands the keys of entries and continuations to `each` in write order, from a mark on; returns the mark behind the
    /// last one.
    pub(super) fn keys_from<'a>(&'a self, mark: Mark, each: &mut dyn FnMut(Location, &'a [u8])) -> Mark {
        let mut end = mark;
        for (number, chunk) in self.chunks.iter().enumerate().skip(mark.chunk) {
            let bytes = chunk.bytes();
            let mut offset = if number == mark.chunk { mark.offset } else { 0 };
            while let Ok((kind, key, _, length)) = parse(bytes.get(offset..).unwrap_or_default()) {
                if kind != RANGE_DELETE {
                    each(Location((number as u32) << OFFSET_BITS | offset as u32), key);
                }
                offset += length;
            }
            end = Mark { chunk: number, offset };
        }
        end
    }

    /// Kind and value of a record that may still change in place.
    #[inline]
    fn open_record(&mut self, at: Location) -> Option<(u64, &mut [u8])> {
        let Some(Chunk::Open(bytes)) = self.chunks.get_mut((at.0 >> OFFSET_BITS) as usize) else {
            return None;
        };
        let bytes = bytes.get_mut(at.0 as usize & (CHUNK_BYTES - 1)..)?;
        let (head, rest) = bytes.split_first_chunk_mut::<HEADER_BYTES>()?;
        let head = u64::from_le_bytes(*head);
        let (key_len, value_len) = ((head >> 4 & 0xFFF_FFFF) as usize, (head >> 32) as usize);
        Some((head & 0xF, rest.get_mut(key_len..key_len + value_len)?))
    }

    /// The value of an entry that may still change in place, and is in one piece.
    #[inline]
    pub(super) fn open_value(&mut self, at: Location) -> Option<(EntryKind, &mut [u8])> {
        let (kind, value) = self.open_record(at)?;
        Some((EntryKind::from_code(kind).ok()?, value))
    }

    /// Whether what lies here may still change in place.
    pub(super) fn is_open(&self, at: Location) -> bool {
        matches!(self.chunks.get((at.0 >> OFFSET_BITS) as usize), Some(Chunk::Open(_)))
    }

    /// Puts bytes behind those of a continuation, if its chunk is open and it has the room.
    pub(super) fn extend(&mut self, at: Location, bytes: &[u8]) -> bool {
        let Some((CONTINUATION, value)) = self.open_record(at) else { return false };
        let Some((head, room)) = value.split_first_chunk_mut::<CONTINUATION_HEAD_BYTES>() else {
            return false;
        };
        let [.., l0, l1, l2, l3] = head;
        let start = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let end = start + bytes.len();
        let Some(place) = room.get_mut(start..end) else { return false };
        place.copy_from_slice(bytes);
        [*l0, *l1, *l2, *l3] = (end as u32).to_le_bytes();
        true
    }

    /// Writes over an entry if its chunk is open and the value is as long as the old one.
    #[inline]
    pub(super) fn overwrite(&mut self, at: Location, kind: EntryKind, value: &[u8]) -> bool {
        let key_len = self.key(at).len();
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

    /// Appends a continuation of the value whose last piece lies at `before`; `room` is what it will have for its bytes.
    pub(super) fn append_continuation(
        &mut self,
        key: &[u8],
        before: Location,
        bytes: &[u8],
        room: usize,
    ) -> Result<Location> {
        let pieces = self.piece(before).pieces + 1;
        let value_len = CONTINUATION_HEAD_BYTES + room.max(bytes.len());
        let (at, chunk) = self.room_for(HEADER_BYTES + key.len() + value_len)?;
        chunk.extend_from_slice(&header(CONTINUATION, key.len(), value_len).to_le_bytes());
        chunk.extend_from_slice(key);
        for number in [before.0, pieces, bytes.len() as u32] {
            chunk.extend_from_slice(&number.to_le_bytes());
        }
        chunk.extend_from_slice(bytes);
        chunk.resize(chunk.len() + room.saturating_sub(bytes.len()), 0);
        Ok(at)
    }

    #[inline]
    fn append_record(&mut self, kind: u64, key: &[u8], value: &[u8]) -> Result<Location> {
        let (at, chunk) = self.room_for(HEADER_BYTES + key.len() + value.len())?;
        chunk.extend_from_slice(&header(kind, key.len(), value.len()).to_le_bytes());
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        Ok(at)
    }

    /// Where a record of so many bytes is to be written, and the chunk that it is to be put behind.
    #[inline]
    fn room_for(&mut self, length: usize) -> Result<(Location, &mut Vec<u8>)> {
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
        self.size_bytes += length;
        Ok((Location((chunk as u32) << OFFSET_BITS | bytes.len() as u32), bytes))
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

/// The log of a value that is put and grows twice, in a piece of twice its room.
#[cfg(test)]
pub(crate) fn grown_log(key: &[u8], [first, second, third]: [&[u8]; 3]) -> Bytes {
    let mut arena = Arena::default();
    let at = arena.append(EntryKind::Put, key, first).unwrap();
    let at = arena.append_continuation(key, at, second, first.len() * 2).unwrap();
    assert!(arena.extend(at, third));
    arena.seal();
    arena.sealed_from(0).concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read_log;
    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_replayed(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read_log(&bytes, &mut |_, _| Ok(()));
        }
    }

    #[test]
    fn a_log_that_is_cut_says_so() {
        let mut arena = Arena::default();
        let at = arena.append(EntryKind::Put, b"key", b"value").unwrap();
        arena.seal();
        arena.append_continuation(b"key", at, b"more", 6).unwrap();
        arena.seal();
        for log in arena.sealed_from(0) {
            for length in 1..log.len() {
                assert!(read_log(&log[..length], &mut |_, _| Ok(())).is_err(), "a log cut at {length}");
            }
        }
    }

    #[test]
    fn a_continuation_grows_while_it_is_open_and_has_room() {
        let mut arena = Arena::default();
        let first = arena.append(EntryKind::Put, b"key", b"one").unwrap();
        assert!(!arena.extend(first, b"two"), "an entry has no room");
        let second = arena.append_continuation(b"key", first, b"two", 8).unwrap();
        assert!(arena.extend(second, b"three") && !arena.extend(second, b"!"));
        let third = arena.append_continuation(b"key", second, b"four", 8).unwrap();
        arena.seal();
        assert!(!arena.extend(third, b"five"), "it is sealed");
        let mut whole = b"what was there".to_vec();
        assert_eq!(arena.join(third, &mut whole), EntryKind::Put);
        assert_eq!((whole.as_slice(), arena.piece(third).pieces), (b"onetwothreefour".as_slice(), 3));
    }
}
