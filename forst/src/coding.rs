//! Bytes of the formats: varints, framed sections, checksums.
//!
//! Every decoder here takes bytes from outside: it never panics and says at which offset of what it stopped.
use alluvium_env::{Error, Result};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

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

/// How a section's bytes are stored; the byte before its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Compression {
    None = 0,
    /// `raw_length:u32le`, then an LZ4 block.
    Lz4 = 1,
}

/// A section never decodes to more: keys and values end at 64 MiB, a filter far below.
const MAX_RAW_BYTES: usize = 256 << 20;

/// Writes sections; keeps the compressor's table from one to the next.
#[derive(Default)]
pub(crate) struct SectionWriter {
    table: CompressTable,
}

impl SectionWriter {
    /// Appends `content · compression:u8 · crc32c:u32le`; the checksum covers what is before it.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, content: &[u8], compression: Compression) {
        let start = out.len();
        let packed = compression == Compression::Lz4 && self.pack(out, content);
        if !packed {
            out.extend_from_slice(content);
        }
        out.push(if packed { Compression::Lz4 } else { Compression::None } as u8);
        let crc = crc32c(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }

    /// Appends the content packed, unless that saves too little.
    fn pack(&mut self, out: &mut Vec<u8>, content: &[u8]) -> bool {
        let start = out.len();
        out.extend_from_slice(&(content.len() as u32).to_le_bytes());
        let body = out.len();
        out.resize(body + get_maximum_output_size(content.len()), 0);
        let room = out.get_mut(body..).unwrap_or_default();
        let packed = compress_into_with_table(content, room, &mut self.table).unwrap_or(usize::MAX);
        // Under an eighth saved, decompression costs more than the bytes.
        let worth_it = packed.saturating_add(4) < content.len() - content.len() / 8;
        out.truncate(if worth_it { body + packed } else { start });
        worth_it
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
    let (kind, content) = check_section(what, section)?.split_last().ok_or_else(short)?;
    match *kind {
        0 => Ok(content.to_vec()),
        1 => {
            let (raw, packed) = content.split_first_chunk::<4>().ok_or_else(short)?;
            let raw = u32::from_le_bytes(*raw) as usize;
            // LZ4 cannot expand by more than 255.
            if raw > MAX_RAW_BYTES || raw > packed.len().saturating_mul(255) {
                return Err(Error::corruption(format!("{what} claims to unpack to {raw} bytes")));
            }
            lz4_flex::block::decompress(packed, raw)
                .map_err(|e| Error::corruption(format!("{what} does not unpack")).with_source(e))
        }
        other => Err(Error::corruption(format!("{what}: expected compression 0 or 1, got {other}"))),
    }
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
            content in proptest::collection::vec(0_u8..4, 0..300), bit: usize,
        ) {
            let mut section = Vec::new();
            put_section(&mut section, &content, Compression::Lz4);
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
