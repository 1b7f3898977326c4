//! The header of a mirror: whose bytes the file holds (`docs/formats/cache.md`).
use alluvium_env::{Error, Result};

use crate::coding::{Input, crc32c};

/// Begins every mirror.
const MAGIC: [u8; 8] = *b"ALVMBLK\0";
/// The layout that this build reads and writes; it is also in the folder's name.
pub(super) const VERSION: u16 = 2;
/// CRC-32C.
const CHECKSUM_ID: u8 = 1;
/// What comes before the table's own bytes: a page, so that those keep their place within pages.
pub(super) const HEADER_BYTES: usize = 4096;
const FIXED_BYTES: usize = 32;
const _: () = assert!(FIXED_BYTES == MAGIC.len() + 2 + 1 + 1 + 4 + 8 + 8);
/// A longer name has no mirror.
const MAX_NAME_BYTES: usize = HEADER_BYTES - FIXED_BYTES - 4;

/// Which table a mirror mirrors. A name alone would not do: other state may have the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: String,
    /// Of the table's bytes, as in the manifest.
    pub(super) content_hash: u64,
    pub(super) size_bytes: u64,
}

impl Header {
    /// `magic · version:u16 · checksum:u8 · reserved:u8 · name_len:u32 · content_hash:u64 · size_bytes:u64 · name ·
    /// crc32c:u32 · zeros`; `None` if the name is too long.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        if self.name.len() > MAX_NAME_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[CHECKSUM_ID, 0]);
        out.extend_from_slice(&(self.name.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.content_hash.to_le_bytes());
        out.extend_from_slice(&self.size_bytes.to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(HEADER_BYTES, 0);
        Some(out)
    }

    /// Reads a header.
    ///
    /// # Errors
    /// `Corruption` for anything but what [`Header::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Input::new("a mirror's header", bytes);
        let wrong = |what: &str| Error::corruption(format!("a mirror's header has {what}"));
        if input.take(MAGIC.len())? != MAGIC {
            return Err(wrong("another magic"));
        }
        let word = input.u64()?.to_le_bytes();
        let [v0, v1, checksum, _, length @ ..] = word;
        if u16::from_le_bytes([v0, v1]) != VERSION || checksum != CHECKSUM_ID {
            return Err(wrong("another version"));
        }
        let name_bytes = u32::from_le_bytes(length) as usize;
        let (content_hash, size_bytes) = (input.u64()?, input.u64()?);
        let name = input.take(name_bytes)?;
        let covered = bytes.get(..input.offset()).unwrap_or_default();
        let expected = input.take(4)?.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let found = crc32c(covered);
        if expected != found {
            return Err(wrong(&format!("checksum {found:08x} instead of {expected:08x}")));
        }
        let name = str::from_utf8(name).map_err(|e| wrong("a name that is no text").with_source(e))?;
        Ok(Self { name: name.to_owned(), content_hash, size_bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: &str = include_str!("../../../../docs/formats/cache.md");

    /// The bytes of the fenced block that is marked `worked`; everything behind `│` is for people.
    fn worked_bytes() -> Vec<u8> {
        let block = PAGE.split("```worked\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    fn worked() -> Header {
        Header {
            name: "state/00000001/0000/000000000007.sst".to_owned(),
            content_hash: 0x1122_3344_5566_7788,
            size_bytes: 168,
        }
    }

    #[test]
    fn the_worked_header_is_what_is_written_and_read() {
        let (bytes, encoded) = (worked_bytes(), worked().encode().unwrap());
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        let (header, padding) = encoded.split_at(bytes.len());
        assert_eq!(hex(header), hex(&bytes), "docs/formats/cache.md has other bytes");
        assert!(encoded.len() == HEADER_BYTES && padding.iter().all(|byte| *byte == 0));
        assert_eq!(Header::decode(&encoded).unwrap(), worked());
    }

    #[test]
    fn any_flipped_bit_of_what_is_covered_is_noticed_and_a_name_too_long_has_no_header() {
        let encoded = worked().encode().unwrap();
        for bit in 0..(FIXED_BYTES + worked().name.len() + 4) * 8 {
            // The reserved byte is covered by the checksum as well.
            let mut broken = encoded.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&broken).is_err(), "bit {bit} can flip unseen");
        }
        assert!(Header { name: "x".repeat(MAX_NAME_BYTES), ..worked() }.encode().is_some());
        assert!(Header { name: "x".repeat(MAX_NAME_BYTES + 1), ..worked() }.encode().is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Header::decode(&bytes);
            let mut behind_magic = MAGIC.to_vec();
            behind_magic.extend_from_slice(&VERSION.to_le_bytes());
            behind_magic.extend_from_slice(&[CHECKSUM_ID, 0]);
            behind_magic.extend_from_slice(&bytes);
            let _ = Header::decode(&behind_magic);
        }
    }
}
