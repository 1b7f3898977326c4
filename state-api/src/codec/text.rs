//! Codecs of strings and bytes.
use alluvium_env::Result;
use bytes::Bytes;

use super::{Codec, KeyCodec, wrong};

impl Codec for String {
    const ID: &'static str = "utf-8";
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Self::from_utf8(bytes.to_vec()).map_err(|_| wrong("UTF-8 string", bytes))
    }
}

impl Codec for Bytes {
    const ID: &'static str = "bytes";
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self::copy_from_slice(bytes))
    }
}

impl KeyCodec for [u8] {
    const KEY_ID: &'static str = "bytes";
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
    fn take_key(bytes: &mut &[u8]) -> Result<Vec<u8>> {
        let whole = *bytes;
        let mut key = Vec::new();
        loop {
            let zero = bytes.iter().position(|byte| *byte == 0).ok_or_else(|| wrong("key", whole))?;
            let (plain, rest) = bytes.split_at_checked(zero).unwrap_or_default();
            key.extend_from_slice(plain);
            match rest.split_first_chunk() {
                Some(([0, 0], behind)) => {
                    *bytes = behind;
                    return Ok(key);
                }
                Some(([0, 0xFF], behind)) => {
                    *bytes = behind;
                    key.push(0);
                }
                _ => return Err(wrong("key", whole)),
            }
        }
    }
}

/// A key that is encoded as the bytes it derefs to.
macro_rules! as_bytes {
    ($($owner:ty),*) => {$(
        impl KeyCodec for $owner {
            const KEY_ID: &'static str = "bytes";
            type Owned = Self;
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                <[u8]>::encode_key(self, out);
            }
            fn take_key(bytes: &mut &[u8]) -> Result<Self> {
                <[u8]>::take_key(bytes).map(Self::from)
            }
        }
    )*};
}

as_bytes!(Vec<u8>, Bytes);

/// A key that is encoded as the string it derefs to.
macro_rules! as_text {
    ($($owner:ty),*) => {$(
        impl KeyCodec for $owner {
            const KEY_ID: &'static str = "utf-8";
            type Owned = String;
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                self.as_bytes().encode_key(out);
            }
            fn take_key(bytes: &mut &[u8]) -> Result<String> {
                let whole = *bytes;
                String::from_utf8(<[u8]>::take_key(bytes)?).map_err(|_| wrong("UTF-8 key", whole))
            }
        }
    )*};
}

as_text!(str, String);
