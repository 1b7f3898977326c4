//! What to fetch in which order: the blocks of a hint that a version has, in portions of one request each, hottest first.
use std::sync::{Arc, Weak};

use alluvium_env::HashMap;

use super::{HotRun, HotTable, blocks_of};
use crate::table::{FileId, TableFile, Which};
use crate::version::Version;

/// A stored block takes more than this: checksum, kind of compression, an entry.
const LEAST_BLOCK_BYTES: u64 = 8;
/// Whatever a hint says, a plan stays small beside the memory it is for.
const MAX_PORTIONS: usize = 1 << 16;

/// Blocks of one table that lie close together.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) id: FileId,
    /// A table that has gone meanwhile is not kept for it.
    pub(crate) file: Weak<TableFile>,
    /// The table, whatever of its tail is in memory.
    which: Weak<Which>,
    /// Ascending; they end within the number of blocks that a portion may span.
    pub(crate) runs: Vec<HotRun>,
}

impl Portion {
    /// Blocks that are wanted.
    pub(crate) fn blocks(&self) -> u64 {
        blocks_of(&self.runs)
    }

    /// Keeps the blocks that are wanted, and no more than so many.
    pub(crate) fn keep(&mut self, most: u64, wanted: impl Fn(u32) -> bool) {
        let mut kept = HotTable::new(0);
        let blocks = self.runs.iter().flat_map(|run| (run.first..run.end()).map(|block| (block, run.heat)));
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        blocks
            .filter(|(block, _)| wanted(*block))
            .take(most)
            .for_each(|(block, heat)| kept.push(block, heat));
        self.runs = kept.runs;
    }

    /// How hot it is all in all: one request brings all of it.
    fn heat(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.blocks) * (run.heat as u64 + 1)).sum()
    }
}

/// Finds the tables of portions again, as far as they are there: memory has more or less of their tails than it had.
pub(crate) fn point_at<'a>(version: &Version, portions: impl Iterator<Item = &'a mut Portion>) {
    let is_lost =
        |portion: &&mut Portion| portion.file.strong_count() == 0 && portion.which.strong_count() > 0;
    let mut lost = portions.filter(is_lost).peekable();
    if lost.peek().is_none() {
        return;
    }
    let files: HashMap<*const Which, &Arc<TableFile>> =
        version.files().map(|(_, file)| (Arc::as_ptr(file.which()), file)).collect();
    for portion in lost {
        portion.file = files.get(&portion.which.as_ptr()).map_or_else(Weak::new, |file| Arc::downgrade(file));
    }
}

/// Portions that span at most `span_blocks` each and hold `most_blocks` together, hottest first. A table that several
/// references share is planned for each; what a clip hides of it is known once its index is.
pub(crate) fn plan(hint: &[HotTable], version: &Version, span_blocks: u32, most_blocks: u64) -> Vec<Portion> {
    let mut files: HashMap<u64, Vec<&Arc<TableFile>>> = HashMap::default();
    for (_, file) in version.files().filter(|(_, file)| file.meta.content_hash != 0) {
        files.entry(file.meta.content_hash).or_default().push(file);
    }
    let mut portions = Vec::new();
    for table in hint {
        for file in files.get(&table.content_hash).into_iter().flatten() {
            cut(file, &table.runs, span_blocks.max(1), &mut portions);
        }
    }
    portions.sort_by_key(|portion| std::cmp::Reverse(portion.heat()));
    let mut left = most_blocks;
    portions.retain(|portion| {
        let blocks = portion.blocks();
        let fits = blocks <= left;
        left = left.saturating_sub(blocks);
        fits
    });
    portions
}

