//! What a checkpoint says of its objects, and whether they are so.
use std::ops::Range;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::object::ReadAt;
use super::report::Report;
use crate::block::{Block, BlockCursor};
use crate::expiry::Ages;
use crate::key_range::KeyRange;
use crate::store::{DeltaRecord, Manifest, PageRecord, TableRecord, ValueFileRecord};
use crate::table::{FOOTER_BYTES, Index, TableTail, TailLayout};
use crate::values::trailer;

/// An object as a checkpoint's manifest describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedObject(Claim);

#[derive(Clone, Debug, PartialEq)]
enum Claim {
    Table(Box<TableRecord>),
    Values(ValueFileRecord),
    /// Or a hint: where it is, is said the same way.
    Delta(DeltaRecord),
    Page(PageRecord),
}

/// Gives an object by name and size, if it is there.
pub type ReadObject<'a> = dyn FnMut(&str, u64) -> Result<Option<Bytes>> + 'a;

/// Every object that a manifest and its pages say something of; `read` gives the pages. Of what is in a page that is missing or
/// damaged nothing is said; that it is, its own claim finds.
///
/// # Errors
/// `Corruption` if it is none, `Invalid` if another version wrote it; what `read` fails with.
pub(crate) fn claims(manifest: &[u8], read: &mut ReadObject<'_>) -> Result<Vec<ClaimedObject>> {
    let Manifest { tables, value_files, memtables, pages, hints, .. } = Manifest::decode(manifest)?;
    let table = |table| Claim::Table(Box::new(table));
    let deltas = memtables.into_iter().flat_map(|memtable| memtable.deltas).chain(hints).map(Claim::Delta);
    let mut all: Vec<Claim> = tables
        .into_iter()
        .map(table)
        .chain(value_files.into_iter().map(Claim::Values))
        .chain(deltas)
        .collect();
    for page in pages {
        let object = read(&page.name, page.size_bytes)?;
        if let Some(content) = object.and_then(|object| page.read(&object).ok()) {
            all.extend(content.tables.into_iter().map(table));
            all.extend(content.value_files.into_iter().map(Claim::Values));
        }
        all.push(Claim::Page(page));
    }
    Ok(all.into_iter().map(ClaimedObject).collect())
}

impl ClaimedObject {
    /// Its name below the root.
    pub fn name(&self) -> &str {
        match &self.0 {
            Claim::Table(table) => &table.name,
            Claim::Values(file) => &file.name,
            Claim::Delta(delta) => &delta.name,
            Claim::Page(page) => &page.name,
        }
    }

    /// How long it is.
    pub fn size_bytes(&self) -> u64 {
        match &self.0 {
            Claim::Table(table) => table.size_bytes,
            Claim::Values(file) => file.size_bytes,
            Claim::Delta(delta) => delta.object_bytes(),
            Claim::Page(page) => page.size_bytes,
        }
    }

    /// Compares an object with it: its length, and of a table keys, counts and ages, of a value file how much of it are
    /// records. Reads the tail, and of a table the first and the last block.
    ///
    /// # Errors
    /// What reading the object fails with. What does not fit is in the report.
    pub fn check(&self, object: &dyn ReadAt) -> Result<Report<()>> {
        let mut report = Report::default();
        let (expected, found) = (self.size_bytes(), object.size_bytes());
        if expected != found {
            report.find(expected.min(found), "the object", bytes(expected), bytes(found));
            return Ok(report);
        }
        match &self.0 {
            Claim::Table(table) => check_table(table, object, &mut report)?,
            Claim::Values(file) => check_values(file, object, &mut report)?,
            Claim::Delta(_) => {}
            Claim::Page(page) => check_page(page, object, &mut report)?,
        }
        Ok(report)
    }
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}

/// It is small, so it is read whole.
fn check_page(page: &PageRecord, object: &dyn ReadAt, report: &mut Report<()>) -> Result<()> {
    if let Err(error) = page.read(&object.read(0..object.size_bytes())?) {
        report.find(0, "the page", "what its checkpoint says", error.to_string());
    }
    Ok(())
}

fn check_values(file: &ValueFileRecord, object: &dyn ReadAt, report: &mut Report<()>) -> Result<()> {
    let size = object.size_bytes();
    let footer = size.saturating_sub(trailer::FOOTER_BYTES as u64);
    match trailer::index_range(size, &object.read(footer..size)?) {
        Ok(index) if index.start == file.data_bytes => {}
        Ok(index) => report.find(index.start, "the records", bytes(file.data_bytes), bytes(index.start)),
        Err(error) => report.find(footer, "the footer", "the footer of a value file", error.to_string()),
    }
    Ok(())
}

