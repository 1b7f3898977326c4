//! The frame around every ledger object: magic, format version, length, payload, checksum.
//!
//! **Invariants**: the frame is the same in every format version, so that a newer object is told apart from a
//! damaged one; the checksum (crc32c) covers every byte before it. `docs/formats/checkpoint.md` is normative.
//!
//! **Failure**: `Corruption` names object, offset, expected and got; a newer format version is `Invalid`.
use alluvium_env::{Error, Result};
use bytes::{BufMut, Bytes, BytesMut};

/// The first bytes of every object.
const MAGIC: [u8; 8] = *b"ALLUVLED";
/// The newest format that this build writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// Where the format version is.
const VERSION_AT: usize = 8;
/// Where the length of the payload is.
const LENGTH_AT: usize = 12;
/// Where the payload is.
pub(crate) const PAYLOAD_AT: usize = 20;
/// The checksum after the payload.
const CHECKSUM_LEN: usize = 4;
/// The size of an envelope around nothing.
const EMPTY_LEN: usize = PAYLOAD_AT + CHECKSUM_LEN;

const _: () =
    assert!(VERSION_AT == MAGIC.len() && LENGTH_AT == VERSION_AT + 4 && PAYLOAD_AT == LENGTH_AT + 8);

/// Frames a payload in the format of a version.
pub(crate) fn seal_as(version: u32, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(EMPTY_LEN + payload.len());
    out.put_slice(&MAGIC);
    out.put_u32_le(version);
    out.put_u64_le(payload.len() as u64);
    out.put_slice(payload);
    let checksum = crc_fast::crc32_iscsi(&out);
    out.put_u32_le(checksum);
    out.freeze()
}

/// The payload of an object whose every byte has been checked.
///
/// # Errors
/// `Corruption` if a byte is not what was written, `Invalid` if a newer version wrote it.
pub(crate) fn open(object: &str, bytes: &Bytes) -> Result<Bytes> {
    let Some((head, rest)) = bytes.split_first_chunk::<PAYLOAD_AT>() else {
        return Err(damaged(object, bytes.len(), format!("at least {EMPTY_LEN} bytes"), bytes.len()));
    };
    let Some((payload, checksum)) = rest.split_last_chunk::<CHECKSUM_LEN>() else {
        return Err(damaged(object, bytes.len(), format!("at least {EMPTY_LEN} bytes"), bytes.len()));
    };
    let [m0, m1, m2, m3, m4, m5, m6, m7, v0, v1, v2, v3, length @ ..] = *head;
    let magic = [m0, m1, m2, m3, m4, m5, m6, m7];
    if magic != MAGIC {
        return Err(damaged(object, 0, MAGIC.escape_ascii(), magic.escape_ascii()));
    }
    let length = u64::from_le_bytes(length);
    if length != payload.len() as u64 {
        return Err(damaged(object, LENGTH_AT, format!("a length of {}", payload.len()), length));
    }
    let covered = bytes.len() - CHECKSUM_LEN;
    let (expected, got) = (u32::from_le_bytes(*checksum), crc_fast::crc32_iscsi(&bytes.slice(..covered)));
    if expected != got {
        return Err(damaged(object, covered, format!("crc32c {expected:#010x}"), format!("{got:#010x}")));
    }
    match u32::from_le_bytes([v0, v1, v2, v3]) {
        1..=FORMAT_VERSION => Ok(bytes.slice(PAYLOAD_AT..covered)),
        0 => Err(damaged(object, VERSION_AT, "a format version from 1", 0)),
        newer => Err(Error::invalid(format!(
            "{object} has format version {newer} and this build reads up to {FORMAT_VERSION}: \
             run the newer Alluvium that wrote it"
        ))),
    }
}

/// The one sentence of a damaged ledger object.
#[cold]
pub(crate) fn damaged(
    object: &str,
    offset: usize,
    expected: impl std::fmt::Display,
    got: impl std::fmt::Display,
) -> Error {
    Error::corruption(format!(
        "{object} is damaged at offset {offset}: expected {expected}, got {got}; \
         move it out of the ledger to fall back to the entry before it"
    ))
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn seal(payload: &[u8]) -> Bytes {
        seal_as(FORMAT_VERSION, payload)
    }

    #[test]
    fn what_was_sealed_opens_and_every_flipped_bit_and_every_cut_is_corruption() {
        let sealed = seal(b"payload");
        assert_eq!(open("x", &sealed).unwrap(), b"payload".as_slice());
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut bytes = sealed.to_vec();
                bytes[at] ^= 1 << bit;
                let error = open("ledger/7", &bytes.into()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corruption, "offset {at}");
                assert!(error.message().starts_with("ledger/7 is damaged at offset "), "{error}");
            }
            assert_eq!(open("x", &sealed.slice(..at)).unwrap_err().kind(), ErrorKind::Corruption);
        }
    }

    #[test]
    fn older_formats_open_a_newer_one_is_invalid_and_version_zero_never_existed() {
        for version in 1..=FORMAT_VERSION {
            assert_eq!(open("x", &seal_as(version, b"payload")).unwrap(), b"payload".as_slice());
        }
        let newer = open("ledger/7", &seal_as(FORMAT_VERSION + 1, b"?")).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::Invalid);
        assert!(newer.message().contains("ledger/7 has format version 4"), "{newer}");
        assert_eq!(open("x", &seal_as(0, b"")).unwrap_err().kind(), ErrorKind::Corruption);
    }
}
