//! What the fuzz targets call (`fuzz/`): the decoders, which are nobody else's business. Only there with `--cfg fuzzing`.
//!
//! Checksums keep arbitrary bytes out before a decoder sees them, so a target's bytes are what a checksum covers and the
//! checksum is made here: as if whoever wrote them had meant it.
//!
//! **Failure**: an error of another kind than `Corruption` or `Invalid` is a panic, which is what a fuzzer looks for.
use std::sync::{Arc, LazyLock};

use alluvium_env::{Background, Error, ErrorKind, IoRuntime, Result};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::block::{Block, BlockCursor};
use crate::coding::{crc32c, put_section, read_section};
use crate::compression::Compression;
use crate::expiry::Moment;
use crate::hint;
use crate::inspect::{TableInspector, verify_delta, verify_pack, verify_page, verify_table, verify_values};
use crate::memtable::{LogReader, LogRecord, read_log};
use crate::store::{
    Manifest, PageContent, Restored, Store, StoreOptions, frame_delta, frame_page, pack_directory,
};
use crate::table::{
    FOOTER_BYTES, FileId, Held, Index, KeepAll, Properties, TableTail, TailLayout, filter_hash,
};
use crate::values::{ValueFile, ValueMeta, ValuePlace, ValueShare};
use crate::{DescribedOperators as _, ForstSettings, MergeOperator, MergeOperators, StateOperators};

pub use crate::remote::fuzzing::{claim, job, result};

/// Folds anything onto anything, in the room of the longer one.
struct Longer;

impl MergeOperator for Longer {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        if acc.len() < operand.len() {
            *acc = operand.to_vec();
        }
        Ok(())
    }
}

impl MergeOperators for Longer {
    fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
        Some(self)
    }
}

pub(crate) fn refused<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            expected(&error);
            None
        }
    }
}

fn expected(error: &Error) {
    let kind = error.kind();
    assert!(matches!(kind, ErrorKind::Corruption | ErrorKind::Invalid), "{kind:?}: {error}");
    assert!(!error.to_string().is_empty());
}

pub(crate) fn sealed(covered: &[u8]) -> Vec<u8> {
    let mut section = covered.to_vec();
    section.extend_from_slice(&crc32c(covered).to_le_bytes());
    section
}

/// The bytes that a length before them counts, as far as there are any.
fn part<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, bytes)) = rest.split_first_chunk::<2>() else { return &[] };
    let length = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (part, behind) = bytes.split_at(length);
    *rest = behind;
    part
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(part.get(..usize::from(length)).unwrap_or_default());
}

/// A section as it is stored, but for its checksum.
pub fn section(bytes: &[u8]) {
    if let Some(content) = refused(read_section("a section", &sealed(bytes))) {
        assert!(content.len() <= bytes.len() * 255);
    }
    let _ = refused(read_section("a section", bytes));
}

/// A block's content, and a key that is looked for.
pub fn block(bytes: &[u8]) {
    let mut content = bytes;
    let key = part(&mut content);
    let Some(block) = refused(Block::from_content(content)) else { return };
    for hot in [false, true] {
        let _ = refused(block.get(key, filter_hash(key), hot));
    }
    let mut cursor = BlockCursor::default();
    for seek in [true, false] {
        let begun = if seek { cursor.seek(&block, key) } else { cursor.rewind(&block) };
        if refused(begun).is_none() {
            continue;
        }
        let mut entries = 0;
        while cursor.entry(&block).is_some() && refused(cursor.advance(&block)).is_some() {
            entries += 1;
            assert!(entries <= content.len(), "a walk that does not end");
        }
    }
}

/// A table of these parts, with all checksums and lengths right. The index is one section, or one block.
fn table_of(bytes: &[u8], version: u8) -> Vec<u8> {
    let mut rest = bytes;
    let [filter, index, properties, deleted] = std::array::from_fn(|_| part(&mut rest));
    let (mut table, mut properties) = (rest.to_vec(), properties.to_vec());
    let (mut stored_index, data_bytes) = (Vec::new(), table.len() as u64);
    put_section(&mut stored_index, index, Compression::None);
    let decoded = if version < 5 {
        Index::decode(index).ok()
    } else {
        let mut said: Properties = prost::Message::decode(properties.as_slice()).unwrap_or_default();
        if let Some(block) = said.index_blocks.first_mut() {
            block.size_bytes = stored_index.len() as u32;
        }
        properties = prost::Message::encode_to_vec(&said);
        let top = said.take_top(data_bytes, 0..stored_index.len() as u64).ok();
        top.and_then(|top| Some(Index::read(&top, &stored_index).ok()?.0))
    };
    if let Some(index) = decoded {
        for range in (0..index.blocks()).map_while(|block| index.range(block)) {
            let Some(block) = table.get_mut(range.start as usize..range.end as usize) else { break };
            if let Some((covered, crc)) = block.split_last_chunk_mut::<4>() {
                *crc = crc32c(covered).to_le_bytes();
            }
        }
    }
    let mut lengths = Vec::new();
    for (number, content) in [filter, index, &properties, deleted].into_iter().enumerate() {
        let start = table.len();
        match number {
            1 => table.extend_from_slice(&stored_index),
            _ => put_section(&mut table, content, Compression::None),
        }
        lengths.extend_from_slice(&((table.len() - start) as u32).to_le_bytes());
    }
    let footer = table.len();
    table.extend_from_slice(&lengths);
    table.extend_from_slice(&[version, 0, 1, 0]);
    let crc = crc32c(table.get(footer..).unwrap_or_default());
    table.extend_from_slice(&crc.to_le_bytes());
    table.extend_from_slice(b"ALVMSST\0");
    table
}

