//! How content is packed: which compressor, what it saves, and how it is unpacked again.
//!
//! A compressor and a decompressor keep their tables from one content to the next, since to make them anew costs more than
//! a block of 4 KiB: a [`Packer`] belongs to the builder that uses it, a decompressor to its thread.
//!
//! **Failure**: what is unpacked comes from outside: nothing is allocated for what it claims before the claim is checked.
use std::cell::RefCell;
use std::sync::Arc;

use alluvium_env::{Error, Result};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use zstd::bulk::{Compressor, Decompressor};

/// What a block is compressed with. A block that would not shrink by an eighth is stored as it is, whatever this says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing: for values that their application has compressed.
    None,
    /// LZ4: packs a block of 4 KiB in some ten microseconds and unpacks it in two or three.
    Lz4,
    /// Zstandard, level 1 to 3: a quarter to two fifths fewer bytes than LZ4 where there is text in keys or values, for two to
    /// five times its time ([`crate::ForstSettings::cold_compression`] has figures). Higher levels find nothing more within
    /// a block.
    Zstd {
        /// From [`Compression::MIN_ZSTD_LEVEL`] to [`Compression::MAX_ZSTD_LEVEL`].
        level: i32,
    },
}

impl Compression {
    /// The fastest level.
    pub const MIN_ZSTD_LEVEL: i32 = 1;
    /// The level from which on more time finds nothing.
    pub const MAX_ZSTD_LEVEL: i32 = 3;

    /// Whether its level is one.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Self::Zstd { level } => (Self::MIN_ZSTD_LEVEL..=Self::MAX_ZSTD_LEVEL).contains(&level),
            Self::None | Self::Lz4 => true,
        }
    }
}

/// How content is stored; the byte behind it. Behind `raw_length:u32le` is what the compressor made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Packing {
    Plain = 0,
    /// An LZ4 block.
    Lz4 = 1,
    /// A Zstandard frame.
    Zstd = 2,
}

/// What is longer is stored as it is: keys and operands end at 64 MiB and a filter far below, but not what operands fold into.
const MAX_RAW_BYTES: usize = 256 << 20;
/// Nor to more times its size: LZ4 cannot, and what Zstandard shrinks by more is left to LZ4.
const MAX_EXPANSION: usize = 255;
/// `raw_length:u32le`.
const PREFIX_BYTES: usize = 4;

/// Packs content; keeps its tables.
#[derive(Default)]
pub(crate) struct Packer {
    lz4: CompressTable,
    zstd: Option<Compressor<'static>>,
}

impl Packer {
    /// Appends the content packed; or nothing, if that saves too little.
    pub(crate) fn pack(&mut self, out: &mut Vec<u8>, content: &[u8], compression: Compression) -> Packing {
        match compression {
            _ if content.len() > MAX_RAW_BYTES => Packing::Plain,
            Compression::Zstd { level } if self.pack_zstd(out, content, level) => Packing::Zstd,
            Compression::Lz4 | Compression::Zstd { .. } if self.pack_lz4(out, content) => Packing::Lz4,
            Compression::None | Compression::Lz4 | Compression::Zstd { .. } => Packing::Plain,
        }
    }

    fn pack_lz4(&mut self, out: &mut Vec<u8>, content: &[u8]) -> bool {
        let most = get_maximum_output_size(content.len());
        append(out, content, most, |room| compress_into_with_table(content, room, &mut self.lz4).ok())
    }

    fn pack_zstd(&mut self, out: &mut Vec<u8>, content: &[u8], level: i32) -> bool {
        if self.zstd.is_none() {
            self.zstd = Compressor::new(level).ok();
        }
        let Some(zstd) = &mut self.zstd else { return false };
        if zstd.set_compression_level(level).is_err() {
            return false;
        }
        // More room is of no use.
        append(out, content, content.len(), |room| {
            let packed = zstd.compress_to_buffer(content, room).ok()?;
            (content.len() <= packed.saturating_mul(MAX_EXPANSION)).then_some(packed)
        })
    }
}

