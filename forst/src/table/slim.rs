//! A tail in one of its two forms: whole, or slim where memory is short.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::Result;

use super::filter::Filter;
use super::tail::{Properties, TableTail, TailLayout};
use super::top::Top;
use crate::deleted::DeletedRanges;

/// What stays of a tail that is too much for memory: where its index blocks are, the deleted ranges, and the filter if there is
/// room for it.
#[derive(Debug)]
pub(crate) struct SlimTail {
    /// Answers "perhaps" to every key where there was no room.
    pub(crate) filter: Filter,
    pub(crate) top: Arc<Top>,
    pub(crate) deleted: Arc<DeletedRanges>,
}

impl SlimTail {
    /// Reads it, without a filter, out of the last bytes of a table of so many, with the properties; `None` if they are too few, or
    /// the table's index does not lie in blocks.
    pub(crate) fn of_end(end: &[u8], table_bytes: u64) -> Result<Option<(Self, Properties)>> {
        let layout = TailLayout::of(table_bytes, end)?;
        let start = table_bytes.saturating_sub(end.len() as u64);
        if !layout.has_index_blocks || layout.properties.start < start {
            return Ok(None);
        }
        let section = |range: &Range<u64>| {
            end.get((range.start - start) as usize..(range.end - start) as usize).unwrap_or_default()
        };
        let mut properties = Properties::read(section(&layout.properties))?;
        let deleted = Arc::new(DeletedRanges::read(section(&layout.deleted))?);
        let top = Arc::new(properties.take_top(layout.data_bytes(), layout.index)?);
        Ok(Some((Self { filter: Filter::default(), top, deleted }, properties)))
    }

    /// Whether an entry of the key with this [`super::filter_hash`] may be in the table.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_contain(hash) && self.top.blocks() > 0
    }
}

/// What is in memory of a table's tail.
#[derive(Clone, Debug)]
pub(crate) enum Tail {
    Whole(Arc<TableTail>),
    Slim(Arc<SlimTail>),
}

impl Tail {
    /// The slim form of a tail; `None` for one whose index does not lie in blocks.
    pub(crate) fn slim(tail: &TableTail, with_filter: bool) -> Option<Self> {
        if tail.top.parts() == 0 {
            return None;
        }
        let filter = if with_filter { tail.filter.clone() } else { Filter::default() };
        let (top, deleted) = (Arc::clone(&tail.top), Arc::clone(&tail.deleted));
        Some(Self::Slim(Arc::new(SlimTail { filter, top, deleted })))
    }

    /// The same with another filter, or none.
    pub(crate) fn with_filter(&self, filter: Filter) -> Self {
        match self {
            Self::Whole(tail) => {
                let TableTail { filter: _, index, properties, deleted, top } = tail.as_ref();
                let (index, properties) = (Arc::clone(index), Arc::clone(properties));
                let (deleted, top) = (Arc::clone(deleted), Arc::clone(top));
                Self::Whole(Arc::new(TableTail { filter, index, properties, deleted, top }))
            }
            Self::Slim(tail) => {
                let (top, deleted) = (Arc::clone(&tail.top), Arc::clone(&tail.deleted));
                Self::Slim(Arc::new(SlimTail { filter, top, deleted }))
            }
        }
    }

    /// Where it lies: of two tails in memory no two have the same.
    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Whole(tail) => Arc::as_ptr(tail).addr(),
            Self::Slim(tail) => Arc::as_ptr(tail).addr(),
        }
    }

    pub(crate) fn filter(&self) -> &Filter {
        match self {
            Self::Whole(tail) => &tail.filter,
            Self::Slim(tail) => &tail.filter,
        }
    }

    pub(crate) fn top(&self) -> &Top {
        match self {
            Self::Whole(tail) => &tail.top,
            Self::Slim(tail) => &tail.top,
        }
    }

    pub(crate) fn deleted(&self) -> &DeletedRanges {
        match self {
            Self::Whole(tail) => &tail.deleted,
            Self::Slim(tail) => &tail.deleted,
        }
    }

    /// What of it stays when it gives up filter and index.
    pub(crate) fn least_bytes(&self) -> usize {
        let gives_index = self.top().parts() > 0;
        let least = size_of::<SlimTail>() + self.top().size_bytes() + self.deleted().size_bytes();
        if gives_index { least } else { self.size_bytes() - self.filter().size_bytes() }
    }

    /// How many data blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        match self {
            Self::Whole(tail) => tail.index.blocks(),
            Self::Slim(tail) => tail.top.blocks(),
        }
    }

    /// Into how many pieces of about a size it divides the data blocks.
    pub(crate) fn grains(&self) -> usize {
        match self {
            Self::Whole(tail) => tail.index.blocks(),
            Self::Slim(tail) => tail.top.parts(),
        }
    }

    /// The data block with `key`, among the table's data: with all that its index block knows of for a slim one.
    pub(crate) fn grain_of(&self, key: &[u8]) -> Range<u64> {
        match self {
            Self::Whole(tail) => tail.index.range(tail.index.block_of(key)).unwrap_or_default(),
            Self::Slim(tail) => tail.top.grain_of(key),
        }
    }

    /// Whether a block whose first key this is can be the one of its number, as far as memory knows: a slim tail tells the blocks
    /// of one index block apart from all others, but not from each other. Of those only one of the very same length gets as far as here,
    /// since a checksum ends each; to tell them apart as well, every read of a slim table would have to bring its index block along.
    pub(crate) fn may_begin(&self, number: usize, first: &[u8]) -> bool {
        match self {
            Self::Whole(tail) => tail.may_begin(number, first),
            Self::Slim(tail) => tail.top.may_begin(number, first),
        }
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        match self {
            Self::Whole(tail) => tail.size_bytes(),
            Self::Slim(tail) => {
                size_of::<SlimTail>()
                    + tail.filter.size_bytes()
                    + tail.top.size_bytes()
                    + tail.deleted.size_bytes()
            }
        }
    }
}