/// The parts of a table: filter, index, properties, deleted ranges, blocks; the index as it is, and as it was before version 5.
pub fn table(bytes: &[u8]) {
    whole_table(&table_of(bytes, 4));
    whole_table(&table_of(bytes, 5));
}

/// What the index blocks of a table say, each by itself, of every key that they name.
fn index_blocks(table: &Bytes) {
    let Some(layout) = refused(TailLayout::of(table.len() as u64, table)) else { return };
    let section = |range: &std::ops::Range<u64>| table.get(range.start as usize..range.end as usize);
    let (Some(stored), Some(said)) = (section(&layout.index), section(&layout.properties)) else { return };
    let Some(mut said) = refused(Properties::read(said)) else { return };
    let Some(top) = refused(said.take_top(layout.data_bytes(), layout.index.clone())) else { return };
    for part in 0..top.parts() {
        let Some(block) = refused(Block::decode(top.stored_in(part, stored))) else { continue };
        let _ = refused(top.places(part, &block));
        let place = refused(top.find(part, &block, top.separator(part))).flatten();
        assert!(place.is_none_or(|place| place.range.end <= layout.data_bytes()), "a block behind the data");
        let mut cursor = BlockCursor::default();
        let _ = refused(cursor.rewind(&block));
        while let Some((_, key, _)) = cursor.entry(&block) {
            let _ = (
                refused(top.find(part, &block, key)),
                top.grain_of(key),
                top.may_begin(top.blocks() + part, key),
            );
            if refused(cursor.advance(&block)).is_none() {
                break;
            }
        }
    }
}

/// A table as it is.
pub fn whole_table(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    index_blocks(&bytes);
    let report = refused(verify_table(&bytes, &mut |_| ()));
    let Some(inspector) = refused(TableInspector::open(bytes.clone())) else { return };
    assert_eq!(inspector.summary().size_bytes, bytes.len() as u64);
    let (mut blocks, mut sound) = (inspector.blocks(), true);
    while let Some(Some(mut block)) = refused(blocks.next_block()) {
        while block.entry().is_some() {
            if refused(block.advance()).is_none() {
                sound = false;
                break;
            }
        }
    }
    let is_sound = report.is_some_and(|report| report.is_sound());
    assert!(sound || !is_sound, "a block that cannot be read is sound");
}

/// A value file as it is, and one whose index is these bytes.
pub fn value_file(bytes: &[u8]) {
    let _ = refused(verify_values(&Bytes::copy_from_slice(bytes), &mut |_| ()));
    let mut rest = bytes;
    let index = part(&mut rest);
    let mut file = rest.to_vec();
    put_section(&mut file, index, Compression::None);
    let footer = file.len();
    file.extend_from_slice(&((footer - rest.len()) as u32).to_le_bytes());
    file.extend_from_slice(&[1, 0, 1, 0]);
    let crc = crc32c(file.get(footer..).unwrap_or_default());
    file.extend_from_slice(&crc.to_le_bytes());
    file.extend_from_slice(b"ALVMVAL\0");
    let _ = refused(verify_values(&Bytes::from(file), &mut |_| ()));
}

/// A pointer into a value file.
pub fn pointer(bytes: &[u8]) {
    let file = ValueFile::new(FileId(1), Held::new("1.val", Arc::new(KeepAll)));
    file.end(ValueMeta { size_bytes: 2000, data_bytes: 1000, content_hash: 1 });
    let files = [ValueShare { file: Arc::new(file), values: 9, bytes: 900 }];
    if let Some(place) = refused(ValuePlace::decode(bytes, &files)) {
        assert!(
            place.range.start <= place.range.end && place.range.end <= 1000,
            "a pointer that leaves its file"
        );
    }
}

