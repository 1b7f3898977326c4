//! Blocks of entries: prefix-compressed, compressed, checked.
//!
//! **Invariants**: the checksum covers a block's every byte before it; a block decodes to exactly as many bytes and entries as
//! it says, and no memory is taken for what it says before that is possible.
use alluvium_env::{Error, Result};

/// Begins every file.
const MAGIC: [u8; 8] = *b"ALLUVCAN";
/// The version that this build writes, and the newest it reads.
const VERSION: u32 = 1;
/// Magic, version, checksum of both.
pub(crate) const HEADER_BYTES: usize = 16;
/// What is before a block's bytes: raw length, stored length, entries, compression.
pub(crate) const HEAD_BYTES: usize = 13;
/// Behind them.
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// LZ4 cannot shrink further.
const MAX_SHRINK: usize = 255;

const UNCOMPRESSED: u8 = 0;
const LZ4: u8 = 1;

const _: () = assert!(HEADER_BYTES == MAGIC.len() + 4 + 4 && HEAD_BYTES == 4 + 4 + 4 + 1);

/// What a file begins with.
pub(crate) fn header() -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// Whether a file begins so.
pub(crate) fn check_header(bytes: &[u8]) -> Result<()> {
    let damaged =
        || Error::corruption("at offset 0: expected the header of a file of entries, got something else");
    let Some([head @ .., c0, c1, c2, c3]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(damaged());
    };
    let [magic @ .., v0, v1, v2, v3] = head;
    if *magic != MAGIC || crc_fast::crc32_iscsi(head) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
        return Err(damaged());
    }
    match u32::from_le_bytes([*v0, *v1, *v2, *v3]) {
        VERSION => Ok(()),
        newer => Err(Error::invalid(format!(
            "it has version {newer} and this build reads version {VERSION}: run the Alluvium that wrote it"
        ))),
    }
}

/// A block that is being filled.
#[derive(Default)]
pub(crate) struct Filling {
    raw: Vec<u8>,
    last_key: Vec<u8>,
    entries: u32,
}

impl Filling {
    pub(crate) fn push(&mut self, key: &[u8], values: &[u8]) {
        let shared = self.last_key.iter().zip(key).take_while(|(a, b)| a == b).count();
        let suffix = key.get(shared..).unwrap_or_default();
        for length in [shared, suffix.len(), values.len()] {
            push_varint(&mut self.raw, length as u64);
        }
        self.raw.extend_from_slice(suffix);
        self.raw.extend_from_slice(values);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entries += 1;
    }

    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// The block; another may be filled.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let packed = lz4_flex::block::compress(&self.raw);
        let block = if packed.len() < self.raw.len() {
            seal((self.raw.len() as u32, self.entries, LZ4), &packed)
        } else {
            seal((self.raw.len() as u32, self.entries, UNCOMPRESSED), &self.raw)
        };
        *self = Self::default();
        block
    }
}

/// What a file ends with: a block of no entries that says how many there were.
pub(crate) fn end(entries: u64) -> Vec<u8> {
    seal((0, 0, UNCOMPRESSED), &entries.to_le_bytes())
}

/// A block of these bytes.
pub(crate) fn seal((raw_bytes, entries, compression): (u32, u32, u8), stored: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + stored.len() + CHECKSUM_BYTES);
    out.extend_from_slice(&raw_bytes.to_le_bytes());
    out.extend_from_slice(&(stored.len() as u32).to_le_bytes());
    out.extend_from_slice(&entries.to_le_bytes());
    out.push(compression);
    out.extend_from_slice(stored);
    let checksum = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// A block that is being read.
#[derive(Debug, Default)]
pub(crate) struct Block {
    raw: Vec<u8>,
    at: usize,
    key: Vec<u8>,
    left: u32,
}

/// What is in a block's place.
#[derive(Debug)]
pub(crate) enum Opened {
    Block(Block),
    /// The end, and the entries before it.
    End(u64),
}

impl Block {
    /// How long the block is that begins so.
    pub(crate) fn whole_bytes(head: &[u8]) -> Option<u64> {
        let stored = head.get(4..8)?.first_chunk::<4>()?;
        Some((HEAD_BYTES + CHECKSUM_BYTES) as u64 + u64::from(u32::from_le_bytes(*stored)))
    }

