//! Checks a table whole: every checksum, and everything that a reader relies on without looking.
//!
//! It goes on behind what is wrong as far as the rest can be understood, so that one report says how much is lost.
use std::ops::Range;

use alluvium_env::Result;

use super::ages::{self, Pointers};
use super::blocks::{StoredBlock, TableBlocks};
use super::object::ReadAt;
use super::report::{Report, TableReport};
use super::table::TableSummary;
use crate::block::{Block, BlockCursor};
use crate::coding::{read_section, section_checksums};
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::table::{FOOTER_BYTES, Filter, Index, KeyGroupEntry, Properties, TailLayout, filter_hash};

/// Checks every byte of a table; `progress` is told of each few bytes that were checked.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_table(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<TableReport> {
    let mut report = TableReport::default();
    let size = object.size_bytes();
    report.summary.size_bytes = size;
    let Some(footer) = size.checked_sub(FOOTER_BYTES as u64) else {
        report.find(0, "the footer", format!("at least {FOOTER_BYTES} bytes"), format!("{size} bytes"));
        return Ok(report);
    };
    let layout = match TailLayout::of(size, &object.read(footer..size)?) {
        Ok(layout) => layout,
        Err(error) => {
            report.find(footer, "the footer", "the footer of a table", error.to_string());
            return Ok(report);
        }
    };
    let tail = Tail::read(object, &layout, &mut report)?;
    let blocks = tail.index.as_ref().map_or(0, Index::blocks);
    let properties = tail.properties.clone().unwrap_or_default();
    let index_blocks = properties.index_blocks.len();
    report.summary = TableSummary::of(size, &layout, (blocks, index_blocks), &properties);
    progress(size - layout.data_bytes());
    if let Some(index) = &tail.index {
        let data = Data {
            index,
            end_key: &tail.end_key,
            filter: tail.filter.as_ref(),
            properties: tail.properties.as_ref(),
        };
        data.check(object, &layout, (&mut report, progress))?;
    }
    let is_empty = blocks == 0 && tail.deleted.is_some_and(|deleted| deleted.is_empty());
    if is_empty && report.is_sound() {
        report.find(0, "the table", "an entry or a deleted range", "neither");
    }
    Ok(report)
}

/// The sections of the tail that are sound.
struct Tail {
    filter: Option<Filter>,
    index: Option<Index>,
    /// What the index says is above every key; empty if it does not say.
    end_key: Vec<u8>,
    properties: Option<Properties>,
    deleted: Option<DeletedRanges>,
}

impl Tail {
    fn read(object: &dyn ReadAt, layout: &TailLayout, report: &mut TableReport) -> Result<Self> {
        let properties = |bytes: &[u8]| {
            prost::Message::decode(bytes).map_err(|e| {
                let error = alluvium_env::Error::corruption("they are not the message they should be");
                error.with_source(e)
            })
        };
        let deleted = if layout.deleted.is_empty() {
            Some(DeletedRanges::default())
        } else {
            section(object, &layout.deleted, ("the deleted ranges", report), DeletedRanges::decode)?
        };
        let filter = section(object, &layout.filter, ("the filter", report), Filter::decode)?;
        let properties = section(object, &layout.properties, ("the properties", report), properties)?;
        let (index, end_key) = match &properties {
            _ if !layout.has_index_blocks => {
                (section(object, &layout.index, ("the index", report), Index::decode)?, None)
            }
            Some(properties) => index_blocks(object, layout, properties, report)?.unzip(),
            // Where they begin is not known.
            None => (None, None),
        };
        Ok(Self { filter, index, end_key: end_key.unwrap_or_default(), properties, deleted })
    }
}

/// Reads the blocks of an index; `None` if something is wrong with them.
fn index_blocks(
    object: &dyn ReadAt,
    layout: &TailLayout,
    properties: &Properties,
    report: &mut TableReport,
) -> Result<Option<(Index, Vec<u8>)>> {
    let top = match properties.clone().take_top(layout.data_bytes(), layout.index.clone()) {
        Ok(top) => top,
        Err(error) => {
            let expected = "index blocks one after another";
            report.find(layout.properties.start, "the properties", expected, error.to_string());
            return Ok(None);
        }
    };
    let (stored, mut sound) = (object.read(layout.index.clone())?, true);
    for part in 0..top.parts() {
        let (offset, name) = (top.index_block(part).range.start, format!("index block {part}"));
        sound &= unpack(("an index block", &name), offset, top.stored_in(part, &stored), report).is_some();
    }
    if !sound {
        return Ok(None);
    }
    let read = Index::read(&top, &stored);
    Ok(read
        .map_err(|e| report.find(layout.index.start, "the index", "what its format says", e.to_string()))
        .ok())
}

