//! Values that can be checked: every byte follows from the key's index and how often the value was changed.
//!
//! ```text
//!  ┌ random half ───────────────┐┌ the other half ────┐
//!  first word ⊕ version, words…  one byte, repeated
//! ```
//! So about half of a value compresses away, and a read-modify-write changes the version and nothing else.
use alluvium_env::{Error, Result};

use super::keys::mix;

/// Bytes that hold the version; a value that is changed needs them.
pub(super) const VERSION_BYTES: usize = 8;
/// What the compressible half is made of.
const FILLER: u8 = b'=';
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The values of one benchmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    /// Bytes of each.
    pub(super) bytes: usize,
    salt: u64,
}

impl Values {
    pub(super) fn new(bytes: usize, seed: u64) -> Self {
        Self { bytes, salt: mix(seed ^ STEP) }
    }

    #[inline]
    fn start(&self, index: u64) -> u64 {
        index.wrapping_mul(STEP) ^ self.salt
    }

    /// Writes the value of an index into `out`, replacing what was there.
    pub(super) fn write(&self, index: u64, version: u64, out: &mut Vec<u8>) {
        out.clear();
        let random = self.bytes.div_ceil(2).max(VERSION_BYTES.min(self.bytes));
        let mut state = self.start(index);
        let mut word = mix(state) ^ version;
        while out.len() < random {
            let bytes = word.to_le_bytes();
            out.extend_from_slice(bytes.get(..random - out.len()).unwrap_or(&bytes));
            state = state.wrapping_add(STEP);
            word = mix(state);
        }
        out.resize(self.bytes, FILLER);
    }

    /// The next version of a value, in place.
    ///
    /// # Errors
    /// `Corruption` if it is too short to be one of ours.
    pub(super) fn advance(&self, index: u64, value: &mut [u8]) -> Result<()> {
        let found = value.len();
        let Some(version) = value.first_chunk_mut::<VERSION_BYTES>().filter(|_| found == self.bytes) else {
            return Err(self.wrong_length(index, found));
        };
        let word = mix(self.start(index));
        let next = (u64::from_le_bytes(*version) ^ word).wrapping_add(1);
        *version = (next ^ word).to_le_bytes();
        Ok(())
    }

    /// How often a value was changed.
    ///
    /// # Errors
    /// `Corruption` if it is too short to be one of ours.
    pub(super) fn version(&self, index: u64, value: &[u8]) -> Result<u64> {
        let first = value.first_chunk::<VERSION_BYTES>().filter(|_| value.len() == self.bytes);
        let version = |first: &[u8; VERSION_BYTES]| u64::from_le_bytes(*first) ^ mix(self.start(index));
        first.map(version).ok_or_else(|| self.wrong_length(index, value.len()))
    }

    /// Compares every byte.
    ///
    /// # Errors
    /// `Corruption` names the key's index and the first difference.
    pub(super) fn check(&self, index: u64, version: u64, value: &[u8]) -> Result<()> {
        self.check_length(index, value)?;
        let mut expected = Vec::with_capacity(self.bytes);
        self.write(index, version, &mut expected);
        match expected.iter().zip(value).position(|(a, b)| a != b) {
            None => Ok(()),
            Some(at) => Err(Error::corruption(format!(
                "the store answered wrongly: the value of key {index} at version {version} differs at byte {at}"
            ))),
        }
    }

    /// The check that costs nothing.
    ///
    /// # Errors
    /// `Corruption` names the key's index.
    #[inline]
    pub(super) fn check_length(&self, index: u64, value: &[u8]) -> Result<()> {
        if value.len() == self.bytes { Ok(()) } else { Err(self.wrong_length(index, value.len())) }
    }

    fn wrong_length(&self, index: u64, found: usize) -> Error {
        let bytes = self.bytes;
        Error::corruption(format!(
            "the store answered wrongly: the value of key {index} has {found} bytes instead of {bytes}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: Values, index: u64, version: u64) -> Vec<u8> {
        let mut out = Vec::new();
        values.write(index, version, &mut out);
        out
    }

    #[test]
    fn values_are_as_long_as_asked_and_half_of_them_is_filler() {
        for bytes in [0, 1, 7, 8, 15, 16, 100, 1001] {
            assert_eq!(value(Values::new(bytes, 1), 5, 0).len(), bytes);
        }
        let fillers =
            value(Values::new(100, 1), 5, 0).iter().rev().take_while(|byte| **byte == FILLER).count();
        assert!((50..55).contains(&fillers), "{fillers}");
    }

    #[test]
    fn advancing_gives_the_next_version_and_a_wrong_byte_is_found() {
        let values = Values::new(100, 1);
        let mut changed = value(values, 9, 0);
        values.advance(9, &mut changed).unwrap();
        assert_eq!(changed, value(values, 9, 1));
        values.check(9, 1, &changed).unwrap();
        for (index, version) in [(8, 1), (9, 0)] {
            assert!(values.check(index, version, &changed).is_err());
        }
        changed[60] ^= 1;
        assert!(values.check(9, 1, &changed).unwrap_err().to_string().contains("byte 60"));
        assert!(values.advance(9, &mut changed[..99]).is_err());
    }
}
