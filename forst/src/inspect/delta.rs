//! Checks a delta: its checksum, and that its log can be replayed; and a pack, which is several of them.
use alluvium_env::Result;

use super::object::ReadAt;
use super::report::DeltaReport;
use crate::coding::section_checksums;
use crate::hint;
use crate::memtable::{LogRecord, Memtable, read_log};
use crate::store::{DELTA_MAGIC, pack_ranges, strip_frame};

/// Checks every byte of a delta, which is read whole: it is at most as large as a memtable.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_delta(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<DeltaReport> {
    let mut report = DeltaReport::default();
    let size = object.size_bytes();
    report.summary.size_bytes = size;
    let bytes = object.read(0..size)?;
    progress(size);
    check(&bytes, 0, &mut report);
    Ok(report)
}

/// Checks every byte of a hotness hint.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_hint(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<DeltaReport> {
    let mut report = DeltaReport::default();
    let size = object.size_bytes();
    report.summary.size_bytes = size;
    let bytes = object.read(0..size)?;
    progress(size);
    check_hint(&bytes, 0, &mut report);
    Ok(report)
}

/// Checks every byte of a pack, which is read whole: its pieces are small ones.
///
/// # Errors
/// What reading the object fails with. What is wrong with its bytes is in the report.
pub fn verify_pack(object: &dyn ReadAt, progress: &mut dyn FnMut(u64)) -> Result<DeltaReport> {
    let mut report = DeltaReport::default();
    let size = object.size_bytes();
    report.summary.size_bytes = size;
    let bytes = object.read(0..size)?;
    progress(size);
    match pack_ranges(&bytes) {
        Ok(ranges) => {
            for range in ranges {
                let delta = bytes.get(range.start as usize..range.end as usize).unwrap_or_default();
                if hint::is_hint(delta) {
                    check_hint(delta, range.start, &mut report);
                } else {
                    check(delta, range.start, &mut report);
                }
            }
        }
        Err(error) => report.find(size, "the directory", "the directory of a pack", error.to_string()),
    }
    Ok(report)
}

/// Checks a hint that begins at an offset of its object.
fn check_hint(bytes: &[u8], at: u64, report: &mut DeltaReport) {
    if let Err(error) = hint::decode(bytes) {
        report.find(at, "the hint", "a hotness hint", error.to_string());
    }
}

/// Checks a delta that begins at an offset of its object.
fn check(bytes: &[u8], at: u64, report: &mut DeltaReport) {
    let end = at + bytes.len() as u64;
    if let Some((expected, found)) = section_checksums(bytes).filter(|(expected, found)| expected != found) {
        report.find(end - 4, "the checksum", format!("{expected:08x}"), format!("{found:08x}"));
        return;
    }
    let log = match strip_frame(bytes) {
        Ok(log) => log,
        Err(error) => {
            report.find(at, "the frame", "the frame of a delta", error.to_string());
            return;
        }
    };
    let mut offset = at + DELTA_MAGIC.len() as u64;
    let (mut entries, mut deleted_ranges) = (0, 0);
    let mut memtable = Memtable::default();
    let replayed = read_log(log, &mut |record, length| {
        match &record {
            LogRecord::Entry(_) | LogRecord::Continuation { .. } => entries += 1,
            LogRecord::DeleteRange { .. } => deleted_ranges += 1,
        }
        memtable.replay(record)?;
        offset += length as u64;
        Ok(())
    });
    if let Err(error) = replayed {
        report.find(offset, "the log", "entries as the format says", error.to_string());
    }
    report.summary.entries += entries;
    report.summary.deleted_ranges += deleted_ranges;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::EntryKind;
    use crate::inspect::broken::assert_found;
    use crate::key_range::KeyRange;
    use crate::store::{frame_delta, pack_directory};

    fn delta() -> Vec<u8> {
        let mut table = Memtable::default();
        for key in 0..9_u8 {
            table.write(EntryKind::Put, &[key], b"value").unwrap();
        }
        table.delete_range(KeyRange::new(b"a", b"b")).unwrap();
        table.seal();
        frame_delta(table.sealed_from(0)).concat()
    }

    #[test]
    fn a_sound_delta_is_counted_and_every_flipped_bit_and_every_cut_is_found() {
        let sound = assert_found(&delta(), verify_delta);
        assert_eq!((sound.summary.entries, sound.summary.deleted_ranges), (9, 1));
    }

    #[test]
    fn a_sound_pack_is_counted_and_every_flipped_bit_and_every_cut_is_found() {
        let delta = delta();
        let size = delta.len() as u64;
        let pack = [&delta[..], &delta, &pack_directory(&[size, size])].concat();
        assert_eq!(pack_ranges(&pack).unwrap(), [0..size, size..2 * size]);
        let sound = assert_found(&pack, verify_pack);
        assert_eq!((sound.summary.entries, sound.summary.deleted_ranges), (18, 2));
    }

    #[test]
    fn a_directory_that_does_not_fit_its_pack_is_corruption() {
        for sizes in [&[5][..], &[3], &[2, 3], &[u64::MAX, 5], &[]] {
            let pack = [&[0; 4][..], &pack_directory(sizes)].concat();
            assert!(pack_ranges(&pack).is_err(), "{sizes:?}");
        }
        assert_eq!(pack_ranges(&pack_directory(&[])).unwrap(), []);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_refused_or_ranges_of_a_pack(bytes: Vec<u8>, sizes: Vec<u64>) {
            for pack in [bytes.clone(), [&bytes[..], &pack_directory(&sizes)].concat()] {
                for range in pack_ranges(&pack).unwrap_or_default() {
                    assert!(range.end <= pack.len() as u64);
                }
            }
        }
    }

    #[test]
    fn a_log_that_ends_within_an_entry_is_found_where_that_begins() {
        let bytes = delta();
        let log = Bytes::copy_from_slice(&bytes[8..bytes.len() - 5]);
        let framed = Bytes::from(frame_delta(vec![log]).concat());
        let report = verify_delta(&framed, &mut |_| ()).unwrap();
        // Nine puts of 14 bytes are before it.
        assert_eq!((report.findings.len(), report.findings[0].offset), (1, 8 + 9 * 14));
    }
}
