//! Holds `docs/formats/hint.md` to the code: its worked bytes are built, compared, read.
use proptest::prelude::*;

use super::*;

const PAGE: &str = include_str!("../../../docs/formats/hint.md");

/// The bytes of the fenced block that is marked `worked`; everything behind `│` is for people.
fn worked() -> Vec<u8> {
    let block = PAGE.split("```worked\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

fn example() -> Vec<HotTable> {
    let run = |first, blocks, heat| HotRun { first, blocks, heat };
    vec![
        HotTable {
            content_hash: 0x0123_4567_89ab_cdef,
            runs: vec![run(0, 3, Heat::Often), run(3, 1, Heat::Seen), run(40, 200, Heat::Again)],
        },
        HotTable { content_hash: 7, runs: vec![run(1000, 1, Heat::Again)] },
    ]
}

#[test]
fn the_worked_hint_is_what_is_written_and_read() {
    assert_eq!(hex(&encode(&example())), hex(&worked()), "docs/formats/hint.md has other worked bytes");
    assert_eq!(decode(&worked()).unwrap(), example());
}

#[test]
fn any_flipped_bit_any_cut_and_another_version_are_noticed() {
    let bytes = worked();
    for bit in 0..bytes.len() * 8 {
        let mut broken = bytes.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&broken).is_err(), "bit {bit} can flip unseen");
    }
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    assert!(is_hint(&bytes) && !is_hint(b"ALVMDLT\x01") && !is_hint(b""));
    let next = framed(&[b"ALVMHOT\x02", &bytes[8..bytes.len() - 4]].concat());
    assert!(is_hint(&next) && decode(&next).is_err());
}

/// As if a checksum had been made for it.
fn framed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crate::coding::crc32c(bytes).to_le_bytes()].concat()
}

proptest! {
    #[test]
    fn hints_round_trip(tables in proptest::collection::vec((any::<u64>(), proptest::collection::vec((0_u32..300, 0_u8..3), 1..50)), 0..5)) {
        let tables: Vec<HotTable> = tables.into_iter().map(|(content_hash, steps)| {
            let (mut table, mut at) = (HotTable::new(content_hash), 0);
            for (gap, heat) in steps {
                at += gap;
                table.push(at, Heat::of(heat.into()).unwrap());
                at += 1;
            }
            table
        }).collect();
        prop_assert_eq!(decode(&encode(&tables)).unwrap(), tables);
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&bytes);
        // Behind a right magic and a right checksum.
        if let Ok(tables) = decode(&framed(&[b"ALVMHOT\x01", &bytes[..]].concat())) {
            prop_assert!(tables.iter().map(|table| table.runs.len() * 2 + 9).sum::<usize>() <= bytes.len());
            prop_assert!(tables.iter().flat_map(|table| &table.runs).all(|run| run.blocks > 0 && run.end() > run.first));
        }
    }
}
