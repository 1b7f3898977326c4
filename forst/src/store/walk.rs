//! The walk of a point read: newest to oldest, until an entry ends it or a block is missing.
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::Result;

use super::Store;
use crate::block::Block;
use crate::entry::EntryKind;
use crate::scan::unfoldable;
use crate::table::{FileId, TableFile, filter_hash};
use crate::values::{ValueFile, ValuePlace};
use crate::version::table_of;

/// What memory knows of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Resident<'a> {
    /// The value; owned only where operands of several levels had to be folded.
    Value(Cow<'a, [u8]>),
    /// The key certainly has no value.
    Absent,
    /// Only I/O can tell: start a read.
    Miss,
}

/// A part of an object that a read waits for.
pub(super) struct Need {
    pub(super) object: Object,
    /// A block's or a record's number, or [`TAIL`].
    pub(super) part: u32,
    /// Whether the block is the newest of several that the filters say may hold the key.
    pub(super) newest_of_several: bool,
}

impl Need {
    pub(super) fn new(file: &Arc<TableFile>, part: u32) -> Self {
        Self { object: Object::Table(Arc::clone(file)), part, newest_of_several: false }
    }

    pub(super) fn value(place: &ValuePlace) -> Self {
        let object = Object::Values(Arc::clone(&place.file), place.range.clone());
        Self { object, part: place.number, newest_of_several: false }
    }

    pub(super) fn id(&self) -> FileId {
        match &self.object {
            Object::Table(file) => file.id,
            Object::Values(file, _) => file.id,
        }
    }
}

/// Whose part it is.
pub(super) enum Object {
    Table(Arc<TableFile>),
    /// With the range of the record that is wanted.
    Values(Arc<ValueFile>, Range<u64>),
}

/// The tail, as a part; no table has this many blocks.
pub(super) const TAIL: u32 = u32::MAX;

/// A block that was fetched for one read: kept with it, since the cache promises nothing.
pub(super) type GotBlock = (FileId, u32, Block);

/// A key with its [`filter_hash`].
#[derive(Clone, Copy)]
struct Sought<'k> {
    key: &'k [u8],
    hash: u64,
}

/// What a table has for a key.
enum Look<'a> {
    /// The block that holds it if the table does, and whether that is asked for again and again.
    Block(&'a Block, bool),
    /// Certainly no entry.
    Nothing,
    /// A part that is not in memory.
    Missing(u32),
}

/// The entries of one key, newest first, until one ends the walk.
struct Fold<'a> {
    operands: Vec<&'a [u8]>,
    /// The first operand; most keys have no second.
    first: Option<&'a [u8]>,
}

enum Step<'a> {
    GoOn,
    Base(Option<&'a [u8]>),
    /// The base lies apart.
    Pointer,
}

impl<'a> Fold<'a> {
    #[inline]
    fn add(&mut self, kind: EntryKind, value: &'a [u8]) -> Step<'a> {
        match kind {
            EntryKind::Put => return Step::Base(Some(value)),
            EntryKind::Delete => return Step::Base(None),
            EntryKind::Pointer => return Step::Pointer,
            EntryKind::Merge if self.first.is_none() => self.first = Some(value),
            EntryKind::Merge => self.operands.push(value),
        }
        Step::GoOn
    }
}

impl Store {
    /// Asks memory: memtables and cached blocks. Never does I/O.
    ///
    /// # Errors
    /// `Corruption` if a cached block or an operand cannot be read.
    #[inline]
    pub fn get_resident(&self, key: &[u8]) -> Result<Resident<'_>> {
        self.walk(key, &[], None)
    }

