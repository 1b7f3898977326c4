//! Holds `docs/formats/sst.md`, `docs/formats/delta.md` and `docs/formats/page.md` to the code: their worked bytes are built, compared, read.
use super::{SlimTail, TableBuilder, TableOptions, TableTail, filter_hash};
use crate::block::Block;
use crate::coding::crc32c;
use crate::compression::Compression;
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::key_range::KeyRange;
use crate::memtable::{LogRecord, Memtable, read_log};
use crate::store::{PageContent, TableRecord, ValueFileRecord, ValueShareRecord};

const SST: &str = include_str!("../../../docs/formats/sst.md");
const DELTA: &str = include_str!("../../../docs/formats/delta.md");
const PAGE: &str = include_str!("../../../docs/formats/page.md");

/// The bytes of the fenced block that is marked `worked`; everything behind `│` is for people.
fn worked_bytes(page: &str) -> Vec<u8> {
    fenced(page, "worked")
}

fn fenced(page: &str, mark: &str) -> Vec<u8> {
    let block = page.split(&format!("```{mark}\n")).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

const ENTRIES: [(EntryKind, &[u8], &[u8]); 3] = [
    (EntryKind::Put, b"\x00\x01\x00\x00apple\x00\x00", b"\x07"),
    (EntryKind::Merge, b"\x00\x01\x00\x00apricot\x00\x00", b"\x02"),
    (EntryKind::Delete, b"\x00\x02\x00\x00fig\x00\x00", b""),
];

/// Every key of state 0 in key group 2 that begins with `g`.
fn deleted() -> KeyRange {
    KeyRange::of_prefix(b"\x00\x02\x00\x00g")
}

#[test]
fn the_worked_table_is_what_the_builder_writes_and_the_reader_reads() {
    let mut builder = TableBuilder::new(TableOptions {
        block_size_bytes: 4096,
        table_size_bytes: 1 << 20,
        compression: Compression::Lz4,
    });
    for (kind, key, value) in ENTRIES {
        builder.add(kind, key, value);
    }
    let built = builder.finish(DeletedRanges::union([deleted()])).unwrap();
    let bytes = built.payload.concat();
    assert_eq!(hex(&bytes), hex(&worked_bytes(SST)), "docs/formats/sst.md has other worked bytes");

    let data_bytes = bytes.len() - built.tail_bytes as usize;
    let tail = TableTail::decode(&bytes[data_bytes..], data_bytes as u64).unwrap();
    assert_eq!(tail.properties.entries, 3);
    assert!(tail.deleted.covers(b"\x00\x02\x00\x00grape\x00\x00") && !tail.deleted.covers(ENTRIES[2].1));
    assert!(built.keys.contains(b"\x00\x02\x00\x00grape\x00\x00"), "the deleted range is within the bounds");
    let groups: Vec<_> =
        tail.properties.key_groups.iter().map(|g| (g.group, g.first_block, g.entries)).collect();
    assert_eq!(groups, [(1, 0, 2), (2, 0, 1)]);
    let block = Block::decode(&bytes[..data_bytes]).unwrap();
    for (kind, key, value) in ENTRIES {
        assert_eq!(block.get(key, filter_hash(key), false).unwrap(), Some((kind, value)));
    }
}

/// The worked table of a version before 5, whose index is one section.
fn worked_of_version(version: u8) -> Vec<u8> {
    let mut bytes = fenced(SST, "worked version 4");
    let footer = bytes.len() - 32;
    bytes[footer + 16] = version;
    let crc = crc32c(&bytes[footer..footer + 20]);
    bytes[footer + 20..footer + 24].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn tables_of_version_2_to_4_are_read_and_one_of_another_version_is_refused() {
    for version in 0..8 {
        let bytes = if version == 5 { worked_bytes(SST) } else { worked_of_version(version) };
        let data_bytes = bytes.len() - worked_tail_bytes(&bytes);
        let tail = TableTail::decode(&bytes[data_bytes..], data_bytes as u64);
        match version {
            2..=5 => assert_eq!(tail.unwrap().properties.entries, 3),
            _ => assert_eq!(tail.unwrap_err().kind(), alluvium_env::ErrorKind::Invalid),
        }
    }
}

#[test]
fn any_flipped_bit_of_a_table_is_noticed() {
    let bytes = worked_bytes(SST);
    let data_bytes = bytes.len() - worked_tail_bytes(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let block = Block::decode(&broken[..data_bytes]);
        let tail = TableTail::decode(&broken[data_bytes..], data_bytes as u64);
        assert!(block.is_err() || tail.is_err(), "bit {bit} can flip unseen");
    }
}

#[test]
fn the_end_of_a_table_is_enough_for_a_slim_tail_and_any_flipped_bit_of_it_is_noticed() {
    let bytes = worked_bytes(SST);
    let size = bytes.len() as u64;
    let data_bytes = bytes.len() - worked_tail_bytes(&bytes);
    let whole = TableTail::decode(&bytes[data_bytes..], data_bytes as u64).unwrap();
    for start in [0, data_bytes, 132] {
        let (slim, properties) = SlimTail::of_end(&bytes[start..], size).unwrap().unwrap();
        assert_eq!((&properties, &slim.deleted), (whole.properties.as_ref(), &whole.deleted));
        assert_eq!(format!("{:?}", slim.top), format!("{:?}", whole.top));
    }
    assert!(SlimTail::of_end(&bytes[133..], size).unwrap().is_none(), "the properties begin before");
    let old = fenced(SST, "worked version 4");
    assert!(SlimTail::of_end(&old, old.len() as u64).unwrap().is_none(), "its index is one section");
    // From the properties on.
    for bit in 132 * 8..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        let slim = SlimTail::of_end(&broken, size);
        assert!(slim.is_err() || slim.is_ok_and(|slim| slim.is_none()), "bit {bit} can flip unseen");
    }
}

/// What a manifest says of the worked table.
fn worked_tail_bytes(bytes: &[u8]) -> usize {
    let footer = &bytes[bytes.len() - 32..];
    let length = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().unwrap()) as usize;
    length(0) + length(4) + length(8) + length(12) + 32
}

