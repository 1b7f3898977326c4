//! State keys: `key_group:u16be · state_id:u16be · key · namespace · user_key` (design D6).
//!
//! All parts are prefix-free, so byte order is scan order and a prefix is a range.
use alluvium_env::{Error, Result};

use crate::{KeyGroup, StateId};

/// Bytes before the record key: key group and state id.
pub const PREFIX_BYTES: usize = 4;

/// Writes the state key of a record key into `out`, replacing what was there.
#[inline]
pub fn build(out: &mut Vec<u8>, group: KeyGroup, state: StateId, encoded_key: &[u8]) {
    out.clear();
    append(out, group, state, encoded_key);
}

/// Appends the state key of a record key to `out`.
#[inline]
pub fn append(out: &mut Vec<u8>, group: KeyGroup, state: StateId, encoded_key: &[u8]) {
    out.reserve(PREFIX_BYTES + encoded_key.len());
    let prefix = (u32::from(group.0) << 16) | u32::from(state.0);
    out.extend_from_slice(&prefix.to_be_bytes());
    out.extend_from_slice(encoded_key);
}

/// Splits a state key into key group, state and the rest.
///
/// # Errors
/// `Corruption` if it is shorter than its prefix.
pub fn split(key: &[u8]) -> Result<(KeyGroup, StateId, &[u8])> {
    match key.split_first_chunk::<PREFIX_BYTES>() {
        Some(([a, b, c, d], rest)) => {
            Ok((KeyGroup(u16::from_be_bytes([*a, *b])), StateId(u16::from_be_bytes([*c, *d])), rest))
        }
        None => {
            Err(Error::corruption(format!("a state key of {} bytes is shorter than its prefix", key.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_and_split_are_inverse() {
        let mut key = Vec::new();
        build(&mut key, KeyGroup(513), StateId(7), b"word\0\0");
        assert_eq!(key, b"\x02\x01\x00\x07word\0\0");
        assert_eq!(split(&key).unwrap(), (KeyGroup(513), StateId(7), b"word\0\0".as_slice()));
        assert!(split(b"abc").is_err());
    }
}