    /// Checks and unpacks a block.
    ///
    /// # Errors
    /// `Corruption` if it is not what was written.
    pub(crate) fn open(bytes: &[u8]) -> Result<Opened> {
        let short = || Error::corruption("expected a block, got fewer bytes");
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(short)?;
        let (expected, found) = (u32::from_le_bytes(*checksum), crc_fast::crc32_iscsi(covered));
        if expected != found {
            return Err(Error::corruption(format!("expected checksum {expected:08x}, got {found:08x}")));
        }
        let (head, stored) = covered.split_first_chunk::<HEAD_BYTES>().ok_or_else(short)?;
        let [r0, r1, r2, r3, s0, s1, s2, s3, e0, e1, e2, e3, compression] = *head;
        let raw_bytes = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
        let left = u32::from_le_bytes([e0, e1, e2, e3]);
        if u32::from_le_bytes([s0, s1, s2, s3]) as usize != stored.len() {
            return Err(short());
        }
        if raw_bytes == 0 {
            let entries = stored.first_chunk().filter(|_| stored.len() == 8).ok_or_else(short)?;
            return Ok(Opened::End(u64::from_le_bytes(*entries)));
        }
        let raw = match compression {
            UNCOMPRESSED if raw_bytes == stored.len() => stored.to_vec(),
            LZ4 if raw_bytes / MAX_SHRINK <= stored.len() => {
                lz4_flex::block::decompress(stored, raw_bytes)
                    .map_err(|e| Error::corruption("a block does not unpack").with_source(e))?
            }
            _ => {
                return Err(Error::corruption(format!(
                    "{} bytes cannot be {raw_bytes} by compression {compression}",
                    stored.len()
                )));
            }
        };
        if raw.len() != raw_bytes {
            return Err(Error::corruption(format!(
                "expected {raw_bytes} bytes of entries, got {}",
                raw.len()
            )));
        }
        Ok(Opened::Block(Self { raw, at: 0, key: Vec::new(), left }))
    }

    /// The next entry's key and values; `None` at the end.
    ///
    /// # Errors
    /// `Corruption` if it is none, or the block has more or fewer than it says.
    pub(crate) fn next_entry(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if self.left == 0 {
            let rest = self.raw.len() - self.at;
            return if rest == 0 {
                Ok(None)
            } else {
                Err(Error::corruption(format!("{rest} bytes behind the last entry")))
            };
        }
        self.left -= 1;
        let torn = || Error::corruption("an entry that goes over its block's end");
        let mut rest = self.raw.get(self.at..).unwrap_or_default();
        let mut length = || varint(&mut rest).and_then(|n| usize::try_from(n).ok()).ok_or_else(torn);
        let (shared, suffix, values) = (length()?, length()?, length()?);
        if shared > self.key.len() {
            return Err(torn());
        }
        let (suffix, rest) = rest.split_at_checked(suffix).ok_or_else(torn)?;
        let (_, behind) = rest.split_at_checked(values).ok_or_else(torn)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.at = self.raw.len() - behind.len();
        let values = self.raw.get(self.at - values..self.at).unwrap_or_default();
        Ok(Some((&self.key, values)))
    }
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn filled(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut filling = Filling::default();
        for (key, values) in entries {
            filling.push(key, values);
        }
        filling.finish()
    }

    #[test]
    fn a_block_gives_back_its_entries_and_every_flipped_bit_and_cut_is_corruption() {
        let long = vec![7; 100_000];
        let entries: [(&[u8], &[u8]); 4] = [(b"", b""), (b"abc", b"1"), (b"abd", &long), (b"b", b"2")];
        let block = filled(&entries);
        let Opened::Block(mut read) = Block::open(&block).unwrap() else { panic!("it ends") };
        for expected in entries {
            assert_eq!(read.next_entry().unwrap(), Some(expected));
        }
        assert_eq!(read.next_entry().unwrap(), None);
        let small = filled(&entries[..2]);
        assert_eq!(Block::whole_bytes(&small), Some(small.len() as u64));
        for at in 0..small.len() {
            let mut bytes = small.clone();
            bytes[at] ^= 0x10;
            assert_eq!(Block::open(&bytes).unwrap_err().kind(), ErrorKind::Corruption, "offset {at}");
            assert_eq!(Block::open(&small[..at]).unwrap_err().kind(), ErrorKind::Corruption);
        }
    }

    #[test]
    fn what_was_written_wrongly_is_corruption_although_its_checksum_holds() {
        for block in [
            seal((1 << 31, 1, LZ4), b"x"),
            seal((4, 1, 9), b"abcd"),
            seal((0, 0, UNCOMPRESSED), b"x"),
            seal((9, 1, UNCOMPRESSED), b"x"),
        ] {
            assert_eq!(Block::open(&block).unwrap_err().kind(), ErrorKind::Corruption);
        }
        for (entries, raw) in
            [(1, &b"\x01\0\0"[..]), (1, b"\0\x09\0a"), (2, b"\0\x01\0a"), (1, b"\0\0\0more")]
        {
            let block = seal((raw.len() as u32, entries, UNCOMPRESSED), raw);
            let Opened::Block(mut read) = Block::open(&block).unwrap() else { panic!("it ends") };
            let error = std::iter::from_fn(|| read.next_entry().map(|entry| entry.map(|_| ())).transpose())
                .find_map(Result::err);
            assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Corruption), "{raw:?}");
        }
    }
}
