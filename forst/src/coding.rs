//! Bytes of the formats: varints, framed sections, checksums.
//!
//! Every decoder here takes bytes from outside: it never panics and says at which offset of what it stopped.
use std::sync::Arc;

use alluvium_env::{Error, Result};

use crate::compression::{Compression, Packer, Packing, unpack, unpack_shared};

/// CRC-32C (Castagnoli, RFC 3720): checksum id 1 of the formats.
#[inline]
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    // The crc fits its width; crc-fast returns every width as u64.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Appends an LEB128 varint.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A cursor over bytes from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    length: usize,
    what: &'static str,
}

impl<'a> Input<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len(), what }
    }

    #[cold]
    fn cut(&self, wanted: &str) -> Error {
        let at = self.length - self.rest.len();
        Error::corruption(format!("{} of {} bytes: expected {wanted} at offset {at}", self.what, self.length))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64> {
        // One byte is by far the most common length.
        if let Some((byte, rest)) = self.rest.split_first()
            && *byte < 0x80
        {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(self.cut("a varint"))
    }

    pub(crate) fn length(&mut self) -> Result<usize> {
        let value = self.varint()?;
        usize::try_from(value).map_err(|_| self.cut("a length"))
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(length) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.cut(&format!("{length} bytes"))),
        }
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        let (head, tail) = self.rest.split_first_chunk::<8>().ok_or_else(|| self.cut("a u64"))?;
        self.rest = tail;
        Ok(u64::from_le_bytes(*head))
    }

    #[inline]
    pub(crate) fn offset(&self) -> usize {
        self.length - self.rest.len()
    }
}

/// Writes sections; keeps the compressor's state from one to the next.
#[derive(Default)]
pub(crate) struct SectionWriter {
    packer: Packer,
}

impl SectionWriter {
    /// Appends `content · compression:u8 · crc32c:u32le`; the checksum covers what is before it.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, content: &[u8], compression: Compression) {
        let start = out.len();
        let packing = self.packer.pack(out, content, compression);
        if packing == Packing::Plain {
            out.extend_from_slice(content);
        }
        out.push(packing as u8);
        let crc = crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

/// Appends one section; see [`SectionWriter::put`].
pub(crate) fn put_section(out: &mut Vec<u8>, content: &[u8], compression: Compression) {
    SectionWriter::default().put(out, content, compression);
}

/// The checksum that a section carries, and that of its bytes; `None` if it is too short for one.
pub(crate) fn section_checksums(section: &[u8]) -> Option<(u32, u32)> {
    let (covered, crc) = section.split_last_chunk::<4>()?;
    Some((u32::from_le_bytes(*crc), crc32c(covered)))
}

/// Checks a section; returns what its checksum covers.
pub(crate) fn check_section<'a>(what: &'static str, section: &'a [u8]) -> Result<&'a [u8]> {
    let (expected, found) = section_checksums(section).ok_or_else(|| short(what, section))?;
    let (covered, _) = section.split_last_chunk::<4>().ok_or_else(|| short(what, section))?;
    if expected != found {
        return Err(Error::corruption(format!("{what}: expected checksum {expected:08x}, got {found:08x}")));
    }
    Ok(covered)
}

#[cold]
fn short(what: &'static str, section: &[u8]) -> Error {
    Error::corruption(format!("{what} of {} bytes is shorter than its trailer", section.len()))
}

/// Reads a section whole: checks it, then unpacks it.
pub(crate) fn read_section(what: &'static str, section: &[u8]) -> Result<Vec<u8>> {
    let short = || short(what, section);
    let (packing, content) = check_section(what, section)?.split_last().ok_or_else(short)?;
    unpack(*packing, content).map_err(|e| e.context(what))
}

/// As [`read_section`], for what is kept and handed around.
pub(crate) fn read_shared_section(what: &'static str, section: &[u8]) -> Result<Arc<[u8]>> {
    let short = || short(what, section);
    let (packing, content) = check_section(what, section)?.split_last().ok_or_else(short)?;
    unpack_shared(*packing, content).map_err(|e| e.context(what))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut input = Input::new("a test", &bytes);
            prop_assert_eq!(input.varint().unwrap(), value);
            prop_assert_eq!(input.offset(), bytes.len());
        }

        #[test]
        fn a_section_round_trips_and_any_flipped_bit_is_corruption(
            content in proptest::collection::vec(0_u8..4, 0..300),
            compression in prop_oneof![
                Just(Compression::None), Just(Compression::Lz4), (1..4).prop_map(|level| Compression::Zstd { level }),
            ],
            bit: usize,
        ) {
            let mut section = Vec::new();
            put_section(&mut section, &content, compression);
            prop_assert_eq!(read_section("a test", &section).unwrap(), content);
            let bit = bit % (section.len() * 8);
            section[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(read_section("a test", &section).is_err());
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_section("a test", &bytes);
            let mut input = Input::new("a test", &bytes);
            while input.varint().is_ok() && input.offset() < bytes.len() {}
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }
}