/// Appends what `pack` makes of the content, in room for so many bytes, if that saves enough.
fn append(
    out: &mut Vec<u8>,
    content: &[u8],
    most: usize,
    pack: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> bool {
    let start = out.len();
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    let body = out.len();
    out.resize(body + most, 0);
    let packed = pack(out.get_mut(body..).unwrap_or_default());
    // Under an eighth saved, decompression costs more than the bytes.
    let worth_it = packed.filter(|packed| packed + PREFIX_BYTES < content.len() - content.len() / 8);
    out.truncate(worth_it.map_or(start, |packed| body + packed));
    worth_it.is_some()
}

/// Unpacks content that was stored so.
pub(crate) fn unpack(packing: u8, content: &[u8]) -> Result<Vec<u8>> {
    let Some((raw, packed)) = packed(packing, content)? else { return Ok(content.to_vec()) };
    let mut unpacked = vec![0; raw];
    unpack_into(packing, packed, &mut unpacked)?;
    Ok(unpacked)
}

/// As [`unpack`], into memory that can be shared as it is.
pub(crate) fn unpack_shared(packing: u8, content: &[u8]) -> Result<Arc<[u8]>> {
    let Some((raw, packed)) = packed(packing, content)? else { return Ok(content.into()) };
    if raw > MAX_SCRATCH_BYTES {
        return unpack(packing, content).map(Arc::from);
    }
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < raw {
            scratch.resize(raw, 0);
        }
        let room = scratch.get_mut(..raw).unwrap_or_default();
        unpack_into(packing, packed, room)?;
        Ok(Arc::from(&*room))
    })
}

/// How long content is unpacked, and what a compressor made of it; `None` if it is stored as it is.
fn packed(packing: u8, content: &[u8]) -> Result<Option<(usize, &[u8])>> {
    if packing == Packing::Plain as u8 {
        return Ok(None);
    }
    let Some((raw, packed)) = content.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Error::corruption(format!("packed content of {} bytes has no length", content.len())));
    };
    let raw = u32::from_le_bytes(*raw) as usize;
    if raw > MAX_RAW_BYTES || raw > packed.len().saturating_mul(MAX_EXPANSION) {
        return Err(Error::corruption(format!("{} bytes claim to unpack to {raw}", packed.len())));
    }
    Ok(Some((raw, packed)))
}

/// Fills a room that is as long as the content claims to be.
fn unpack_into(packing: u8, packed: &[u8], room: &mut [u8]) -> Result<()> {
    let unpacked = match packing {
        1 => lz4_flex::block::decompress_into(packed, room).map_err(std::io::Error::other),
        2 => unpack_zstd(packed, room),
        other => return Err(Error::corruption(format!("expected compression 0, 1 or 2, got {other}"))),
    };
    let unpacked = unpacked.map_err(|e| Error::corruption("it does not unpack").with_source(e))?;
    if unpacked != room.len() {
        let raw = room.len();
        return Err(Error::corruption(format!("expected {raw} bytes unpacked, got {unpacked}")));
    }
    Ok(())
}

/// What a thread keeps to unpack into: enough for blocks.
const MAX_SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// Where a block is unpacked: in the processor's cache still from the one before, unlike the memory that it goes to, which
    /// is then written once and from end to end.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// A decompressor takes 150 KiB, and longer to make than a block to unpack.
    static ZSTD: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// It writes past no room's end: a frame that holds more is an error, and needs no memory of its own.
