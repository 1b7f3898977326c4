//! Checks a delta: its checksum, and that its log can be replayed.
use alluvium_env::Result;

use super::object::ReadAt;
use super::report::DeltaReport;
use crate::coding::section_checksums;
use crate::memtable::{LogRecord, Memtable, read_log};
use crate::store::{DELTA_MAGIC, strip_frame};

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
    if let Some((expected, found)) = section_checksums(&bytes).filter(|(expected, found)| expected != found) {
        report.find(size - 4, "the checksum", format!("{expected:08x}"), format!("{found:08x}"));
        return Ok(report);
    }
    let log = match strip_frame(&bytes) {
        Ok(log) => log,
        Err(error) => {
            report.find(0, "the frame", "the frame of a delta", error.to_string());
            return Ok(report);
        }
    };
    let mut offset = DELTA_MAGIC.len() as u64;
    let (mut entries, mut deleted_ranges) = (0, 0);
    let mut memtable = Memtable::default();
    let replayed = read_log(log, &mut |record| {
        let (key, value) = match &record {
            LogRecord::Entry(entry) => {
                entries += 1;
                (entry.key, entry.value)
            }
            LogRecord::DeleteRange { start, end } => {
                deleted_ranges += 1;
                (*start, *end)
            }
        };
        let end = offset + 8 + (key.len() + value.len()) as u64;
        memtable.replay(record)?;
        offset = end;
        Ok(())
    });
    if let Err(error) = replayed {
        report.find(offset, "the log", "entries as the format says", error.to_string());
    }
    (report.summary.entries, report.summary.deleted_ranges) = (entries, deleted_ranges);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::EntryKind;
    use crate::inspect::broken::assert_found;
    use crate::key_range::KeyRange;
    use crate::store::frame_delta;

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
    fn a_log_that_ends_within_an_entry_is_found_where_that_begins() {
        let bytes = delta();
        let log = Bytes::copy_from_slice(&bytes[8..bytes.len() - 5]);
        let framed = Bytes::from(frame_delta(vec![log]).concat());
        let report = verify_delta(&framed, &mut |_| ()).unwrap();
        // Nine puts of 14 bytes are before it.
        assert_eq!((report.findings.len(), report.findings[0].offset), (1, 8 + 9 * 14));
    }
}