/// Reads a section of the tail; `None` if something is wrong with it.
fn section<T>(
    object: &dyn ReadAt,
    range: &Range<u64>,
    (what, report): (&'static str, &mut TableReport),
    decode: impl FnOnce(&[u8]) -> Result<T>,
) -> Result<Option<T>> {
    let stored = object.read(range.clone())?;
    let Some(content) = unpack((what, what), range.start, &stored, report) else { return Ok(None) };
    match decode(&content) {
        Ok(decoded) => Ok(Some(decoded)),
        Err(error) => {
            report.find(range.start, what, "what its format says", error.to_string());
            Ok(None)
        }
    }
}

pub(super) fn unpack<S>(
    (what, part): (&'static str, &str),
    offset: u64,
    stored: &[u8],
    report: &mut Report<S>,
) -> Option<Vec<u8>> {
    if let Some((expected, found)) = section_checksums(stored)
        && expected != found
    {
        report.find(offset, part, format!("checksum {expected:08x}"), format!("{found:08x}"));
        return None;
    }
    read_section(what, stored)
        .map_err(|error| report.find(offset, part, "what can be unpacked", error.to_string()))
        .ok()
}

/// What the data blocks are checked against.
struct Data<'a> {
    index: &'a Index,
    end_key: &'a [u8],
    filter: Option<&'a Filter>,
    properties: Option<&'a Properties>,
}

/// What has been seen of the data so far.
#[derive(Default)]
struct Seen {
    counted: Properties,
    last_key: Option<Vec<u8>>,
    pointers: Pointers,
    /// Whether every block could be read: only then do the counts mean anything.
    lost: bool,
}

impl Data<'_> {
    fn check(
        &self,
        object: &dyn ReadAt,
        layout: &TailLayout,
        (report, progress): (&mut TableReport, &mut dyn FnMut(u64)),
    ) -> Result<()> {
        let (data_bytes, claimed) = (layout.data_bytes(), self.index.data_bytes());
        if claimed != data_bytes {
            let expected = format!("blocks up to offset {data_bytes}");
            report.find(layout.index.start, "the index", expected, format!("blocks up to offset {claimed}"));
        }
        if !self.index.separator(0).is_empty() {
            report.find(layout.index.start, "the index", "an empty first separator", "one with bytes");
        }
        let mut seen = Seen { lost: claimed != data_bytes, ..Seen::default() };
        let mut blocks = TableBlocks::new(object, self.index).ending_at(data_bytes);
        while let Some(stored) = blocks.next_stored()? {
            let part = format!("data block {}", stored.number);
            let checked = unpack(("a data block", &part), stored.range.start, &stored.bytes, report)
                .map(|content| self.check_block(&stored, &part, content, (&mut seen, report)));
            if let Some(Err(error)) = &checked {
                let found = error.to_string();
                report.find(stored.range.start, part, "entries as the format says", found);
            }
            seen.lost |= !matches!(checked, Some(Ok(())));
            progress(stored.range.end - stored.range.start);
        }
        let last_key =
            seen.last_key.as_deref().filter(|last| !self.end_key.is_empty() && *last >= self.end_key);
        if let Some(last) = last_key {
            let found = format!("{} at its end", shown(last));
            report.find(layout.index.start, "the index", "an end above every key", found);
        }
        if let Some(properties) = self.properties.filter(|_| !seen.lost) {
            compare(properties, &seen.counted, layout.properties.start, report);
            ages::check(properties, &seen.pointers, layout.properties.start, report);
        }
        Ok(())
    }

    /// Checks the entries of one block.
    fn check_block(
        &self,
        stored: &StoredBlock,
        part: &str,
        content: Vec<u8>,
        (seen, report): (&mut Seen, &mut TableReport),
    ) -> Result<()> {
        let (number, offset) = (stored.number, stored.range.start);
        let block = Block::from_content(content)?;
        let mut cursor = BlockCursor::default();
        cursor.rewind(&block)?;
        if cursor.entry(&block).is_none() {
            report.find(offset, part, "at least one entry", "none");
        }
        while let Some((kind, key, value)) = cursor.entry(&block) {
            let ascends = seen.last_key.as_deref().is_none_or(|last| last < key);
            if !ascends {
                report.find(offset, part, "keys that ascend", format!("{} out of order", shown(key)));
            }
            let next = (number + 1 < self.index.blocks()).then(|| self.index.separator(number + 1));
            let within = self.index.separator(number) <= key && next.is_none_or(|next| key < next);
            if !within || self.index.block_of(key) != number {
                let found = format!("{} is outside of them", shown(key));
                report.find(offset, part, "keys between its separators", found);
            }
            let hash = filter_hash(key);
            if block.get(key, hash, false)? != Some((kind, value)) {
                let found = format!("{} is not found by its key", shown(key));
                report.find(offset, part, "every entry where a search looks for it", found);
            }
            if self.filter.is_some_and(|filter| !filter.may_contain(hash)) {
                report.find(offset, part, "keys that the filter knows", format!("{} denied", shown(key)));
            }
            let pointer = self.properties.filter(|_| kind == EntryKind::Pointer);
            if let Some((expected, found)) = pointer.and_then(|said| seen.pointers.check(value, said)) {
                report.find(offset, part, expected, format!("{} points {found}", shown(key)));
            }
            seen.count(number, kind, key, value);
            cursor.advance(&block)?;
        }
        Ok(())
    }
}

