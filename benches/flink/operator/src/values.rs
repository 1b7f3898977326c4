//! The values: a word that counts changes and names the key, random bytes up to a half, and a half that compresses away.
//!
//! Every value that is read is compared with its key: a store that answers wrongly ends the benchmark. `Values.java` is the
//! same.
use alluvium_env::{Error, Result};

use crate::keys::mix;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
const FILLER: u8 = b'=';
/// Bytes of the counter.
pub(crate) const WORD_BYTES: usize = 8;

/// The values of one benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values {
    /// Bytes of each, at least [`WORD_BYTES`].
    pub(crate) bytes: usize,
}

impl Values {
    /// The value of a key that was never changed.
    pub(crate) fn first(self, key: u64) -> Vec<u8> {
        let random = self.bytes.div_ceil(2).max(WORD_BYTES);
        let words = (0..).map(|n: u64| mix(key.wrapping_add(n.wrapping_mul(STEP))));
        let mut value = Vec::with_capacity(self.bytes);
        value.extend(words.flat_map(u64::to_le_bytes).take(random));
        value.resize(self.bytes, FILLER);
        value
    }

    /// The next version of a value, in place.
    ///
    /// # Errors
    /// `Corruption` if it is not the key's.
    pub(crate) fn advance(self, key: u64, value: &mut [u8]) -> Result<()> {
        let found = value.len();
        let Some(version) = value.first_chunk_mut::<WORD_BYTES>().filter(|_| found == self.bytes) else {
            let bytes = self.bytes;
            return Err(Error::corruption(format!(
                "the store answered wrongly: the value of key {key} has {found} bytes instead of {bytes}"
            )));
        };
        let word = mix(key);
        let count = u64::from_le_bytes(*version) ^ word;
        if count >> 32 != 0 {
            return Err(Error::corruption(format!(
                "the store answered wrongly: the value of key {key} is not its own"
            )));
        }
        *version = ((count + 1) ^ word).to_le_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Values.java` makes of the same key.
    #[test]
    fn values_are_those_of_the_java_job() {
        let expected = [20, 223, 23, 123, 35, 48, 174, 18, b'=', b'=', b'=', b'=', b'='];
        assert_eq!(Values { bytes: 13 }.first(7), expected);
    }

    #[test]
    fn a_value_is_counted_up_and_one_of_another_key_or_length_is_refused() {
        let values = Values { bytes: 100 };
        let mut value = values.first(7);
        assert_eq!(value.len(), 100);
        let before = value.clone();
        values.advance(7, &mut value).unwrap();
        assert_ne!(value, before);
        values.advance(7, &mut value).unwrap();
        assert!(values.advance(8, &mut value).is_err());
        assert!(values.advance(7, &mut value[..99]).is_err());
    }
}