/// A delta's log, and a delta as it is.
pub fn delta(bytes: &[u8]) {
    let _ = refused(verify_delta(&Bytes::copy_from_slice(bytes), &mut |_| ()));
    let _ = refused(verify_pack(&Bytes::copy_from_slice(bytes), &mut |_| ()));
    let size = bytes.len() as u64;
    let packed = [bytes, &pack_directory(&[size / 2, size - size / 2])].concat();
    let _ = refused(verify_pack(&Bytes::from(packed), &mut |_| ()));
    let framed = frame_delta(vec![Bytes::copy_from_slice(bytes)]).concat();
    let report = refused(verify_delta(&Bytes::from(framed), &mut |_| ()));
    let mut whole = Vec::new();
    let mut keep = |record: LogRecord<'_>, _| {
        whole.push(format!("{record:?}"));
        Ok(())
    };
    let replayed = refused(read_log(bytes, &mut keep)).is_some();
    let (mut reader, mut seen) = (LogReader::default(), Vec::new());
    let (head, rest) = bytes.split_at(bytes.len() / 3);
    let in_pieces = [head, rest].iter().try_for_each(|piece| {
        reader.read(piece, &mut |record, _| {
            seen.push(format!("{record:?}"));
            Ok(())
        })
    });
    assert_eq!(seen, whole, "a log in pieces has other records");
    assert_eq!(in_pieces.and_then(|()| reader.finish()).is_ok(), replayed, "and ends otherwise");
    assert!(report.is_some_and(|report| report.is_sound()) <= replayed, "a log that cannot be read is sound");
}

/// A hotness hint, as it is and behind a right magic and checksum.
pub fn hint(bytes: &[u8]) {
    let _ = refused(hint::decode(bytes));
    let framed = [b"ALVMHOT\x01", bytes].concat();
    let framed = [&framed[..], &crc32c(&framed).to_le_bytes()].concat();
    let Some(tables) = refused(hint::decode(&framed)) else { return };
    let again = hint::decode(&hint::encode(&tables));
    assert!(again.is_ok_and(|again| again == tables), "a hint that is not read as it was written");
    let small = hint::encode_within(tables, 1 << 10);
    assert!(small.len() <= 1 << 10, "a hint of {} bytes", small.len());
}

/// A page as it is, and one with this message and its checksum right.
pub fn page(bytes: &[u8]) {
    let _ = refused(PageContent::decode(bytes));
    let object = frame_page(bytes);
    let page = refused(PageContent::decode(&object));
    let report = refused(verify_page(&object, &mut |_| ()));
    assert_eq!(
        page.is_some(),
        report.is_some_and(|report| report.is_sound()),
        "a page is as sound as it is read"
    );
    if let Some(page) = page {
        let again = PageContent::decode(&page.clone().encode());
        assert!(again.is_ok_and(|again| again.tables.len() == page.tables.len()), "{page:?}");
    }
}

/// A store's manifest with a page that has the manifest's own tables, and one log for all deltas that it names.
pub fn manifest(bytes: &[u8]) {
    static IO: LazyLock<Option<(IoRuntime, Arc<Background>)>> =
        LazyLock::new(|| Some((IoRuntime::new(1).ok()?, Arc::new(Background::new(1).ok()?))));
    let (mut log, Some((io, background))) = (bytes, &*IO) else { return };
    let Some(mut manifest) = refused(Manifest::decode(part(&mut log))) else { return };
    let (store, delta) = (InMemory::new(), frame_delta(vec![Bytes::copy_from_slice(log)]).concat());
    // What is missing or of another size is doubted for a tenth of a second: few are.
    manifest.memtables.truncate(4);
    manifest.memtables.iter_mut().for_each(|memtable| memtable.deltas.truncate(2));
    for record in manifest.memtables.iter_mut().flat_map(|memtable| &mut memtable.deltas) {
        record.size_bytes =
            if record.size_bytes % 256 == 255 { record.size_bytes } else { delta.len() as u64 };
        if record.pack_bytes % 256 != 255 {
            record.pack_bytes = 0;
        }
        let path = object_store::path::Path::from(record.name.as_str());
        let _ = io.block_on(store.put(&path, delta.clone().into()));
    }
    manifest.pages.truncate(1);
    let content = PageContent { tables: manifest.tables.clone(), value_files: manifest.value_files.clone() };
    let page = content.encode();
    for record in &mut manifest.pages {
        record.size_bytes = page.len() as u64;
        let path = object_store::path::Path::from(record.name.as_str());
        let _ = io.block_on(store.put(&path, page.clone().into()));
    }
    let opened = Store::open(StoreOptions {
        settings: ForstSettings { memory_bytes: ForstSettings::MIN_MEMORY_BYTES, ..ForstSettings::default() },
        store: Arc::new(store) as Arc<dyn ObjectStore>,
        io: io.clone(),
        background: Arc::clone(background),
        disk: None,
        operators: Arc::new(Longer),
        ownership: Arc::new(KeepAll),
        notify: Arc::new(|| ()),
        prefix: "fuzz".to_owned(),
        restored: vec![Restored {
            manifest: prost::Message::encode_to_vec(&manifest).into(),
            start: vec![0],
            end: Vec::new(),
        }],
    });
    if let Some(mut store) = refused(opened) {
        let _ = refused(store.get_resident(b"key").map(|_| ()));
        let _ = store.snapshot().manifest();
    }
}

