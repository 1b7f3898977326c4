//! Codecs: how record keys and state values become bytes.
//!
//! **Invariants**: a [`KeyCodec`] is order-preserving and prefix-free, so that keys, namespaces and user keys can be
//! concatenated and still sort as tuples; a [`Codec`] round-trips and refuses what it did not write.
use alluvium_env::{Error, Result};

/// A value as bytes.
pub trait Codec: Sized {
    /// Names the encoding in checkpoints, so that a state is never opened with another one. Without an id nothing is
    /// checked.
    const ID: &'static str = "";
    /// Counts up when the encoding changes.
    const VERSION: u32 = 1;

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

    /// Writes the encoding over an older one if it is exactly as long; `false` leaves that untouched. Codecs of a
    /// fixed size implement it, so that a reducing add allocates nothing.
    #[inline]
    fn overwrite(&self, _encoded: &mut [u8]) -> bool {
        false
    }
}

/// A record key as bytes: order-preserving and prefix-free.
pub trait KeyCodec {
    /// What decoding gives back.
    type Owned;
    /// Appends the encoding.
    fn encode_key(&self, out: &mut Vec<u8>);
    /// Reads what [`KeyCodec::encode_key`] wrote.
    ///
    /// # Errors
    /// `Corruption` if the bytes are not such an encoding.
    fn decode_key(bytes: &[u8]) -> Result<Self::Owned>;
}

fn wrong(what: &str, bytes: &[u8]) -> Error {
    Error::corruption(format!("{} bytes do not encode a {what}", bytes.len()))
}

macro_rules! integers {
    ($($int:ty, $to_key:expr, $from_key:expr;)*) => {$(
        impl Codec for $int {
            const ID: &'static str = stringify!($int);
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self> {
                bytes.try_into().map(Self::from_le_bytes).map_err(|_| wrong(stringify!($int), bytes))
            }
            #[inline]
            fn overwrite(&self, encoded: &mut [u8]) -> bool {
                let fits = encoded.len() == size_of::<Self>();
                if fits {
                    encoded.copy_from_slice(&self.to_le_bytes());
                }
                fits
            }
        }
        impl KeyCodec for $int {
            type Owned = Self;
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&$to_key(*self).to_be_bytes());
            }
            #[inline]
            fn decode_key(bytes: &[u8]) -> Result<Self> {
                bytes.try_into().map(|b| $from_key(b)).map_err(|_| wrong(stringify!($int), bytes))
            }
        }
    )*};
}

// Flipping the sign bit makes the unsigned byte order the numeric order.
integers! {
    u16, |n: u16| n, u16::from_be_bytes;
    u32, |n: u32| n, u32::from_be_bytes;
    u64, |n: u64| n, u64::from_be_bytes;
    i32, |n: i32| n.cast_unsigned() ^ (1 << 31), |b| (u32::from_be_bytes(b) ^ (1 << 31)).cast_signed();
    i64, |n: i64| n.cast_unsigned() ^ (1 << 63), |b| (u64::from_be_bytes(b) ^ (1 << 63)).cast_signed();
}

impl Codec for () {
    const ID: &'static str = "unit";
    fn encode(&self, _: &mut Vec<u8>) {}
    fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() { Ok(()) } else { Err(wrong("unit", bytes)) }
    }
}

impl Codec for Vec<u8> {
    const ID: &'static str = "bytes";
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

impl Codec for String {
    const ID: &'static str = "utf-8";
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Self::from_utf8(bytes.to_vec()).map_err(|_| wrong("UTF-8 string", bytes))
    }
}

impl KeyCodec for [u8] {
    type Owned = Vec<u8>;
    /// Every `00` becomes `00 FF`; `00 00` ends the key.
    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        if self.contains(&0) {
            for byte in self {
                out.push(*byte);
                if *byte == 0 {
                    out.push(0xFF);
                }
            }
        } else {
            out.extend_from_slice(self);
        }
        out.extend_from_slice(&[0, 0]);
    }
    fn decode_key(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut key = Vec::with_capacity(bytes.len());
        let mut rest = bytes.iter();
        while let Some(byte) = rest.next() {
            match (byte, if *byte == 0 { rest.next() } else { None }) {
                (0, Some(0)) if rest.as_slice().is_empty() => return Ok(key),
                (0, Some(0xFF)) => key.push(0),
                (0, _) => return Err(wrong("key", bytes)),
                (byte, _) => key.push(*byte),
            }
        }
        Err(wrong("key", bytes))
    }
}

impl KeyCodec for str {
    type Owned = String;
    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.as_bytes().encode_key(out);
    }
    fn decode_key(bytes: &[u8]) -> Result<String> {
        String::from_utf8(<[u8]>::decode_key(bytes)?).map_err(|_| wrong("UTF-8 key", bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key<K: KeyCodec + ?Sized>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode_key(&mut out);
        out
    }

    proptest! {
        #[test]
        fn byte_keys_round_trip_keep_their_order_and_are_prefix_free(
            a in proptest::collection::vec(0_u8..3, 0..6), b in proptest::collection::vec(0_u8..3, 0..6),
        ) {
            let (ka, kb) = (key(a.as_slice()), key(b.as_slice()));
            prop_assert_eq!(<[u8]>::decode_key(&ka).unwrap(), a.clone());
            prop_assert_eq!(ka.cmp(&kb), a.cmp(&b));
            prop_assert!(a == b || !ka.starts_with(&kb));
        }

        #[test]
        fn integer_keys_keep_their_order(a: i64, b: i64) {
            prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
            prop_assert_eq!(i64::decode_key(&key(&a)).unwrap(), a);
        }

        #[test]
        fn key_decoding_survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(decoded) = <[u8]>::decode_key(&bytes) {
                prop_assert_eq!(key(decoded.as_slice()), bytes);
            }
        }
    }

    #[test]
    fn a_value_of_the_wrong_length_is_corruption() {
        assert!(u64::decode(&[1, 2, 3]).is_err());
        assert!(<()>::decode(&[1]).is_err());
    }
}
