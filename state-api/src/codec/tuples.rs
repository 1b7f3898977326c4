//! Codecs of tuples, of values and of keys, up to six parts.
use alluvium_env::Result;

use super::joined::{version, version_of};
use super::{Codec, KeyCodec, joined_id, parts, wrong};

/// The size of all parts together, if each has one.
const fn sum(sizes: &[Option<usize>]) -> Option<usize> {
    let (mut sum, mut rest) = (0, sizes);
    while let Some((size, tail)) = rest.split_first() {
        match size {
            Some(size) => sum += *size,
            None => return None,
        }
        rest = tail;
    }
    Some(sum)
}

macro_rules! tuples {
    ($(($count:literal; $first:ident $first_at:tt $(, $part:ident $at:tt)*))*) => {$(
        impl<$first: Codec, $($part: Codec),*> Codec for ($first, $($part),*) {
            const ID: &'static str = joined_id!("(", $first::ID, $(",", $part::ID,)* ")");
            const VERSION: u32 = version(&[$first::VERSION, $($part::VERSION),*]);
            const FIXED_BYTES: Option<usize> = sum(&[parts::fixed::<$first>(), $(parts::fixed::<$part>()),*]);
            fn reads(version: u32) -> bool {
                $first::reads(version_of(version, $first_at, $count))
                    $(&& $part::reads(version_of(version, $at, $count)))*
            }
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                parts::push(&self.$first_at, out);
                $(parts::push(&self.$at, out);)*
            }
            #[inline]
            fn decode(mut bytes: &[u8]) -> Result<Self> {
                let whole = bytes;
                let tuple = (parts::take(&mut bytes)?, $(parts::take::<$part>(&mut bytes)?),*);
                if bytes.is_empty() { Ok(tuple) } else { Err(wrong("tuple", whole)) }
            }
            #[inline]
            fn overwrite(&self, encoded: &mut [u8]) -> bool {
                if Self::FIXED_BYTES != Some(encoded.len()) {
                    return false;
                }
                let (part, rest) = encoded.split_at_mut($first::FIXED_BYTES.unwrap_or(0));
                let fits = self.$first_at.overwrite(part);
                $(
                    let (part, rest) = rest.split_at_mut($part::FIXED_BYTES.unwrap_or(0));
                    let fits = fits && self.$at.overwrite(part);
                )*
                assert!(fits && rest.is_empty(), "a codec of {} has another size than it says", Self::ID);
                true
            }
        }

        impl<$first: KeyCodec, $($part: KeyCodec),*> KeyCodec for ($first, $($part),*) {
            const KEY_ID: &'static str = joined_id!("(", $first::KEY_ID, $(",", $part::KEY_ID,)* ")");
            type Owned = ($first::Owned, $($part::Owned),*);
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                self.$first_at.encode_key(out);
                $(self.$at.encode_key(out);)*
            }
            #[inline]
            fn take_key(bytes: &mut &[u8]) -> Result<Self::Owned> {
                Ok(($first::take_key(bytes)?, $($part::take_key(bytes)?),*))
            }
        }
    )*};
}

tuples! {
    (2; A 0, B 1)
    (3; A 0, B 1, C 2)
    (4; A 0, B 1, C 2, D 3)
    (5; A 0, B 1, C 2, D 3, E 4)
    (6; A 0, B 1, C 2, D 3, E 4, F 5)
}