impl Seen {
    fn count(&mut self, block: usize, kind: EntryKind, key: &[u8], value: &[u8]) {
        let counted = &mut self.counted;
        counted.entries += 1;
        counted.deletes += u64::from(kind == EntryKind::Delete);
        counted.merges += u64::from(kind == EntryKind::Merge);
        counted.raw_bytes += (key.len() + value.len()) as u64;
        let group = u32::from(u16::from_be_bytes(key.first_chunk().copied().unwrap_or_default()));
        match counted.key_groups.last_mut() {
            Some(last) if last.group == group => last.entries += 1,
            _ => counted.key_groups.push(KeyGroupEntry { group, first_block: block as u32, entries: 1 }),
        }
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
    }
}

fn compare(said: &Properties, counted: &Properties, offset: u64, report: &mut TableReport) {
    for (what, expected, found) in [
        ("entries", counted.entries, said.entries),
        ("deletes", counted.deletes, said.deletes),
        ("merges", counted.merges, said.merges),
        ("bytes before compression", counted.raw_bytes, said.raw_bytes),
    ] {
        if expected != found {
            report.find(offset, "the properties", format!("{expected} {what}"), found.to_string());
        }
    }
    let (expected, found) = (&counted.key_groups, &said.key_groups);
    if expected != found {
        let differ = expected.iter().zip(found).position(|(a, b)| a != b);
        let at = differ.unwrap_or(expected.len().min(found.len()));
        let entry = |groups: &[KeyGroupEntry]| {
            groups.get(at).map_or_else(
                || "none".to_owned(),
                |g| format!("key group {} from block {} with {} entries", g.group, g.first_block, g.entries),
            )
        };
        report.find(offset, format!("entry {at} of the directory"), entry(expected), entry(found));
    }
}

