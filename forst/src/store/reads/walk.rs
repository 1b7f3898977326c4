//! The walk of a point read: newest to oldest, until an entry ends it or a block is missing.
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::Result;

use crate::block::Block;
use crate::entry::EntryKind;
use crate::memtable::Memtable;
use crate::scan::unfoldable;
use crate::store::Store;
use crate::table::{BlockPlace, FileId, SlimTail, TableFile, TableTail, Tail, filter_hash};
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
pub(in crate::store) struct Need {
    pub(in crate::store) object: Object,
    /// A block's or a record's number, or [`TAIL`].
    pub(in crate::store) part: u32,
    /// Where it lies.
    pub(in crate::store) range: Range<u64>,
    /// Whether it holds no entries but leads to those that do: a tail, an index block.
    pub(in crate::store) leads: bool,
    /// Of a tail: whether it may be slim.
    pub(in crate::store) slim: bool,
    /// Whether the block is the newest of several that the filters say may hold the key.
    pub(in crate::store) newest_of_several: bool,
}

impl Need {
    /// A tail; `slim` says that it need not be whole.
    pub(in crate::store) fn tail(file: &Arc<TableFile>, slim: bool) -> Self {
        let range = file.data_bytes()..file.meta.size_bytes;
        Self { leads: true, slim, ..Self::block(file, BlockPlace { number: TAIL, range }) }
    }

    pub(in crate::store) fn index_block(file: &Arc<TableFile>, place: BlockPlace) -> Self {
        Self { leads: true, ..Self::block(file, place) }
    }

    pub(in crate::store) fn block(file: &Arc<TableFile>, BlockPlace { number, range }: BlockPlace) -> Self {
        let object = Object::Table(Arc::clone(file));
        Self { object, part: number, range, leads: false, slim: false, newest_of_several: false }
    }

    pub(in crate::store) fn value(place: &ValuePlace) -> Self {
        let object = Object::Values(Arc::clone(&place.file));
        let (part, range) = (place.number, place.range.clone());
        Self { object, part, range, leads: false, slim: false, newest_of_several: false }
    }

    pub(in crate::store) fn id(&self) -> FileId {
        match &self.object {
            Object::Table(file) => file.id,
            Object::Values(file) => file.id,
        }
    }
}

/// Whose part it is.
pub(in crate::store) enum Object {
    Table(Arc<TableFile>),
    Values(Arc<ValueFile>),
}

/// The tail, as a part; no table has this many blocks.
pub(in crate::store) const TAIL: u32 = u32::MAX;

/// A block that was fetched for one read: kept with it, since the cache promises nothing.
pub(in crate::store) type GotBlock = (FileId, u32, Block);
/// A tail that was read for one read.
pub(in crate::store) type GotTail = (FileId, Arc<TableTail>);

/// What was fetched for one read.
#[derive(Clone, Copy, Default)]
pub(in crate::store) struct Got<'a> {
    pub(in crate::store) blocks: &'a [GotBlock],
    pub(in crate::store) tails: &'a [GotTail],
}

impl<'a> Got<'a> {
    /// The whole tail of a table that is slim in memory.
    pub(in crate::store) fn tail(self, file: FileId) -> Option<&'a TableTail> {
        self.tails.iter().find(|(of, _)| *of == file).map(|(_, tail)| tail.as_ref())
    }
}

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
    Missing(Part),
}

/// A part of a table that a walk misses.
enum Part {
    /// Whether it may be slim.
    Tail(bool),
    /// Which block, and whether a filter says that it leads to the key.
    Index(BlockPlace, bool),
    Block(BlockPlace),
}

impl Part {
    /// Whether nothing is known of the key in this table yet.
    fn is_first(&self) -> bool {
        matches!(self, Self::Tail(_) | Self::Index(_, false))
    }

    fn need(self, file: &Arc<TableFile>) -> Need {
        match self {
            Self::Tail(slim) => Need::tail(file, slim),
            Self::Index(place, _) => Need::index_block(file, place),
            Self::Block(place) => Need::block(file, place),
        }
    }
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
        self.walk(key, Got::default(), None)
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

    /// Newest first.
    #[inline]
    pub(super) fn memtables(&self) -> impl Iterator<Item = &Memtable> {
        std::iter::once(&self.active).chain(self.frozen.iter().rev().map(|f| f.table.as_ref()))
    }

    /// What the memtables have of a key, newest first.
    #[inline]
    fn fold_memtables<'a>(&'a self, key: &[u8], fold: &mut Fold<'a>) -> Step<'a> {
        for table in self.memtables() {
            let Some(pieces) = table.get(key) else { continue };
            for (kind, value) in pieces {
                if let Step::Base(base) = fold.add(kind, value) {
                    return Step::Base(base);
                }
            }
        }
        Step::GoOn
    }