fn unpack_zstd(packed: &[u8], room: &mut [u8]) -> std::io::Result<usize> {
    ZSTD.with_borrow_mut(|zstd| {
        let zstd = match zstd {
            Some(zstd) => zstd,
            None => zstd.insert(Decompressor::new()?),
        };
        zstd.decompress_to_buffer(packed, room)
    })
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    const ZSTD: Compression = Compression::Zstd { level: 1 };

    fn packed(content: &[u8], compression: Compression) -> (Packing, Vec<u8>) {
        let mut out = b"before".to_vec();
        let packing = Packer::default().pack(&mut out, content, compression);
        assert_eq!(&out[..6], b"before");
        (packing, out.split_off(6))
    }

    #[test]
    fn what_shrinks_is_packed_as_asked_and_noise_is_left_as_it_is() {
        let words = b"to be or not to be, that is the question: ".repeat(20);
        for (compression, expected) in
            [(Compression::None, Packing::Plain), (Compression::Lz4, Packing::Lz4), (ZSTD, Packing::Zstd)]
        {
            let (packing, bytes) = packed(&words, compression);
            assert_eq!(packing, expected);
            let stored = if packing == Packing::Plain { &words[..] } else { &bytes };
            assert_eq!(unpack(packing as u8, stored).unwrap(), words);
        }
        let words = (0..999_u32).map(|n| crate::coding::crc32c(&n.to_le_bytes()));
        let noise: Vec<u8> = words.flat_map(|word| word.wrapping_mul(word | 1).to_le_bytes()).collect();
        for compression in [Compression::Lz4, ZSTD] {
            assert_eq!(packed(&noise, compression), (Packing::Plain, Vec::new()));
            assert_eq!(packed(b"", compression), (Packing::Plain, Vec::new()));
        }
    }

    #[test]
    fn what_nobody_would_unpack_is_not_packed() {
        // Operands fold into what is longer than any of them.
        let zeros = vec![0; MAX_RAW_BYTES + 1];
        for compression in [Compression::Lz4, ZSTD] {
            assert_eq!(packed(&zeros, compression), (Packing::Plain, Vec::new()));
        }
    }

    #[test]
    fn what_zstandard_shrinks_too_far_to_be_told_from_a_lie_is_left_to_lz4() {
        let zeros = vec![0; 1 << 20];
        let (packing, bytes) = packed(&zeros, ZSTD);
        assert_eq!(packing, Packing::Lz4);
        assert_eq!(unpack(packing as u8, &bytes).unwrap(), zeros);
    }

    #[test]
    fn a_claim_is_checked_before_memory_is_taken_and_what_is_packed_wrong_is_corruption() {
        let words = b"all the world's a stage, ".repeat(40);
        for compression in [Compression::Lz4, ZSTD] {
            let (packing, good) = packed(&words, compression);
            for claim in [0, words.len() as u32 - 1, words.len() as u32 + 1, 200 << 20, u32::MAX] {
                let mut bytes = good.clone();
                bytes[..4].copy_from_slice(&claim.to_le_bytes());
                let error = unpack(packing as u8, &bytes).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corruption, "{compression:?} {claim}: {error}");
            }
            for length in 0..good.len() {
                assert_eq!(unpack(packing as u8, &good[..length]).unwrap_err().kind(), ErrorKind::Corruption);
            }
        }
        assert!(unpack(3, &[0; 9]).unwrap_err().message().contains("got 3"));
    }

    proptest! {
        #[test]
        fn any_content_is_unpacked_as_it_was(
            content in proptest::collection::vec(prop_oneof![Just(7_u8), any::<u8>()], 0..4000), level in 1..4,
        ) {
            let mut packer = Packer::default();
            for compression in [Compression::Zstd { level }, Compression::Lz4, ZSTD] {
                let mut out = Vec::new();
                let packing = packer.pack(&mut out, &content, compression);
                if packing == Packing::Plain {
                    out.extend_from_slice(&content);
                }
                prop_assert_eq!(unpack(packing as u8, &out).unwrap(), &content[..]);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_unpacked(bytes in proptest::collection::vec(any::<u8>(), 0..100), packing in 0_u8..4) {
            if let Ok(unpacked) = unpack(packing, &bytes) {
                prop_assert!(unpacked.len() <= bytes.len() * MAX_EXPANSION);
            }
        }
    }
}
