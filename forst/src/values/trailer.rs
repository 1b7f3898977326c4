//! The end of a value file: how long each record is, so that whoever verifies the file can walk it without its tables.
use crate::coding::{crc32c, put_section, put_varint};
use crate::compression::Compression;

/// Ends every value file.
pub(super) const MAGIC: [u8; 8] = *b"ALVMVAL\0";
/// The version that is written; `docs/formats/value.md` holds the ladder.
pub(super) const VERSION: u16 = 1;
/// CRC-32C.
const CHECKSUM_ID: u8 = 1;
/// `index_len:u32 · version:u16 · checksum:u8 · reserved:u8 · crc32c:u32 · magic`.
pub(super) const FOOTER_BYTES: usize = 20;
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