    /// Walks down; blocks come from `got`, then from the cache. With `needs`, says which parts are missing: all tails and the
    /// index blocks of tables without a filter, and the first block that may hold the answer. A key that folds operands will
    /// want all blocks behind it as well, and so will one whose first blocks mostly turn out not to hold it.
    pub(in crate::store) fn walk<'a>(
        &'a self,
        key: &[u8],
        got: Got<'a>,
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
            let deletes = || file.tail().is_some_and(|tail| tail.deleted().covers(key));
            let (block, hot) = match self.look(file, Sought { key, hash }, is_bottom, got)? {
                Look::Block(block, hot) => (block, hot),
                Look::Nothing if deletes() => break,
                Look::Nothing => continue,
                Look::Missing(part) => {
                    let Some(needs) = &mut needs else { return Ok(Resident::Miss) };
                    missing = true;
                    let is_first = part.is_first();
                    if !is_first {
                        newest = if blocks == 0 { needs.len() } else { newest };
                        blocks += 1;
                    }
                    if is_first || blocks == 1 || self.wants_all(key) {
                        needs.push(part.need(file));
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
            self.note_exhausted(got, &fold);
            return self.finish(key, &fold, None);
        }
        if let Some(need) = needs.filter(|_| blocks > 1).and_then(|needs| needs.get_mut(newest)) {
            need.newest_of_several = !need.leads;
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
        got: Got<'a>,
    ) -> Result<Look<'a>> {
        match file.tail() {
            Some(Tail::Whole(tail)) => Ok(self.look_whole((file.id, tail), sought, is_bottom, got)),
            Some(Tail::Slim(tail)) => match got.tail(file.id) {
                Some(tail) => Ok(self.look_whole((file.id, tail), sought, is_bottom, got)),
                None => self.look_slim((file, tail), sought, is_bottom, got),
            },
            // Most keys that are asked of the bottom run are there: it can do without its filters.
            None => Ok(Look::Missing(Part::Tail(is_bottom))),
        }
    }

    #[inline]
    fn look_whole<'a>(
        &'a self,
        (file, tail): (FileId, &TableTail),
        sought: Sought<'_>,
        is_bottom: bool,
        got: Got<'a>,
    ) -> Look<'a> {
        let part = || tail.index.block_of(sought.key) as u32;
        if is_bottom
            && self.counters.bottom_has_all()
            && let Some((block, hot)) = self.block(file, part(), got)
        {
            return Look::Block(block, hot);
        }
        if !tail.may_hold(sought.hash) {
            self.counters.asked(is_bottom, false);
            return Look::Nothing;
        }
        let number = part();
        if let Some((block, hot)) = self.block(file, number, got) {
            return Look::Block(block, hot);
        }
        let range = tail.index.range(number as usize).unwrap_or_default();
        Look::Missing(Part::Block(BlockPlace { number, range }))
    }

    /// The same where the index block is a block like any other.
    #[cold]
    fn look_slim<'a>(
        &'a self,
        (file, tail): (&TableFile, &SlimTail),
        sought: Sought<'_>,
        is_bottom: bool,
        got: Got<'a>,
    ) -> Result<Look<'a>> {
        if !tail.may_hold(sought.hash) {
            self.counters.asked(is_bottom, false);
            return Ok(Look::Nothing);
        }
        let part = tail.top.part_of(sought.key);
        let place = tail.top.index_block(part);
        let Some((index, _)) = self.block(file.id, place.number, got) else {
            return Ok(Look::Missing(Part::Index(place, tail.filter.is_some())));
        };
        self.counters.slim_lookup();
        let found = tail.top.find(part, index, sought.key);
        let Some(place) = found.map_err(|e| e.context(file.place(place.range.start)))? else {
            self.counters.asked(is_bottom, false);
            return Ok(Look::Nothing);
        };
        Ok(match self.block(file.id, place.number, got) {
            Some((block, hot)) => Look::Block(block, hot),
            None => Look::Missing(Part::Block(place)),
        })
    }

    /// Counts a read that memory answered, unless blocks were fetched for it.
    #[inline]
    fn note_answered(&self, got: Got<'_>) {
        if got.blocks.is_empty() {
            self.counters.answered();
        }
    }

    /// Counts a read that has gone through all tables.
    #[inline]
    fn note_exhausted(&self, got: Got<'_>, fold: &Fold<'_>) {
        self.note_answered(got);
        if fold.first.is_none() {
            self.counters.absent();
        }
    }

    /// Whether a read fetches all blocks that may hold its key at once instead of newest first.
    fn wants_all(&self, key: &[u8]) -> bool {
        self.reads.filters_lie() || self.operators.operator(key).is_some()
    }

    /// A block, and whether it is asked for again and again.
    #[inline]
    pub(in crate::store) fn block<'a>(
        &'a self,
        file: FileId,
        part: u32,
        got: Got<'a>,
    ) -> Option<(&'a Block, bool)> {
        if part == TAIL {
            return None;
        }
        if let Some((_, _, block)) = got.blocks.iter().find(|(f, p, _)| *f == file && *p == part) {
            return Some((block, false));
        }
        let (block, hot) = self.cache.get(file, part)?;
        self.counters.memory_hit();
        Some((block, hot))
    }

    /// A record of a value file, if memory has it.
    pub(in crate::store) fn record(&self, place: &ValuePlace, got: Got<'_>) -> Option<Block> {
        let (id, number) = (place.file.id, place.number);
        if let Some((_, _, record)) = got.blocks.iter().find(|(f, p, _)| *f == id && *p == number) {
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