/// A file of the disk tier.
pub fn mirror(bytes: &[u8]) {
    crate::fetch::fuzz_header(bytes);
    // Behind the fixed part is the name, then the checksum.
    let mut header = bytes.to_vec();
    let name = header
        .get(12..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(0, |n| u32::from_le_bytes(*n) as usize);
    let end = name.saturating_add(32);
    if let Some(covered) = header.get(..end) {
        let crc = crc32c(covered).to_le_bytes();
        if let Some(place) = header.get_mut(end..end + 4) {
            place.copy_from_slice(&crc);
        }
    }
    crate::fetch::fuzz_header(&header);
}

/// What a job says of its states, and what entries of theirs become.
pub fn operators(bytes: &[u8]) {
    let mut rest = bytes;
    let (key, value) = (part(&mut rest), part(&mut rest));
    let Some(operators) = refused(StateOperators::default().operators(rest)) else { return };
    if let Some(operator) = operators.operator(key) {
        let _ = refused(operator.merge(&mut value.to_vec(), value));
    }
    let Some(expiry) = operators.expiry() else { return };
    let now_millis = expiry.now_millis();
    let horizon_millis = now_millis.saturating_sub(expiry.longest_millis());
    let _ = refused(expiry.judge(key, &mut value.to_vec(), Moment { now_millis, horizon_millis }));
}

/// What a stored object gives the targets to begin with: their names, and bytes for them.
pub fn seeds(name: &str, object: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "sst" => table_seeds(object).unwrap_or_default(),
        "val" => {
            vec![("value_file", object.to_vec()), ("section", object.get(..100).unwrap_or_default().to_vec())]
        }
        "delta" => vec![("delta", object.get(8..object.len() - 4).unwrap_or_default().to_vec())],
        "page" => {
            let message = object.get(8..object.len().saturating_sub(4)).unwrap_or_default();
            vec![("page", message.to_vec()), ("page_names", message.to_vec())]
        }
        "blocks" => vec![("mirror", object.get(..128).unwrap_or_default().to_vec())],
        "job" => vec![("job", message_of(object))],
        "claim" | "beat" => vec![("claim", message_of(object)), ("claim", object.to_vec())],
        "result" => vec![("result", message_of(object))],
        _ => Vec::new(),
    }
}

/// Of an object of a compaction: what is between its head and its checksum.
fn message_of(object: &[u8]) -> Vec<u8> {
    object.get(9..object.len().saturating_sub(4)).unwrap_or_default().to_vec()
}

fn table_seeds(object: &[u8]) -> Option<Vec<(&'static str, Vec<u8>)>> {
    let layout =
        TailLayout::of(object.len() as u64, object.get(object.len().checked_sub(FOOTER_BYTES)?..)?).ok()?;
    let mut seeds = vec![("whole_table", object.to_vec())];
    let mut parts = Vec::new();
    let data = object.get(..layout.data_bytes() as usize)?;
    let tail = TableTail::decode(object.get(data.len()..)?, layout.data_bytes()).ok()?;
    // An index of one block is a section like any other.
    if tail.top.parts() <= 1 {
        for range in [&layout.filter, &layout.index, &layout.properties, &layout.deleted] {
            let stored = object.get(range.start as usize..range.end as usize)?;
            put_part(&mut parts, &read_section("a part", stored).unwrap_or_default());
        }
        parts.extend_from_slice(data);
        seeds.push(("table", parts));
    }
    let index = &tail.index;
    for range in (0..index.blocks()).map_while(|block| index.range(block)) {
        let stored = data.get(range.start as usize..range.end as usize)?;
        seeds.push(("section", stored.get(..stored.len().checked_sub(4)?)?.to_vec()));
        let mut block = Vec::new();
        put_part(&mut block, index.separator(0));
        block.extend_from_slice(&read_section("a block", stored).ok()?);
        seeds.push(("block", block));
    }
    Some(seeds)
}

/// What a subtask's payload of a checkpoint gives the targets to begin with.
pub fn payload_seeds(payload: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = vec![("payload", payload.to_vec())];
    if let Ok(manifest) = crate::backend::manifest_of(payload) {
        let mut seed = Vec::new();
        put_part(&mut seed, &manifest);
        seeds.push(("manifest", seed));
    }
    seeds
}

/// A subtask's payload.
pub fn payload(bytes: &[u8]) {
    let _ = refused(crate::backend::manifest_of(bytes));
}
