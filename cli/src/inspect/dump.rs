//! `alluvium sst dump`: what one table holds, for a person or a script.
use alluvium_env::{IoRuntime, Result};
use alluvium_forst::inspect::{
    BlockPlace, EntryKind, InspectedBlock, ReadAt, TableEntry, TableInspector, TableSummary,
};
use alluvium_state_api::state_key;
use serde::Serialize;

use super::objects::Objects;
use super::output::Output;
use super::sst_args::DumpArgs;
use super::text::{escaped, hex};
use crate::results::grouped;

/// A line of JSON.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Table {
        object: String,
        size_bytes: u64,
        data_bytes: u64,
        filter_bytes: u64,
        index_bytes: u64,
        properties_bytes: u64,
        deleted_bytes: u64,
        blocks: u64,
        index_blocks: u64,
        entries: u64,
        deletes: u64,
        merges: u64,
        raw_bytes: u64,
    },
    KeyGroup {
        group: u32,
        first_block: u32,
        entries: u64,
    },
    DeletedRange {
        start: String,
        /// `null` for no end.
        end: Option<String>,
    },
    Block {
        block: u32,
        offset: u64,
        size_bytes: u64,
        separator: String,
        first_key: String,
    },
    Entry {
        block: u32,
        kind: &'static str,
        /// `null` for a key that is too short to have one.
        key_group: Option<u16>,
        state: Option<u16>,
        key: String,
        value: String,
    },
}

/// Prints a table.
///
/// # Errors
/// What opening or reading it fails with.
pub(super) fn run(args: &DumpArgs, io: &IoRuntime) -> Result<()> {
    let tables = Objects::one(&args.url, io)?;
    let Some(table) = tables.found.first() else { return Ok(()) };
    let url = tables.url(&table.name);
    let inspector = TableInspector::open(tables.read(table)).map_err(|e| e.context(url.clone()))?;
    let mut dump = Dump { out: Output::new(), args, entries_left: args.limit.unwrap_or(u64::MAX) };
    dump.summary(&url, inspector.summary())?;
    dump.directory(&inspector)?;
    // What could be read before an error is worth showing.
    let read = dump.blocks(&inspector).map_err(|e| e.context(url));
    dump.out.finish()?;
    read
}

struct Dump<'a> {
    out: Output,
    args: &'a DumpArgs,
    entries_left: u64,
}

impl Dump<'_> {
    fn show(&self, bytes: &[u8]) -> String {
        if self.args.hex { hex(bytes) } else { escaped(bytes) }
    }

    fn summary(&mut self, url: &str, summary: TableSummary) -> Result<()> {
        let TableSummary { size_bytes, data_bytes, filter_bytes, index_bytes, .. } = summary;
        let TableSummary { properties_bytes, deleted_bytes, blocks, index_blocks, .. } = summary;
        let TableSummary { entries, deletes, merges, raw_bytes, .. } = summary;
        if self.args.json {
            let object = url.to_owned();
            return self.out.json(&Line::Table {
                object,
                size_bytes,
                data_bytes,
                filter_bytes,
                index_bytes,
                properties_bytes,
                deleted_bytes,
                blocks,
                index_blocks,
                entries,
                deletes,
                merges,
                raw_bytes,
            });
        }
        let sizes = format!(
            "{} bytes: data {}, filter {}, index {}, properties {}, deleted ranges {}",
            grouped(size_bytes),
            grouped(data_bytes),
            grouped(filter_bytes),
            grouped(index_bytes),
            grouped(properties_bytes),
            grouped(deleted_bytes)
        );
        let puts = entries.saturating_sub(deletes + merges);
        let (puts, deletes, merges) = (grouped(puts), grouped(deletes), grouped(merges));
        let kinds = format!("{}: {puts} put, {deletes} delete, {merges} merge", grouped(entries));
        let percent = data_bytes * 100 / raw_bytes.max(1);
        let raw = format!("{} bytes of keys and values, stored as {percent} %", grouped(raw_bytes));
        self.out.figures(&[
            ("table", url.to_owned()),
            ("size", sizes),
            ("entries", kinds),
            ("raw", raw),
            ("blocks", format!("{}, and {} of the index", grouped(blocks), grouped(index_blocks))),
        ])
    }

    fn directory(&mut self, table: &TableInspector<impl ReadAt>) -> Result<()> {
        if !self.args.json {
            self.out.line("\nkey group  first block     entries")?;
        }
        for group in table.key_groups() {
            let (number, first_block, entries) = (group.group, group.first_block, group.entries);
            if self.args.json {
                self.out.json(&Line::KeyGroup { group: number, first_block, entries })?;
            } else {
                self.out.line(&format!("{number:>9}  {first_block:>11}  {:>10}", grouped(entries)))?;
            }
        }
        let ranges: Vec<_> = table.deleted_ranges().collect();
        if !self.args.json && !ranges.is_empty() {
            self.out.line("\ndeleted of older tables")?;
        }
        for range in ranges {
            let (start, end) = (self.show(&range.start), self.show(&range.end));
            let end = (!range.end.is_empty()).then_some(end);
            if self.args.json {
                self.out.json(&Line::DeletedRange { start, end })?;
            } else {
                let end = end.map_or_else(|| "to the end".to_owned(), |end| format!("before {end}"));
                self.out.line(&format!("from {start} {end}"))?;
            }
        }
        Ok(())
    }

    fn blocks(&mut self, table: &TableInspector<impl ReadAt>) -> Result<()> {
        if !self.args.json {
            self.out.line("\n  block        offset       size  first key")?;
        }
        let mut blocks = table.blocks();
        for place in table.places() {
            let Some(mut block) = blocks.next_block()? else { return Ok(()) };
            self.block(&place, &block)?;
            while self.args.entries
                && let Some(entry) = block.entry()
            {
                let Some(left) = self.entries_left.checked_sub(1) else { return Ok(()) };
                self.entries_left = left;
                self.entry(place.number, entry)?;
                block.advance()?;
            }
        }
        Ok(())
    }

    fn block(&mut self, place: &BlockPlace<'_>, block: &InspectedBlock) -> Result<()> {
        let BlockPlace { number, offset, size_bytes, separator } = *place;
        let first_key = self.show(block.entry().map_or(&[], |entry| entry.key));
        if self.args.json {
            let separator = self.show(separator);
            return self.out.json(&Line::Block { block: number, offset, size_bytes, separator, first_key });
        }
        self.out.line(&format!("{number:>7}  {offset:>12}  {size_bytes:>9}  {first_key}"))
    }

    fn entry(&mut self, block: u32, entry: TableEntry<'_>) -> Result<()> {
        let kind = match entry.kind {
            EntryKind::Pointer => "pointer",
            EntryKind::Put => "put",
            EntryKind::Delete => "delete",
            EntryKind::Merge => "merge",
        };
        let (key, value) = (self.show(entry.key), self.show(entry.value));
        if !self.args.json {
            return self.out.line(&format!("         {kind:<6}  {key}  {value}"));
        }
        let parts = state_key::split(entry.key).ok();
        let key_group = parts.map(|(group, ..)| group.0);
        let state = parts.map(|(_, state, _)| state.0);
        self.out.json(&Line::Entry { block, kind, key_group, state, key, value })
    }
}