#[test]
fn the_worked_delta_is_what_a_memtable_logs() {
    let mut table = Memtable::default();
    for (kind, key, value) in ENTRIES {
        table.write(kind, key, value).unwrap();
    }
    table.delete_range(deleted()).unwrap();
    table.seal();
    let framed = crate::store::frame_delta(table.sealed_from(0)).concat();
    assert_eq!(hex(&framed), hex(&worked_bytes(DELTA)), "docs/formats/delta.md has other worked bytes");
    let mut read = Vec::new();
    let mut range = None;
    read_log(&framed[8..framed.len() - 4], &mut |record, _| {
        match record {
            LogRecord::Entry(e) => read.push((e.kind, e.key.to_vec(), e.value.to_vec())),
            LogRecord::Continuation { .. } => panic!("it has none"),
            LogRecord::DeleteRange { start, end } => range = Some(KeyRange::new(start, end)),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(range, Some(deleted()));
    assert_eq!(read, ENTRIES.map(|(kind, key, value)| (kind, key.to_vec(), value.to_vec())));
}

#[test]
fn the_worked_continuation_is_what_a_list_that_grows_logs() {
    let worked = fenced(DELTA, "worked continuation");
    assert_eq!(
        hex(&crate::memtable::grown_log(b"\x00\x02\x00\x00fig\x00\x00", [b"one", b"two", b"3"])),
        hex(&worked)
    );
    let mut read = Vec::new();
    let mut each = |record: LogRecord<'_>, length| {
        match record {
            LogRecord::Entry(e) => read.push((e.value.to_vec(), length)),
            LogRecord::Continuation { bytes, .. } => read.push((bytes.to_vec(), length)),
            LogRecord::DeleteRange { .. } => panic!("it has none"),
        }
        Ok(())
    };
    read_log(&worked, &mut each).unwrap();
    assert_eq!(read, [(b"one".to_vec(), 20), (b"two3".to_vec(), 35)]);
}

#[test]
fn the_worked_pack_ends_as_packs_do() {
    assert_eq!(hex(&crate::store::pack_directory(&[89, 28])), hex(&fenced(DELTA, "worked pack")));
}

#[test]
fn the_worked_page_is_what_is_written_and_read() {
    let table = |name: &str, size_bytes, keys: [&[u8]; 2]| TableRecord {
        name: format!("state/00000002/0003/{name}.sst"),
        size_bytes,
        tail_bytes: 500,
        start: keys[0].to_vec(),
        end: keys[1].to_vec(),
        entries: 20,
        content_hash: 0x0123_4567_89AB_CDEF,
        ..TableRecord::default()
    };
    let value_file = ValueFileRecord {
        name: "state/00000002/0003/000000000003.val".into(),
        size_bytes: 5200,
        data_bytes: 5100,
        content_hash: 0xFEDC_BA98_7654_3210,
    };
    let share = ValueShareRecord { file: 0, values: 1, bytes: 5010 };
    let second = TableRecord { values: vec![share], ..table("000000000002", 3000, [b"c", b""]) };
    let content = PageContent {
        tables: vec![table("000000000001", 4096, [b"a", b"c"]), second],
        value_files: vec![value_file],
    };
    let bytes = fenced(PAGE, "worked page");
    assert_eq!(hex(&content.clone().encode()), hex(&bytes), "docs/formats/page.md has other worked bytes");
    assert_eq!(PageContent::decode(&bytes).unwrap(), content);
}

#[test]
fn the_worked_zstandard_block_is_read_and_every_flipped_bit_of_it_is_noticed() {
    let bytes = fenced(SST, "worked zstd");
    let key = b"\x00\x02\x00\x00fig\x00\x00";
    let mut builder = crate::block::BlockBuilder::default();
    builder.add(EntryKind::Put, key, &[0; 64]);
    let mut written = Vec::new();
    crate::coding::put_section(&mut written, builder.finish(), Compression::Zstd { level: 1 });
    assert_eq!(hex(&written), hex(&bytes), "docs/formats/sst.md has another Zstandard block");
    assert_eq!(Block::decode(&bytes).unwrap().get(key, 0, false).unwrap().unwrap().1, [0; 64]);
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(Block::decode(&broken).is_err(), "bit {bit} can flip unseen");
    }
}