/// The beginning of a key, for a message.
fn shown(key: &[u8]) -> String {
    const MAX_SHOWN: usize = 48;
    let start = key.get(..key.len().min(MAX_SHOWN)).unwrap_or_default();
    format!("key \"{}\"{}", start.escape_ascii(), if key.len() > MAX_SHOWN { "…" } else { "" })
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::coding::{crc32c, put_section};
    use crate::compression::Compression;
    use crate::inspect::TableInspector;
    use crate::key_range::KeyRange;
    use crate::table::{TableBuilder, TableOptions};

    const OPTIONS: TableOptions =
        TableOptions { block_size_bytes: 64, table_size_bytes: 1 << 20, compression: Compression::Lz4 };

    fn key(number: u16) -> Vec<u8> {
        [&(number / 10).to_be_bytes()[..], b"\0\0key", &number.to_be_bytes()].concat()
    }

    fn table(entries: u16) -> Vec<u8> {
        let mut builder = TableBuilder::new(OPTIONS);
        for number in 0..entries {
            let kind = [EntryKind::Put, EntryKind::Merge, EntryKind::Delete][usize::from(number) % 3];
            let value = if kind == EntryKind::Delete { &[][..] } else { b"value" };
            builder.add(kind, &key(number), value);
        }
        let deleted = DeletedRanges::union([KeyRange::new(b"\x00\x03", b"\x00\x05")]);
        builder.finish(deleted).unwrap().payload.concat()
    }

    fn report(table: &[u8]) -> TableReport {
        verify_table(&Bytes::copy_from_slice(table), &mut |_| ()).unwrap()
    }

    #[test]
    fn a_sound_table_has_no_findings_and_every_byte_is_checked() {
        let (table, mut checked) = (table(100), 0);
        let report = verify_table(&Bytes::copy_from_slice(&table), &mut |bytes| checked += bytes).unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(checked, table.len() as u64);
        let summary = report.summary;
        assert_eq!((summary.entries, summary.deletes, summary.merges), (100, 33, 33));
        assert!(summary.blocks > 10);
        assert_eq!(TableInspector::open(Bytes::from(table)).unwrap().summary(), summary);
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let table = table(20);
        for bit in 0..table.len() * 8 {
            let mut broken = table.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let report = report(&broken);
            assert!(!report.is_sound(), "bit {bit} can flip unseen");
            let first = &report.findings[0];
            assert!(first.offset <= bit as u64 / 8, "bit {bit} is said to be behind {}", first.offset);
        }
    }

    /// Replaces a section of the tail and makes all checksums and lengths fit again.
    pub(in crate::inspect) fn with_tail(
        table: &[u8],
        part: usize,
        change: impl FnOnce(&mut Vec<u8>),
    ) -> TableReport {
        let size = table.len() as u64;
        let layout = TailLayout::of(size, &table[table.len() - FOOTER_BYTES..]).unwrap();
        let sections = [&layout.filter, &layout.index, &layout.properties, &layout.deleted];
        let mut out = table[..layout.data_bytes() as usize].to_vec();
        let mut lengths = Vec::new();
        let mut change = Some(change);
        let section = |range: &Range<u64>| &table[range.start as usize..range.end as usize];
        let mut properties = Properties::read(section(&layout.properties)).unwrap();
        for (number, range) in sections.into_iter().enumerate() {
            let start = out.len();
            // Of the index the first block is changed.
            let (stored, rest) = match number {
                1 => section(range).split_at(properties.index_blocks[0].size_bytes as usize),
                _ => (section(range), &[][..]),
            };
            let mut content = read_section("a test", stored).unwrap();
            if number == 2 {
                content = prost::Message::encode_to_vec(&properties);
            }
            if number == part {
                change.take().unwrap()(&mut content);
            }
            put_section(&mut out, &content, Compression::None);
            if number == 1 {
                properties.index_blocks[0].size_bytes = (out.len() - start) as u32;
                out.extend_from_slice(rest);
            }
            lengths.push((out.len() - start) as u32);
        }
        let footer = out.len();
        out.extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        out.extend_from_slice(&table[table.len() - 16..table.len() - 12]);
        let crc = crc32c(&out[footer..]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&table[table.len() - 8..]);
        report(&out)
    }

    #[test]
    fn what_is_wrong_behind_right_checksums_is_found() {
        let table = table(100);
        assert!(with_tail(&table, 0, |_| ()).is_sound(), "the test's own writing is at fault");
        let filter = with_tail(&table, 0, |filter| filter[24..].fill(0x55));
        assert!(filter.findings[0].expected.contains("filter"), "{filter:?}");
        let index = with_tail(&table, 1, |index| {
            // The key of the first entry, which is where the second data block begins.
            let last = 2 + usize::from(index[1]);
            index[last] -= 1;
        });
        assert!(index.findings[0].expected.contains("separators"), "{index:?}");
        let counts = |change: fn(&mut Properties)| {
            with_tail(&table, 2, |bytes| {
                let mut properties: Properties = prost::Message::decode(bytes.as_slice()).unwrap();
                change(&mut properties);
                *bytes = prost::Message::encode_to_vec(&properties);
            })
        };
        for (report, expected) in [
            (counts(|p| p.entries += 1), "100 entries"),
            (counts(|p| p.deletes += 1), "33 deletes"),
            (counts(|p| p.merges -= 1), "33 merges"),
            (counts(|p| p.raw_bytes += 1), "bytes before compression"),
            (counts(|p| p.key_groups[3].first_block += 1), "key group 3"),
            (counts(|p| p.index_blocks[1].first_block += 1), "what its format says"),
            (counts(|p| p.index_blocks[1].first_offset += 1), "what its format says"),
            (counts(|p| p.index_blocks[1].separator.push(0)), "what its format says"),
            (counts(|p| p.index_blocks[1].size_bytes += 1), "index blocks one after another"),
            (counts(|p| drop(p.index_blocks.pop())), "index blocks one after another"),
            (counts(|p| p.blocks += 1), "what its format says"),
        ] {
            assert_eq!(report.findings.len(), 1);
            assert!(report.findings[0].expected.contains(expected), "{report:?}");
        }
    }

    #[test]
    fn blocks_that_changed_places_are_found() {
        let mut builder = TableBuilder::new(TableOptions {
            block_size_bytes: 16,
            compression: Compression::None,
            ..OPTIONS
        });
        // Each in a block of its own, and all of one size.
        for number in 0..4 {
            builder.add(EntryKind::Put, &key(number), &[0; 32]);
        }
        let mut bytes = builder.finish(DeletedRanges::default()).unwrap().payload.concat();
        let size = report(&bytes).summary.data_bytes as usize / 4;
        let (first, second) = bytes.split_at_mut(2 * size);
        first[size..].swap_with_slice(&mut second[..size]);
        let report = report(&bytes);
        for expected in ["keys that ascend", "keys between its separators"] {
            assert!(report.findings.iter().any(|finding| finding.expected == expected), "{report:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_reported_on_or_sound(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut: usize) {
            prop_assert!(!report(&bytes).is_sound());
            let table = table(30);
            prop_assert!(!report(&table[..cut % table.len()]).is_sound());
        }
    }
}
