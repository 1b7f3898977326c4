//! Codecs of keys that are made of others: references, options, arrays of bytes.
use alluvium_env::Result;

use super::{KeyCodec, joined_id, wrong};

impl<K: KeyCodec + ?Sized> KeyCodec for &K {
    const KEY_ID: &'static str = K::KEY_ID;
    type Owned = K::Owned;
    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        (**self).encode_key(out);
    }
    #[inline]
    fn take_key(bytes: &mut &[u8]) -> Result<K::Owned> {
        K::take_key(bytes)
    }
}

/// Nothing comes before something.
impl<K: KeyCodec> KeyCodec for Option<K> {
    const KEY_ID: &'static str = joined_id!("option<", K::KEY_ID, ">");
    type Owned = Option<K::Owned>;
    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.encode_key(out);
        }
    }
    #[inline]
    fn take_key(bytes: &mut &[u8]) -> Result<Option<K::Owned>> {
        if bool::take_key(bytes)? { K::take_key(bytes).map(Some) } else { Ok(None) }
    }
}

/// As many bytes as it has, as they are: an address, a hash, a UUID.
impl<const N: usize> KeyCodec for [u8; N] {
    const KEY_ID: &'static str = "fixed bytes";
    type Owned = Self;
    #[inline]
    fn encode_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    #[inline]
    fn take_key(bytes: &mut &[u8]) -> Result<Self> {
        let (key, rest) = bytes.split_first_chunk().ok_or_else(|| wrong("key of fixed size", bytes))?;
        *bytes = rest;
        Ok(*key)
    }
}
