//! Values that grow: what is put behind a value lies in pieces, so that an append does not copy what is there.
//!
//! A value whose operator concatenates begins as an entry. What comes behind it while no checkpoint has read it goes into the
//! room of its last piece, and each new piece has twice the room of the one before; what comes after a checkpoint is a new
//! piece. So a log holds what was appended about once, and a list of n elements has O(log n) pieces for each checkpoint
//! that it grew between. Once the pieces behind the first have as many bytes as it, all are copied into one.
use alluvium_env::Result;

use super::arena::{Arena, Location, Piece};
use super::{LogEntry, Memtable};
use crate::entry::EntryKind;

/// A value up to this is copied: a piece of its own would take as much.
const SMALL_BYTES: usize = 64;
/// So many pieces may be, before it is asked whether to make one of them; it is asked whenever they have doubled.
const MANY_PIECES: u32 = 8;
/// The most room that a piece is given beyond its bytes.
const MAX_ROOM_BYTES: usize = 64 << 10;

/// What a memtable has of a key, newest first: one entry, or the pieces of a value that grew.
pub(crate) struct Pieces<'a> {
    arena: &'a Arena,
    next: Option<(EntryKind, &'a [u8])>,
    before: Option<Location>,
}

impl<'a> Pieces<'a> {
    #[inline]
    pub(super) fn new(arena: &'a Arena, last: Piece<'a>) -> Self {
        Self { arena, next: Some((last.kind, last.value)), before: last.before }
    }

    /// A delete.
    #[inline]
    pub(super) fn deleted(arena: &'a Arena) -> Self {
        Self { arena, next: Some((EntryKind::Delete, &[])), before: None }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = (EntryKind, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let here = self.next.take();
        if let Some(at) = self.before {
            let piece = self.arena.piece(at);
            (self.next, self.before) = (Some((piece.kind, piece.value)), piece.before);
        }
        here
    }
}

/// Where a cursor is: an entry, put together if it lies in pieces.
#[derive(Debug, Default)]
pub(super) struct Here {
    at: Option<Location>,
    /// The kind and, in `whole`, the value of one in pieces.
    joined: Option<EntryKind>,
    whole: Vec<u8>,
}

impl Here {
    /// Goes to an entry.
    #[inline]
    pub(super) fn go(&mut self, table: &Memtable, at: Location) {
        let in_pieces = table.arena.is_continuation(at);
        self.joined = if in_pieces { Some(table.arena.join(at, &mut self.whole)) } else { None };
        self.at = Some(at);
    }

    /// There is no entry any more.
    pub(super) fn leave(&mut self) {
        self.at = None;
    }

    /// The entry here.
    #[inline]
    pub(super) fn entry<'a>(&'a self, table: &'a Memtable) -> Option<LogEntry<'a>> {
        let at = self.at?;
        Some(match self.joined {
            None => table.arena.entry(at),
            Some(kind) => LogEntry { kind, key: table.arena.key(at), value: &self.whole },
        })
    }
}

impl Memtable {
    /// Puts bytes behind the value whose last piece lies at `at`; it is neither deleted nor hidden.
    pub(super) fn grow(&mut self, hash: u32, at: Location, key: &[u8], bytes: &[u8]) -> Result<()> {
        let is_open = self.deletions.are_before(at) && self.arena.is_open(at);
        if is_open && self.arena.extend(at, bytes) {
            return Ok(());
        }
        let last = self.arena.piece(at);
        let new = if self.is_to_be_one(at, last) {
            let mut whole = Vec::new();
            let kind = self.arena.join(at, &mut whole);
            whole.extend_from_slice(bytes);
            self.arena.append(kind, key, &whole)?
        } else {
            let room = if is_open { last.capacity.saturating_mul(2).min(MAX_ROOM_BYTES) } else { 0 };
            self.arena.append_continuation(key, at, bytes, room.max(bytes.len()))?
        };
        self.point((hash, key), at, new);
        Ok(())
    }

    /// Whether to copy a value before more comes behind it.
    fn is_to_be_one(&self, at: Location, last: Piece<'_>) -> bool {
        if last.pieces == 1 {
            return last.value.len() <= SMALL_BYTES;
        }
        if last.pieces < MANY_PIECES || !last.pieces.is_power_of_two() {
            return false;
        }
        let (mut all, mut first, mut next) = (0, 0, Some(at));
        while let Some(at) = next {
            let piece = self.arena.piece(at);
            (first, next) = (piece.value.len(), piece.before);
            all += first;
        }
        all >= 2 * first
    }
}