fn check_table(table: &TableRecord, object: &dyn ReadAt, report: &mut Report<()>) -> Result<()> {
    let size = object.size_bytes();
    let footer = size.saturating_sub(FOOTER_BYTES as u64);
    let layout = match TailLayout::of(size, &object.read(footer..size)?) {
        Ok(layout) => layout,
        Err(error) => {
            report.find(footer, "the footer", "the footer of a table", error.to_string());
            return Ok(());
        }
    };
    let data_bytes = layout.data_bytes();
    let tail = match TableTail::decode(&object.read(data_bytes..size)?, data_bytes) {
        Ok(tail) => tail,
        Err(error) => {
            report.find(data_bytes, "the tail", "the tail of a table", error.to_string());
            return Ok(());
        }
    };
    let properties = &tail.properties;
    for (what, expected, found) in [
        ("bytes of tail", table.tail_bytes, size - data_bytes),
        ("entries", table.entries, properties.entries),
        ("deletes", table.deletes, properties.deletes),
        ("deleted ranges", table.deleted_ranges, tail.deleted.len() as u64),
    ] {
        if expected != found {
            report.find(data_bytes, "the tail", format!("{expected} {what}"), found.to_string());
        }
    }
    let ages = |ages: &Option<Ages>| ages.clone().unwrap_or_default();
    if ages(&table.ages) != ages(&properties.ages) {
        report.find(data_bytes, "the tail", "the ages that the checkpoint knows", "others");
    }
    match keys_of(object, &tail) {
        Ok(keys) if keys.start == table.start && keys.end == table.end => {}
        Ok(keys) => {
            let claimed = KeyRange::new(&table.start, &table.end);
            report.find(0, "the table", shown(&claimed), shown(&keys));
        }
        Err(error) => report.find(0, "the table", "a first and a last key", error.to_string()),
    }
    Ok(())
}

/// What a table's entries and deleted ranges span.
fn keys_of(object: &dyn ReadAt, tail: &TableTail) -> Result<KeyRange> {
    let (index, mut keys) = (&tail.index, tail.deleted.hull());
    if let Some(last) = index.blocks().checked_sub(1) {
        let entries = KeyRange::through(&ends_of(object, index, 0)?.0, &ends_of(object, index, last)?.1);
        keys = Some(keys.map_or(entries.clone(), |mut keys| {
            keys.extend(&entries);
            keys
        }));
    }
    keys.ok_or_else(|| Error::corruption("a table without entries and deleted ranges"))
}

/// The first and the last key of a block.
fn ends_of(object: &dyn ReadAt, index: &Index, block: usize) -> Result<(Vec<u8>, Vec<u8>)> {
    let none = || Error::corruption(format!("data block {block} is not in the table, or has no entry"));
    let range: Range<u64> = index.range(block).ok_or_else(none)?;
    if range.end > object.size_bytes() {
        return Err(none());
    }
    let block = Block::decode(&object.read(range)?)?;
    let (mut cursor, mut ends) = (BlockCursor::default(), None);
    cursor.rewind(&block)?;
    while let Some((_, key, _)) = cursor.entry(&block) {
        let (_, last): &mut (Vec<u8>, Vec<u8>) = ends.get_or_insert_with(|| (key.to_vec(), Vec::new()));
        last.clear();
        last.extend_from_slice(key);
        cursor.advance(&block)?;
    }
    ends.ok_or_else(none)
}

