//! Holds `docs/formats/compaction.md` to the code: its worked bytes are decoded, compared, encoded.
use proptest::prelude::*;

use super::format::{Beat, Claim, Framed, Job, JobResult, MomentRecord, RunRecord, crc_of};
use crate::store::TableRecord;

const PAGE: &str = include_str!("../../../docs/formats/compaction.md");

/// The bytes of a fenced block; everything behind `│` is for people.
fn worked(name: &str) -> Vec<u8> {
    let fence = format!("```worked {name}\n");
    let block = PAGE.split(&fence).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn table(number: u64, size_bytes: u64, (entries, deletes): (u64, u64), end: &[u8]) -> TableRecord {
    TableRecord {
        name: format!("state/00000001/0000/{number:012}.sst"),
        size_bytes,
        tail_bytes: 300,
        start: b"a".to_vec(),
        end: end.to_vec(),
        entries,
        deletes,
        ..TableRecord::default()
    }
}

fn job() -> Job {
    Job {
        runs: vec![RunRecord {
            tables: vec![TableRecord { content_hash: 7, ..table(2, 400, (3, 1), b"d\0") }],
        }],
        level: 6,
        bottom: true,
        block_size_bytes: 4096,
        table_size_bytes: 1 << 20,
        compression: 1,
        value_threshold_bytes: 4096,
        value_file_bytes: 1 << 20,
        moment: Some(MomentRecord { now_millis: 1700, horizon_millis: 1600 }),
        table_names: vec!["state/00000001/0000/000000000005.sst".to_owned()],
        ..Job::default()
    }
}

fn holds<M: Framed + PartialEq>(name: &str, message: &M) {
    let bytes = worked(name);
    assert!(
        M::unframe(&bytes).is_ok_and(|found| found == *message),
        "docs/formats/compaction.md has another {name}"
    );
    assert_eq!(message.frame(), bytes, "docs/formats/compaction.md has other bytes of the {name}");
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(M::unframe(&other).is_err(), "bit {bit} of the {name} can flip unseen");
    }
    for length in 0..bytes.len() {
        assert!(M::unframe(&bytes[..length]).is_err(), "a {name} of {length} bytes");
    }
}

#[test]
fn the_worked_objects_are_what_both_sides_write_and_read() {
    holds("job", &job());
    holds("claim", &Claim { worker: 42 });
    holds("beat", &Beat { worker: 42, number: 3 });
    let tables = vec![TableRecord { content_hash: 9, ..table(5, 380, (2, 0), b"c\0") }];
    holds("result", &JobResult { job_crc: crc_of(&job().frame()), tables, ..JobResult::default() });
}

#[test]
fn what_a_job_claims_is_added_up_without_an_overflow() {
    let huge = TableRecord { tail_bytes: u64::MAX, ..TableRecord::default() };
    let job = Job {
        runs: vec![RunRecord { tables: vec![huge.clone(), huge] }],
        table_size_bytes: u64::MAX,
        value_file_bytes: u64::MAX,
        ..Job::default()
    };
    assert_eq!((job.tail_bytes(), job.writing_bytes()), (u64::MAX, u64::MAX));
}

#[test]
fn one_kind_of_object_is_not_taken_for_another_and_neither_is_another_version() {
    assert!(Beat::unframe(&worked("claim")).is_err() && Claim::unframe(&worked("beat")).is_err());
    let mut later = worked("claim");
    later[7] = 2;
    let covered = later.len() - 4;
    let crc = crate::coding::crc32c(&later[..covered]);
    later[covered..].copy_from_slice(&crc.to_le_bytes());
    let refused = Claim::unframe(&later).unwrap_err();
    assert!(refused.to_string().contains("version 2"), "{refused}");
}

proptest! {
    #[test]
    fn any_message_is_refused_or_opened(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"ALVMCMP\x01\x01".to_vec();
        bytes.extend(message);
        bytes.extend(crate::coding::crc32c(&bytes).to_le_bytes());
        if let Ok(job) = Job::unframe(&bytes) {
            let _ = (job.writing_bytes(), job.tail_bytes());
        }
    }
}
