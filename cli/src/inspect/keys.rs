//! Record keys as people write and read them.
use std::fmt::Display;
use std::str::FromStr;

use alluvium_env::{Error, Result};
use alluvium_state_api::KeyCodec;
use clap::ValueEnum;

use super::shown::Shown;
use super::text::{escaped, from_hex};

/// What a record key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyType {
    /// Text where it is, hexadecimal digits elsewhere
    Auto,
    /// A string or bytes
    Text,
    /// The encoded bytes as they are, whatever they mean
    Hex,
    U16,
    U32,
    U64,
    I32,
    I64,
}

/// A record key, and the encoded bytes behind it: namespace and user key.
pub(super) struct Split<'a> {
    pub(super) key: Shown,
    pub(super) rest: &'a [u8],
}

impl KeyType {
    /// A key as it is stored.
    ///
    /// # Errors
    /// `Invalid` for what cannot be such a key.
    pub(super) fn encode(self, key: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Auto | Self::Text => key.encode_key(&mut out),
            Self::Hex => out = digits(key)?,
            Self::U16 => number::<u16>(key)?.encode_key(&mut out),
            Self::U32 => number::<u32>(key)?.encode_key(&mut out),
            Self::U64 => number::<u64>(key)?.encode_key(&mut out),
            Self::I32 => number::<i32>(key)?.encode_key(&mut out),
            Self::I64 => number::<i64>(key)?.encode_key(&mut out),
        }
        Ok(out)
    }

    /// What begins every key that begins so.
    ///
    /// # Errors
    /// `Invalid` for keys that have no beginnings: numbers.
    pub(super) fn encode_prefix(self, prefix: &str) -> Result<Vec<u8>> {
        match self {
            Self::Auto | Self::Text => {
                let mut out = Vec::new();
                prefix.encode_key(&mut out);
                // Without its end.
                out.truncate(out.len() - 2);
                Ok(out)
            }
            Self::Hex => digits(prefix),
            _ => Err(Error::invalid(
                "--prefix contradicts a --key-type that is a number: numbers have no beginnings; give the bytes with --key-type hex",
            )),
        }
    }

    /// Takes the record key off what is behind a state key's prefix. A key that cannot be one of this type takes all.
    pub(super) fn split(self, encoded: &[u8]) -> Split<'_> {
        let whole = || Split { key: Shown::hex(encoded), rest: &[] };
        match self {
            // Nothing is text of any kind: the first bytes of a number, more often.
            Self::Auto => match take_text(encoded).filter(|(key, _)| !key.is_empty()) {
                Some((key, rest)) => match Shown::text_or_hex(&key) {
                    key @ Shown::Text(_) => Split { key, rest },
                    _ => whole(),
                },
                None => whole(),
            },
            Self::Text => match take_text(encoded) {
                Some((key, rest)) => Split { key: Shown::Text(escaped(&key)), rest },
                None => whole(),
            },
            Self::Hex => whole(),
            Self::U16 => take_number::<u16>(encoded, |n| Shown::Unsigned(n.into())).unwrap_or_else(whole),
            Self::U32 => take_number::<u32>(encoded, |n| Shown::Unsigned(n.into())).unwrap_or_else(whole),
            Self::U64 => take_number::<u64>(encoded, Shown::Unsigned).unwrap_or_else(whole),
            Self::I32 => take_number::<i32>(encoded, |n| Shown::Signed(n.into())).unwrap_or_else(whole),
            Self::I64 => take_number::<i64>(encoded, Shown::Signed).unwrap_or_else(whole),
        }
    }
}

/// A user key, of which the type is not known.
pub(super) fn user_key(encoded: &[u8]) -> Shown {
    match take_text(encoded) {
        Some((key, [])) => match Shown::text_or_hex(&key) {
            key @ Shown::Text(_) => key,
            _ => Shown::hex(encoded),
        },
        _ => Shown::hex(encoded),
    }
}

/// Takes a byte string off, as its codec ends it.
fn take_text(encoded: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut at = 0;
    loop {
        at += encoded.get(at..)?.iter().position(|byte| *byte == 0)?;
        if *encoded.get(at + 1)? == 0 {
            let (key, rest) = encoded.split_at_checked(at + 2)?;
            return <[u8]>::decode_key(key).ok().map(|key| (key, rest));
        }
        at += 2;
    }
}

fn take_number<K: KeyCodec<Owned = K>>(encoded: &[u8], shown: impl Fn(K) -> Shown) -> Option<Split<'_>> {
    let (key, rest) = encoded.split_at_checked(size_of::<K>())?;
    K::decode_key(key).ok().map(|key| Split { key: shown(key), rest })
}

fn digits(text: &str) -> Result<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    from_hex(text).ok_or_else(|| Error::invalid(format!("{text:?} is not bytes in hexadecimal digits")))
}

fn number<N: FromStr<Err: Display>>(text: &str) -> Result<N> {
    let name = std::any::type_name::<N>();
    text.parse().map_err(|e| Error::invalid(format!("the key {text:?} is no {name}: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: KeyType, encoded: &[u8]) -> (String, Vec<u8>) {
        let Split { key, rest } = kind.split(encoded);
        (key.to_string(), rest.to_vec())
    }

    #[test]
    fn what_is_written_is_shown_again_and_leaves_what_is_behind_it() {
        for (kind, key) in [
            (KeyType::Auto, "river"),
            (KeyType::Text, "流れる水"),
            (KeyType::U16, "7"),
            (KeyType::U32, "4000000000"),
            (KeyType::U64, "18446744073709551615"),
            (KeyType::I32, "-3"),
            (KeyType::I64, "-9000000000"),
        ] {
            let mut encoded = kind.encode(key).unwrap();
            encoded.extend_from_slice(b"user");
            assert_eq!(shown(kind, &encoded), (key.to_owned(), b"user".to_vec()));
        }
        assert_eq!(KeyType::Hex.encode("0x00 ff").unwrap(), [0, 255]);
        assert_eq!(shown(KeyType::Hex, b"\0\xFF"), ("0x00ff".to_owned(), vec![]));
    }

    #[test]
    fn a_key_that_is_no_text_is_shown_in_digits_and_whole() {
        for encoded in [&7_u64.to_be_bytes()[..], b"a\x07\0\0x", b"no end", b"\0\x01", b""] {
            let (key, rest) = shown(KeyType::Auto, encoded);
            assert!(key.starts_with("0x") && rest.is_empty(), "{encoded:?}: {key}");
        }
        assert_eq!(shown(KeyType::Text, b"a\0\xFFb\0\0").0, r"a\x00b");
        assert_eq!((user_key(b"k\0\0").to_string(), user_key(b"k").to_string()), ("k".into(), "0x6b".into()));
    }

    #[test]
    fn a_prefix_begins_what_begins_with_it() {
        let prefix = KeyType::Auto.encode_prefix("al").unwrap();
        assert!(KeyType::Auto.encode("alluvium").unwrap().starts_with(&prefix));
        assert_eq!(KeyType::Auto.encode_prefix("").unwrap(), b"");
        assert!(KeyType::U64.encode_prefix("1").unwrap_err().to_string().contains("--key-type hex"));
        for (kind, key) in [(KeyType::U16, "65536"), (KeyType::I32, "x"), (KeyType::Hex, "abc")] {
            assert!(kind.encode(key).unwrap_err().to_string().contains(key));
        }
    }
}
