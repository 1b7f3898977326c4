//! The end of a value file: how long each record is, so that whoever verifies the file can walk it without its tables.
use std::ops::Range;

use alluvium_env::{Error, Result};

use crate::coding::{Input, crc32c, put_section, put_varint};
use crate::compression::Compression;

/// Ends every value file.
const MAGIC: [u8; 8] = *b"ALVMVAL\0";
/// The version that is written; `docs/formats/value.md` holds the ladder.
const VERSION: u16 = 1;
/// CRC-32C.
const CHECKSUM_ID: u8 = 1;
/// `index_len:u32 · version:u16 · checksum:u8 · reserved:u8 · crc32c:u32 · magic`.
pub(crate) const FOOTER_BYTES: usize = 20;
const _: () = assert!(FOOTER_BYTES == 4 + 2 + 1 + 1 + 4 + MAGIC.len());

/// Index and footer behind records of these lengths.
pub(super) fn encode(lengths: &[u32]) -> Vec<u8> {
    let mut content = Vec::new();
    put_varint(&mut content, lengths.len() as u64);
    for length in lengths {
        put_varint(&mut content, u64::from(*length));
    }
    let mut out = Vec::new();
    put_section(&mut out, &content, Compression::Lz4);
    let index_len = out.len() as u32;
    out.extend_from_slice(&index_len.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[CHECKSUM_ID, 0]);
    let crc = crc32c(out.get(index_len as usize..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    out
}

/// Where the index of a file of so many bytes lies, by its last [`FOOTER_BYTES`].
///
/// # Errors
/// `Corruption` if they are no footer, `Invalid` if another version wrote it.
pub(crate) fn index_range(file_bytes: u64, footer: &[u8]) -> Result<Range<u64>> {
    let wrong = |what: String| Error::corruption(format!("a value file's footer has {what}"));
    let footer: &[u8; FOOTER_BYTES] =
        footer.try_into().map_err(|_| wrong(format!("{} bytes", footer.len())))?;
    let [l0, l1, l2, l3, v0, v1, checksum, _, c0, c1, c2, c3, magic @ ..] = *footer;
    if magic != MAGIC {
        return Err(wrong(format!("the magic {}", magic.escape_ascii())));
    }
    let covered = footer.first_chunk::<8>().map_or(&[][..], |covered| covered);
    let (expected, found) = (u32::from_le_bytes([c0, c1, c2, c3]), crc32c(covered));
    if expected != found {
        return Err(wrong(format!("checksum {found:08x} instead of {expected:08x}")));
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != VERSION || checksum != CHECKSUM_ID {
        return Err(Error::invalid(format!(
            "a value file of format version {version} with checksum {checksum}; this build reads version {VERSION} with \
             checksum {CHECKSUM_ID}: use the build that wrote it"
        )));
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    let end = file_bytes.saturating_sub(FOOTER_BYTES as u64);
    let start = end.checked_sub(u64::from(length));
    start.map(|start| start..end).ok_or_else(|| wrong(format!("an index of {length} bytes before it")))
}

/// Reads the lengths of the records from an index' content.
///
/// # Errors
/// `Corruption` for anything but what [`encode`] writes.
pub(crate) fn lengths(index: &[u8]) -> Result<Vec<u64>> {
    let mut input = Input::new("a value file's index", index);
    let mut lengths = Vec::new();
    for _ in 0..input.length()? {
        lengths.push(input.varint()?);
    }
    let left = index.len() - input.offset();
    if left > 0 {
        return Err(Error::corruption(format!("a value file's index with {left} bytes left over")));
    }
    Ok(lengths)
}
