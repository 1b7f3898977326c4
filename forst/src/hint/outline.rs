//! What a hint tells in outline: how many blocks of which tables. By that it shows whether a newer one would be news.
//!
//! Not which blocks: that would take as much memory as the hint does. Of a table that stays, other blocks may become hot unseen;
//! tables that were merged away, new ones, and a memory that fills do show.
use alluvium_env::HashMap;

use super::HotTable;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    tables: HashMap<u64, u64>,
    blocks: u64,
}

impl Outline {
    pub(crate) fn add(&mut self, table: &HotTable) {
        let blocks = table.blocks();
        *self.tables.entry(table.content_hash).or_default() += blocks;
        self.blocks += blocks;
    }

    /// Blocks that it tells of.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many of a table's blocks it told of, at most.
    pub(crate) fn shared_with(&self, table: &HotTable) -> u64 {
        self.tables.get(&table.content_hash).map_or(0, |blocks| table.blocks().min(*blocks))
    }

    /// Whether more than a quarter of it is new, where so many blocks were told of before.
    pub(crate) fn is_news(&self, told_blocks: u64) -> bool {
        told_blocks < self.blocks - self.blocks / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Heat;

    fn table(content_hash: u64, blocks: u32) -> HotTable {
        let mut table = HotTable::new(content_hash);
        (0..blocks).for_each(|block| table.push(block * 3, Heat::Seen));
        table
    }

    fn outline(tables: &[HotTable]) -> Outline {
        let mut outline = Outline::default();
        for table in tables {
            outline.add(table);
        }
        outline
    }

    /// Whether one is news behind the other.
    fn is_news(before: &[HotTable], after: &[HotTable]) -> bool {
        let told = outline(before);
        outline(after).is_news(after.iter().map(|table| told.shared_with(table)).sum())
    }

    #[test]
    fn it_is_news_that_tables_were_merged_away_or_memory_has_filled_and_none_that_it_has_emptied() {
        let before = [table(1, 60), table(2, 40)];
        assert!(is_news(&[], &before));
        assert!(!is_news(&before, &before));
        assert!(is_news(&before, &[table(3, 60), table(2, 40)]), "most is of a table that it did not know");
        assert!(!is_news(&before, &[table(1, 60), table(2, 40), table(3, 30)]));
        assert!(is_news(&before, &[table(1, 80), table(2, 60)]), "more of the same tables");
        assert!(!is_news(&before, &[table(1, 5), table(2, 5)]));
    }
}
