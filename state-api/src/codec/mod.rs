//! Codecs: how record keys, namespaces, user keys and state values become bytes (`docs/formats/codec.md`).
//!
//! **Invariants**: a [`KeyCodec`] is order-preserving and prefix-free, so that keys, namespaces and user keys can be
//! concatenated and still sort as tuples; a [`Codec`] round-trips and refuses what it did not write.
//!
//! A type of your own becomes a value by one line, [`codec_by_serde!`](crate::codec_by_serde); tuples, options and
//! collections of values are values:
//!
//! ```
//! use alluvium_state_api::{Codec, KeyCodec};
//!
//! let mut bytes = Vec::new();
//! (7_u32, Some(String::from("ox")), vec![1.5, 2.5]).encode(&mut bytes);
//! let (number, name, rest) = <(u32, Option<String>, Vec<f64>)>::decode(&bytes)?;
//! assert_eq!((number, name.as_deref(), rest.as_slice()), (7, Some("ox"), [1.5, 2.5].as_slice()));
//!
//! let key = |key: &(i64, &str)| {
//!     let mut bytes = Vec::new();
//!     key.encode_key(&mut bytes);
//!     bytes
//! };
//! assert!(key(&(-1, "b")) < key(&(1, "a")) && key(&(1, "a")) < key(&(1, "ab")));
//! # Ok::<(), alluvium_state_api::Error>(())
//! ```
pub mod by_serde;
mod collections;
#[cfg(test)]
mod format_tests;
pub(crate) mod joined;
mod keys;
mod numbers;
mod parts;
#[cfg(test)]
mod tests;
mod text;
mod tuples;

use alluvium_env::{Error, Result};

pub(crate) use joined::joined_id;

/// A value as bytes.
pub trait Codec: Sized {
    /// Names the encoding in checkpoints, so that a state is never opened with another one. Without an id nothing is
    /// checked.
    const ID: &'static str = "";
    /// Counts up when the encoding changes.
    const VERSION: u32 = 1;
    /// How long an encoding is, if all are equally long. Such values stand in tuples and collections without their
    /// length, and a reducing add to them allocates nothing.
    const FIXED_BYTES: Option<usize> = None;

    /// Whether [`Codec::decode`] reads what a version wrote. One that reads an older version too must tell the two apart by
    /// their bytes: a state that evolves holds both ([`crate::StoredSchema`]).
    fn reads(version: u32) -> bool {
        version == Self::VERSION
    }

    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads what [`Codec::encode`] wrote.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not such an encoding.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Writes the encoding over an older one if it is exactly as long; `false` leaves that untouched.
    #[inline]
    fn overwrite(&self, encoded: &mut [u8]) -> bool {
        if Self::FIXED_BYTES != Some(encoded.len()) {
            return false;
        }
        let mut bytes = Vec::with_capacity(encoded.len());
        self.encode(&mut bytes);
        let fits = bytes.len() == encoded.len();
        if fits {
            encoded.copy_from_slice(&bytes);
        }
        fits
    }

    /// Appends many values as a collection of them is encoded. To be overridden only by who does the same faster.
    fn encode_all(values: &[Self], out: &mut Vec<u8>) {
        for value in values {
            parts::push(value, out);
        }
    }

    /// Reads what [`Codec::encode_all`] wrote.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not such encodings.
    fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>> {
        let mut values = Vec::new();
        while !bytes.is_empty() {
            values.push(parts::take(&mut bytes)?);
        }
        Ok(values)
    }
}

/// A record key, a namespace or a user key as bytes: order-preserving and prefix-free.
pub trait KeyCodec {
    /// Names the encoding, as [`Codec::ID`] does.
    const KEY_ID: &'static str = "";
    /// What decoding gives back.
    type Owned;

    /// Appends the encoding.
    fn encode_key(&self, out: &mut Vec<u8>);

    /// Reads what [`KeyCodec::encode_key`] wrote off the front of `bytes`.
    ///
    /// # Errors
    /// `Corruption` if the bytes do not begin with such an encoding.
    fn take_key(bytes: &mut &[u8]) -> Result<Self::Owned>;

    /// Reads what [`KeyCodec::encode_key`] wrote.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not such an encoding.
    #[inline]
    fn decode_key(mut bytes: &[u8]) -> Result<Self::Owned> {
        let whole = bytes;
        let key = Self::take_key(&mut bytes)?;
        if bytes.is_empty() { Ok(key) } else { Err(wrong("key", whole)) }
    }
}

#[cold]
fn wrong(what: &str, bytes: &[u8]) -> Error {
    Error::corruption(format!("{} bytes do not encode a {what}", bytes.len()))
}