    /// As [`Store::get_resident`], but a miss where most lookups of late found nothing and the memtables do not know the
    /// key: the read that then follows walks down anyway, so asking the tables now would be asked twice.
    ///
    /// # Errors
    /// As [`Store::get_resident`].
    #[inline]
    pub fn try_get(&self, key: &[u8]) -> Result<Resident<'_>> {
        if self.counters.mostly_hits() {
            return self.get_resident(key);
        }
        let mut fold = Fold { operands: Vec::new(), first: None };
        match self.fold_memtables(key, &mut fold) {
            Step::Base(base) => self.finish(key, &fold, base),
            Step::GoOn if self.version.is_empty() => self.finish(key, &fold, None),
            Step::GoOn | Step::Pointer => Ok(Resident::Miss),
        }
    }

    /// What the memtables have of a key, newest first.
    #[inline]
    fn fold_memtables<'a>(&'a self, key: &[u8], fold: &mut Fold<'a>) -> Step<'a> {
        let memtables =
            std::iter::once(&self.active).chain(self.frozen.iter().rev().map(|f| f.table.as_ref()));
        for table in memtables {
            let Some(pieces) = table.get(key) else { continue };
            for (kind, value) in pieces {
                if let Step::Base(base) = fold.add(kind, value) {
                    return Step::Base(base);
                }
            }
        }
        Step::GoOn
    }

    /// Walks down; blocks come from `got`, then from the cache. With `needs`, says which parts are missing: all tails,
    /// which are kept once they are here, and the first block that may hold the answer. A key that folds operands will
    /// want all blocks behind it as well, and so will one whose first blocks mostly turn out not to hold it.
    pub(super) fn walk<'a>(
        &'a self,
        key: &[u8],
        got: &'a [GotBlock],
        mut needs: Option<&mut Vec<Need>>,
    ) -> Result<Resident<'a>> {
        let mut fold = Fold { operands: Vec::new(), first: None };
        if let Step::Base(base) = self.fold_memtables(key, &mut fold) {
            return self.finish(key, &fold, base);
        }
        let hash = filter_hash(key);
        let (mut missing, mut newest, mut blocks) = (false, 0, 0);
        let bottom = self.version.bottom();
        for run in self.version.runs() {
            let Some(file) = table_of(run, key) else { continue };
            let is_bottom = bottom.is_some_and(|bottom| std::ptr::eq(bottom, run));
            let deletes = || file.tail().is_some_and(|tail| tail.deleted.covers(key));
            let (block, hot) = match self.look(file, Sought { key, hash }, is_bottom, got) {
                Look::Block(block, hot) => (block, hot),
                Look::Nothing if deletes() => break,
                Look::Nothing => continue,
                Look::Missing(part) => {
                    let Some(needs) = &mut needs else { return Ok(Resident::Miss) };
                    missing = true;
                    if part != TAIL {
                        newest = if blocks == 0 { needs.len() } else { newest };
                        blocks += 1;
                    }
                    if part == TAIL || blocks == 1 || self.wants_all(key) {
                        needs.push(Need::new(file, part));
                    }
                    if deletes() {
                        break;
                    }
                    continue;
                }
            };
            // What an older block holds is of no use yet to a key that does not fold.
            if missing && self.operators.operator(key).is_none() {
                continue;
            }
            let entry = block.get(key, hash, hot)?;
            self.counters.asked(is_bottom, entry.is_some());
            if let Some((kind, value)) = entry {
                match fold.add(kind, value) {
                    Step::GoOn => {}
                    Step::Base(_) | Step::Pointer if missing => break,
                    Step::Base(base) => {
                        self.note_answered(got);
                        return self.finish(key, &fold, base);
                    }
                    Step::Pointer => {
                        let place = ValuePlace::decode(value, file.values())?;
                        let Some((record, _)) = self.block(place.file.id, place.number, got) else {
                            if let Some(needs) = needs {
                                needs.push(Need::value(&place));
                            }
                            return Ok(Resident::Miss);
                        };
                        self.note_answered(got);
                        return self.finish(key, &fold, Some(place.value_in(record, key)?));
                    }
                }
            }
            if deletes() {
                break;
            }
        }
        if !missing {
            self.note_answered(got);
            return self.finish(key, &fold, None);
        }
        if let Some(need) = needs.filter(|_| blocks > 1).and_then(|needs| needs.get_mut(newest)) {
            need.newest_of_several = true;
        }
        Ok(Resident::Miss)
    }

    /// Looks what a table has for a key. A filter is asked first, but for the one of the bottom run where nearly all keys are
    /// there: then the block, if it is in memory, is as quickly asked itself.
    #[inline]
    fn look<'a>(
        &'a self,
        file: &Arc<TableFile>,
        sought: Sought<'_>,
        is_bottom: bool,
        got: &'a [GotBlock],
    ) -> Look<'a> {
        let Some(tail) = file.tail() else { return Look::Missing(TAIL) };
        let part = || tail.index.block_of(sought.key) as u32;
        if is_bottom
            && self.counters.bottom_has_all()
            && let Some((block, hot)) = self.block(file.id, part(), got)
        {
            return Look::Block(block, hot);
        }
        if !tail.may_hold(sought.hash) {
            self.counters.asked(is_bottom, false);
            return Look::Nothing;
        }
        let part = part();
        self.block(file.id, part, got).map_or(Look::Missing(part), |(block, hot)| Look::Block(block, hot))
    }

    /// Counts a read that memory answered, unless blocks were fetched for it.
    #[inline]
    fn note_answered(&self, got: &[GotBlock]) {
        if got.is_empty() {
            self.counters.answered();
        }
    }

    /// Whether a read fetches all blocks that may hold its key at once instead of newest first.
    fn wants_all(&self, key: &[u8]) -> bool {
        self.reads.filters_lie() || self.operators.operator(key).is_some()
    }

    /// A block, and whether it is asked for again and again.
    #[inline]
    pub(super) fn block<'a>(
        &'a self,
        file: FileId,
        part: u32,
        got: &'a [GotBlock],
    ) -> Option<(&'a Block, bool)> {
        if part == TAIL {
            return None;
        }
        if let Some((_, _, block)) = got.iter().find(|(f, p, _)| *f == file && *p == part) {
            return Some((block, false));
        }
        let (block, hot) = self.cache.get(file, part)?;
        self.counters.memory_hit();
        Some((block, hot))
    }

    /// A record of a value file, if memory has it.
    pub(super) fn record(&self, place: &ValuePlace, got: &[GotBlock]) -> Option<Block> {
        let (id, number) = (place.file.id, place.number);
        if let Some((_, _, record)) = got.iter().find(|(f, p, _)| *f == id && *p == number) {
            return Some(record.clone());
        }
        let (record, _) = self.cache.get(id, number)?;
        self.counters.memory_hit();
        Some(record.clone())
    }

    /// Folds the operands, oldest first, onto the base.
    #[inline]
    fn finish<'a>(&self, key: &[u8], fold: &Fold<'a>, base: Option<&'a [u8]>) -> Result<Resident<'a>> {
        let Some(first) = fold.first else {
            return Ok(base.map_or(Resident::Absent, |value| Resident::Value(Cow::Borrowed(value))));
        };
        let mut older = base.into_iter().chain(fold.operands.iter().rev().copied());
        let length = older.clone().map(<[u8]>::len).sum::<usize>() + first.len();
        let Some(oldest) = older.next() else { return Ok(Resident::Value(Cow::Borrowed(first))) };
        let operator = self.operators.operator(key).ok_or_else(|| unfoldable(key))?;
        let mut value = Vec::with_capacity(if operator.concatenates() { length } else { oldest.len() });
        value.extend_from_slice(oldest);
        for operand in older.chain([first]) {
            operator.merge(&mut value, operand)?;
        }
        Ok(Resident::Value(Cow::Owned(value)))
    }
}