/// Cuts runs where a portion would span too much.
fn cut(file: &Arc<TableFile>, runs: &[HotRun], span_blocks: u32, portions: &mut Vec<Portion>) {
    let end = u32::try_from(file.data_bytes() / LEAST_BLOCK_BYTES).unwrap_or(u32::MAX);
    let new = || Portion {
        id: file.id,
        file: Arc::downgrade(file),
        which: Arc::downgrade(file.which()),
        runs: Vec::new(),
    };
    let mut portion = new();
    for run in runs {
        let (mut first, end) = (run.first, run.end().min(end));
        while first < end && portions.len() < MAX_PORTIONS {
            let start = portion.runs.first().map_or(first, |run| run.first);
            let most = start.saturating_add(span_blocks);
            if first >= most {
                portions.push(std::mem::replace(&mut portion, new()));
                continue;
            }
            let blocks = end.min(most) - first;
            portion.runs.push(HotRun { first, blocks, heat: run.heat });
            first += blocks;
        }
    }
    if !portion.runs.is_empty() {
        portions.push(portion);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expiry::Ages;
    use crate::hint::Heat;
    use crate::key_range::KeyRange;
    use crate::table::{FileMeta, Filter, Held, KeepAll, SlimTail, Tail};

    fn version(hashes: &[u64]) -> Version {
        let file = |(id, content_hash): (usize, &u64)| {
            let key = |key: usize| (key as u16).to_be_bytes();
            let meta = FileMeta {
                size_bytes: 9000,
                tail_bytes: 1000,
                keys: KeyRange::new(&key(id * 2), &key(id * 2 + 1)),
                entries: 1,
                deletes: 0,
                content_hash: *content_hash,
                deleted_ranges: 0,
                ages: Ages::default(),
            };
            let held = Held::new("a.sst", Arc::new(KeepAll));
            Arc::new(TableFile::new(FileId(id as u64), meta, KeyRange::default(), held))
        };
        let mut version = Version::default();
        version.levels[5] = hashes.iter().enumerate().map(file).collect();
        version
    }

    fn table(content_hash: u64, blocks: impl IntoIterator<Item = (u32, Heat)>) -> HotTable {
        let mut table = HotTable::new(content_hash);
        blocks.into_iter().for_each(|(block, heat)| table.push(block, heat));
        table
    }

    fn shown(portions: &[Portion]) -> Vec<(u64, Vec<(u32, u32)>)> {
        let runs = |portion: &Portion| portion.runs.iter().map(|run| (run.first, run.blocks)).collect();
        portions.iter().map(|portion| (portion.id.0, runs(portion))).collect()
    }

    #[test]
    fn neighbours_go_together_and_the_hottest_first() {
        let version = version(&[7, 8]);
        let cold = table(7, (0..4).map(|block| (block, Heat::Seen)));
        let hot = table(8, [(3, Heat::Often), (5, Heat::Often), (9, Heat::Again), (40, Heat::Seen)]);
        let portions = plan(&[cold.clone(), hot.clone()], &version, 10, 100);
        let expected = [(1, vec![(3, 1), (5, 1), (9, 1)]), (0, vec![(0, 4)]), (1, vec![(40, 1)])];
        assert_eq!(shown(&portions), expected);
        assert_eq!(
            shown(&plan(&[cold, hot], &version, 10, 3)),
            expected[..1],
            "no more than there is room for"
        );
    }

    #[test]
    fn portions_find_their_tables_when_memory_has_other_tails_of_them() {
        let version = version(&[7, 8]);
        let mut portions =
            plan(&[table(7, [(0, Heat::Seen)]), table(8, [(0, Heat::Seen)])], &version, 10, 100);
        let (filter, top, deleted) = (Filter::default(), Arc::default(), Arc::default());
        let tail = Tail::Slim(Arc::new(SlimTail { filter, top, deleted }));
        let mut next = version.with_tails(&[(FileId(0), tail)].into_iter().collect());
        // The other one goes.
        next.levels[5].truncate(1);
        drop(version);
        assert!(portions.iter().all(|portion| portion.file.upgrade().is_none()));
        point_at(&next, portions.iter_mut());
        let found: Vec<_> =
            portions.iter().map(|portion| portion.file.upgrade().map(|file| file.id)).collect();
        assert_eq!(found, [Some(FileId(0)), None]);
    }

    #[test]
    fn what_no_table_has_is_not_planned() {
        let version = version(&[7, 0]);
        let unknown = table(9, [(1, Heat::Often)]);
        // A manifest that does not say what a table holds, and a hint that says the same.
        let unnamed = table(0, [(1, Heat::Often)]);
        let vast = HotTable {
            content_hash: 7,
            runs: vec![HotRun { first: 990, blocks: u32::MAX - 990, heat: Heat::Often }],
        };
        let portions = plan(&[unknown, unnamed, vast], &version, 4, u64::MAX);
        assert_eq!(shown(&portions), [(0, vec![(990, 4)]), (0, vec![(994, 4)]), (0, vec![(998, 2)])]);
    }

    #[test]
    fn a_run_longer_than_a_request_is_several() {
        let version = version(&[7]);
        let portions = plan(&[table(7, (5..30).map(|block| (block, Heat::Again)))], &version, 10, 100);
        assert_eq!(shown(&portions), [(0, vec![(5, 10)]), (0, vec![(15, 10)]), (0, vec![(25, 5)])]);
    }
}
