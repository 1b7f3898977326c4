//! Holds `docs/formats/value.md` to the code: its worked bytes are built, compared, read.
use std::sync::Arc;

use proptest::prelude::*;

use super::{BuiltValues, ValueBuilder, ValueFile, ValueMeta, ValuePlace, ValueShare, trailer};
use crate::block::Block;
use crate::coding::read_section;
use crate::expiry::Stamp;
use crate::table::{FileId, Held, KeepAll, Keeping};

const PAGE: &str = include_str!("../../../docs/formats/value.md");
const APPLE: &[u8] = b"\x00\x01\x00\x00apple\x00\x00";
const FIG: &[u8] = b"\x00\x02\x00\x00fig\x00\x00";

/// The bytes of a fenced block; everything behind `│` is for people.
fn worked(name: &str) -> Vec<u8> {
    let fence = format!("```worked {name}\n");
    let block = PAGE.split(&fence).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// Both records, and where the second one is.
fn built() -> (BuiltValues, ValuePlace) {
    let mut builder = ValueBuilder::new(
        ValueFile::new(FileId(1), Held::new("state/1/2.val", Arc::new(KeepAll))),
        Keeping::default(),
    );
    builder.add(APPLE, b"\x07", None);
    let stamp = Stamp { class: 0, since_millis: 1_700_000_000_000, updated_millis: 1_700_000_000_000 };
    let place = builder.add(FIG, &[0; 64], Some(stamp));
    (builder.finish(), place)
}

#[test]
fn the_worked_value_file_is_what_the_builder_writes_and_a_walk_reads() {
    let (built, place) = built();
    let bytes = built.payload.concat();
    assert_eq!(hex(&bytes), hex(&worked("file")), "docs/formats/value.md has other worked bytes");
    let ValueMeta { size_bytes, data_bytes, content_hash } = built.file.meta();
    assert!(size_bytes == bytes.len() as u64 && data_bytes == place.range.end && content_hash != 0);

    // The walk of somebody who has no table: from the footer to the lengths to the records.
    let footer = &bytes[bytes.len() - trailer::FOOTER_BYTES..];
    let index = trailer::index_range(size_bytes, footer).unwrap();
    let index = read_section("the index", &bytes[index.start as usize..index.end as usize]).unwrap();
    let lengths = trailer::lengths(&index).unwrap();
    let mut offset = 0;
    let mut lengths = lengths.into_iter();
    let count = lengths.len();
    let mut records = (0..count).map(|_| {
        let start = offset;
        offset += lengths.next().unwrap() as usize;
        Block::decode(&bytes[start..offset]).unwrap()
    });
    assert_eq!(records.next().unwrap().get(APPLE, 0, false).unwrap().unwrap().1, b"\x07");
    let second = records.next().unwrap();
    assert_eq!(place.value_in(&second, FIG).unwrap(), [0; 64]);
    assert!(place.value_in(&second, APPLE).unwrap_err().to_string().contains("state/1/2.val at offset 28"));
    assert!(records.next().is_none() && offset as u64 == data_bytes);
}

#[test]
fn the_worked_pointer_is_what_a_table_holds_and_a_reader_follows() {
    let (built, place) = built();
    let mut pointer = Vec::new();
    place.encode(0, &mut pointer);
    assert_eq!(hex(&pointer), hex(&worked("pointer")), "docs/formats/value.md has another worked pointer");
    let files = [ValueShare { file: Arc::clone(&built.file), values: 1, bytes: place.bytes() }];
    let read = ValuePlace::decode(&pointer, &files).unwrap();
    assert_eq!((read.number, read.range.clone(), read.stamp), (1, place.range.clone(), place.stamp));
    assert!(ValuePlace::decode(&pointer, &[]).unwrap_err().message().contains("value file 0"));
    for length in 0..pointer.len() {
        let whole_but_for_the_stamp = length == 4;
        assert_eq!(
            ValuePlace::decode(&pointer[..length], &files).is_ok(),
            whole_but_for_the_stamp,
            "{length}"
        );
    }
    for (at, byte) in pointer.iter().enumerate() {
        for flipped in (0..8).map(|bit| byte ^ 1 << bit) {
            let mut other = pointer.clone();
            other[at] = flipped;
            if let Ok(other) = ValuePlace::decode(&other, &files) {
                assert!(other.range.end <= built.file.meta().data_bytes, "a pointer that leaves its file");
            }
        }
    }
}

#[test]
fn any_flipped_bit_of_a_record_is_noticed() {
    let bytes = worked("file");
    for bit in 0..28 * 8 {
        let mut record = bytes[..28].to_vec();
        record[bit / 8] ^= 1 << (bit % 8);
        assert!(Block::decode(&record).is_err(), "bit {bit} can flip unseen");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_point_into_their_file(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let (built, place) = built();
        let files = [ValueShare { file: Arc::clone(&built.file), values: 1, bytes: place.bytes() }];
        if let Ok(place) = ValuePlace::decode(&bytes, &files) {
            prop_assert!(place.range.end <= built.file.meta().data_bytes && u64::from(place.number) <= place.range.start);
        }
    }
}