fn shown(keys: &KeyRange) -> String {
    let end =
        if keys.end.is_empty() { "the end".to_owned() } else { format!("\"{}\"", keys.end.escape_ascii()) };
    format!("keys from \"{}\" up to {end}", keys.start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deleted::DeletedRanges;
    use crate::entry::EntryKind;
    use crate::inspect::Finding;
    use crate::store::frame_delta;
    use crate::table::{FileId, Held, KeepAll, Keeping, TableBuilder, TableOptions};
    use crate::values::{ValueBuilder, ValueFile};

    fn built(entries: u16, deleted: &[KeyRange]) -> (TableRecord, Bytes) {
        let options = TableOptions {
            block_size_bytes: 64,
            table_size_bytes: 1 << 20,
            compression: crate::Compression::Lz4,
        };
        let mut builder = TableBuilder::new(options);
        for number in 0..entries {
            let (kind, value) =
                if number % 3 == 0 { (EntryKind::Delete, &b""[..]) } else { (EntryKind::Put, &b"value"[..]) };
            builder.add(kind, &number.to_be_bytes(), value);
        }
        let built = builder.finish(DeletedRanges::union(deleted.iter().cloned())).unwrap();
        let object = Bytes::from(built.payload.concat());
        let record = TableRecord {
            name: "1.sst".to_owned(),
            size_bytes: object.len() as u64,
            tail_bytes: built.tail_bytes,
            start: built.keys.start,
            end: built.keys.end,
            entries: entries.into(),
            deletes: entries.div_ceil(3).into(),
            deleted_ranges: deleted.len() as u64,
            ..TableRecord::default()
        };
        (record, object)
    }

    fn findings(claim: Claim, object: &Bytes) -> Vec<Finding> {
        ClaimedObject(claim).check(object).unwrap().findings
    }

    fn of_table(table: &TableRecord, object: &Bytes) -> Vec<Finding> {
        findings(Claim::Table(Box::new(table.clone())), object)
    }

    #[test]
    fn a_table_that_is_what_its_checkpoint_says_is_sound_and_any_other_is_found() {
        type Lie = (&'static str, fn(&mut TableRecord));
        let outside = [KeyRange::new(b"zebra", b"")];
        for (entries, deleted) in [(100, &[][..]), (1, &[]), (100, &outside), (0, &outside)] {
            let (table, object) = built(entries, deleted);
            assert_eq!(of_table(&table, &object), [], "{entries} entries");
            let wrong: [Lie; 8] = [
                ("bytes", |table| table.size_bytes += 1),
                ("bytes of tail", |table| table.tail_bytes -= 1),
                ("entries", |table| table.entries += 1),
                ("deletes", |table| table.deletes += 1),
                ("deleted ranges", |table| table.deleted_ranges += 1),
                ("ages", |table| table.ages = Some(Ages { expiring: 1, ..Ages::default() })),
                ("keys from", |table| table.start.push(7)),
                ("keys from", |table| table.end.push(7)),
            ];
            for (what, lie) in wrong {
                let mut other = table.clone();
                lie(&mut other);
                let found = of_table(&other, &object);
                assert!(found.len() == 1 && found[0].expected.contains(what), "{what}: {found:?}");
            }
        }
    }

    #[test]
    fn a_cut_table_is_found_by_its_length_and_a_broken_tail_where_it_is() {
        let (mut table, object) = built(50, &[]);
        for length in 0..object.len() {
            let found = of_table(&table, &object.slice(..length));
            assert_eq!(
                (found.len(), found[0].offset, found[0].part.as_str()),
                (1, length as u64, "the object")
            );
        }
        let tail = object.len() - table.tail_bytes as usize;
        for at in tail..object.len() {
            let mut broken = object.to_vec();
            broken[at] ^= 1;
            let found = of_table(&table, &broken.into());
            assert!(found.len() == 1 && found[0].offset >= tail as u64, "byte {at}: {found:?}");
        }
        // As long as it should be, and something else.
        table.size_bytes = 40;
        assert_eq!(of_table(&table, &Bytes::from(vec![0; 40]))[0].part, "the footer");
    }

    #[test]
    fn value_files_and_deltas_are_as_long_as_their_checkpoint_says() {
        let file = ValueFile::new(FileId(1), Held::new("1.val", std::sync::Arc::new(KeepAll)));
        let mut builder = ValueBuilder::new(file, Keeping::default());
        builder.add(b"apple", &[7; 100], None);
        let built = builder.finish();
        let object = Bytes::from(built.payload.concat());
        let sound = ValueFileRecord {
            name: "1.val".to_owned(),
            size_bytes: object.len() as u64,
            data_bytes: built.file.meta().data_bytes,
            content_hash: 0,
        };
        assert_eq!(findings(Claim::Values(sound.clone()), &object), []);
        let less = ValueFileRecord { data_bytes: sound.data_bytes - 1, ..sound.clone() };
        assert_eq!(findings(Claim::Values(less), &object)[0].part, "the records");
        let longer = ValueFileRecord { size_bytes: sound.size_bytes + 1, ..sound };
        assert_eq!(findings(Claim::Values(longer), &object)[0].part, "the object");
        let delta = Bytes::from(frame_delta(vec![Bytes::from_static(b"log")]).concat());
        let record =
            |size_bytes| DeltaRecord { name: "1.delta".to_owned(), size_bytes, ..DeltaRecord::default() };
        assert_eq!(findings(Claim::Delta(record(delta.len() as u64)), &delta), []);
        assert_eq!(findings(Claim::Delta(record(3)), &delta).len(), 1);
    }
}
