//! Checks a value file whole, without the tables that point into it.
use std::ops::Range;

use alluvium_env::Result;
use bytes::Bytes;

use super::object::ReadAt;
use super::report::{Report, ValuesReport};
use super::verify::unpack;
use crate::block::{Block, BlockCursor};
use crate::entry::EntryKind;
use crate::values::trailer::{self, FOOTER_BYTES};

/// Bytes of neighbouring records that are read together.
const WINDOW_BYTES: u64 = 4 << 20;

/// Checks every byte of a value file; `progress` is told of each few bytes that were checked.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_values(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<ValuesReport> {
    let mut report = ValuesReport::default();
    let size = object.size_bytes();
    report.summary.size_bytes = size;
    let Some((index, lengths)) = index_of(object, &mut report)? else { return Ok(report) };
    progress(size - index.start);
    report.summary.data_bytes = index.start;
    let mut window = Window { object, range: 0..0, bytes: Bytes::new() };
    let (mut start, count) = (0_u64, lengths.len());
    for (number, length) in lengths.into_iter().enumerate() {
        let Some(end) = start.checked_add(length).filter(|end| *end <= index.start) else {
            let (expected, found) = (format!("records up to offset {}", index.start), "longer ones");
            report.find(
                index.start,
                "the index",
                expected,
                format!("{found}, from record {number} of {count} on"),
            );
            return Ok(report);
        };
        let record = window.read(start..end, index.start)?;
        let part = format!("record {number}");
        if let Some(content) = unpack(("a value", &part), start, &record, &mut report) {
            match raw_bytes_of(content) {
                Ok(Some(raw_bytes)) => report.summary.raw_bytes += raw_bytes,
                Ok(None) => report.find(start, part, "one value with its key", "something else"),
                Err(error) => report.find(start, part, "a value with its key", error.to_string()),
            }
        }
        report.summary.records += 1;
        progress(length);
        start = end;
    }
    if start != index.start {
        let expected = format!("records up to offset {}", index.start);
        report.find(index.start, "the index", expected, format!("records up to offset {start}"));
    }
    Ok(report)
}

/// Where the index is, and what it says of the records' lengths; `None` if something is wrong with it.
fn index_of<S>(object: &dyn ReadAt, report: &mut Report<S>) -> Result<Option<(Range<u64>, Vec<u64>)>> {
    let size = object.size_bytes();
    let footer_at = size.saturating_sub(FOOTER_BYTES as u64);
    let index = match trailer::index_range(size, &object.read(footer_at..size)?) {
        Ok(index) => index,
        Err(error) => {
            report.find(footer_at, "the footer", "the footer of a value file", error.to_string());
            return Ok(None);
        }
    };
    let stored = object.read(index.clone())?;
    let content = unpack(("the index", "the index"), index.start, &stored, report);
    let lengths = content.and_then(|content| {
        let wrong = |error: alluvium_env::Error| {
            report.find(index.start, "the index", "the length of each record", error.to_string());
        };
        trailer::lengths(&content).map_err(wrong).ok()
    });
    Ok(lengths.map(|lengths| (index, lengths)))
}

/// Key and value of a record that holds one; `None` if it holds anything else.
fn raw_bytes_of(content: Vec<u8>) -> Result<Option<u64>> {
    let block = Block::from_content(content)?;
    let mut cursor = BlockCursor::default();
    cursor.rewind(&block)?;
    let Some((EntryKind::Put, key, value)) = cursor.entry(&block) else { return Ok(None) };
    let raw_bytes = (key.len() + value.len()) as u64;
    // Where a reader looks for it.
    let found = block.get(key, 0, false)? == Some((EntryKind::Put, value));
    cursor.advance(&block)?;
    Ok((found && cursor.entry(&block).is_none()).then_some(raw_bytes))
}

/// Neighbouring records that were read together.
struct Window<'a> {
    object: &'a dyn ReadAt,
    range: Range<u64>,
    bytes: Bytes,
}

impl Window<'_> {
    /// A record of those that end at `end`.
    fn read(&mut self, record: Range<u64>, end: u64) -> Result<Bytes> {
        if record.start < self.range.start || record.end > self.range.end {
            // A record larger than a window has one of its own.
            self.range = record.start..(record.start + WINDOW_BYTES).min(end).max(record.end);
            self.bytes = self.object.read(self.range.clone())?;
        }
        let (from, to) = (record.start - self.range.start, record.end - self.range.start);
        Ok(self.bytes.slice(from as usize..to as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::inspect::broken::assert_found;
    use crate::table::{FileId, Held, KeepAll, Keeping};
    use crate::values::{ValueBuilder, ValueFile};

    fn file() -> Vec<u8> {
        let file = ValueFile::new(FileId(1), Held::new("1.val", Arc::new(KeepAll)));
        let mut builder = ValueBuilder::new(file, Keeping::default());
        builder.add(b"apple", &[7; 100], None);
        builder.add(b"fig", b"a value that does not shrink", None);
        builder.finish().payload.concat()
    }

    #[test]
    fn a_sound_value_file_is_counted_and_every_flipped_bit_and_every_cut_is_found() {
        let sound = assert_found(&file(), verify_values);
        assert_eq!((sound.summary.records, sound.summary.raw_bytes), (2, 5 + 100 + 3 + 28));
    }

    #[test]
    fn a_broken_record_is_found_where_it_is_and_the_others_are_checked() {
        let mut bytes = file();
        bytes[3] ^= 1;
        let report = verify_values(&Bytes::from(bytes), &mut |_| ()).unwrap();
        assert_eq!((report.findings.len(), report.findings[0].offset, report.summary.records), (1, 0, 2));
        assert_eq!(report.findings[0].part, "record 0");
    }
}