impl From<Arc<TableTail>> for Tail {
    fn from(tail: Arc<TableTail>) -> Self {
        Self::Whole(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::entry::EntryKind;
    use crate::expiry::Ages;
    use crate::key_range::KeyRange;
    use crate::table::{BuiltTable, FileId, FileMeta, Held, KeepAll, TableBuilder, TableFile, TableOptions};

    const ENTRIES: u32 = 1000;

    fn built() -> BuiltTable {
        let (block_size_bytes, table_size_bytes) = (512, 1 << 20);
        let options = TableOptions { block_size_bytes, table_size_bytes, compression: Compression::Lz4 };
        let mut builder = TableBuilder::new(options);
        for number in 0..ENTRIES {
            builder.add(EntryKind::Put, &number.to_be_bytes(), b"value");
        }
        builder.finish(DeletedRanges::default()).unwrap()
    }

    #[test]
    fn what_a_part_of_a_table_has_is_told_within_what_its_tail_knows() {
        let BuiltTable { payload, tail, keys, tail_bytes, .. } = built();
        let meta = FileMeta {
            size_bytes: payload.iter().map(|piece| piece.len() as u64).sum(),
            tail_bytes,
            keys,
            entries: u64::from(ENTRIES),
            deletes: 0,
            content_hash: 1,
            deleted_ranges: 0,
            ages: Ages::default(),
        };
        let slim = Tail::slim(&tail, false).unwrap();
        assert!(slim.grains() * 8 <= tail.index.blocks(), "a slim tail tells few blocks apart");
        for (kept, most_percent) in [(slim, 200), (Tail::Whole(Arc::clone(&tail)), 130)] {
            let held = Held::new("1.sst", Arc::new(KeepAll));
            let file = Arc::new(TableFile::new(FileId(1), meta.clone(), KeyRange::default(), held));
            file.set_tail(kept);
            for parts in [2_u32, 3, 5] {
                let end = |part: u32| (ENTRIES * part / parts).to_be_bytes();
                let pieces: Vec<u64> = (0..parts)
                    .map(|part| KeyRange::new(&end(part), &end(part + 1)))
                    .map(|keys| file.bytes_within(&keys, parts as usize))
                    .collect();
                let fair = file.data_bytes() / u64::from(parts);
                let is_about =
                    |bytes: &u64| fair * 100 <= bytes * most_percent && bytes * 100 <= fair * most_percent;
                assert!(pieces.iter().all(is_about), "{pieces:?} of {}", file.data_bytes());
            }
        }
    }

    #[test]
    fn what_stays_of_a_tail_is_shared_with_what_it_was_and_not_copied() {
        let whole = built().tail;
        let Some(Tail::Slim(slim)) = Tail::slim(&whole, true) else { panic!("its index lies in blocks") };
        assert!(slim.filter.is_shared_with(&whole.filter));
        assert!(Arc::ptr_eq(&slim.top, &whole.top) && Arc::ptr_eq(&slim.deleted, &whole.deleted));
        let Tail::Whole(rest) = Tail::Whole(Arc::clone(&whole)).with_filter(Filter::default()) else {
            panic!("it has its index")
        };
        assert!(Arc::ptr_eq(&rest.index, &whole.index) && Arc::ptr_eq(&rest.properties, &whole.properties));
        assert!(Arc::ptr_eq(&rest.top, &whole.top) && Arc::ptr_eq(&rest.deleted, &whole.deleted));
    }
}
