//! Codecs of numbers, truth values, characters and nothing at all.
use alluvium_env::Result;

use super::{Codec, KeyCodec, wrong};

/// A value of fixed size by its little-endian bytes. Bytes are told apart from other numbers by `encode_all`.
macro_rules! little_endian {
    ($number:ty) => {
        const ID: &'static str = stringify!($number);
        const FIXED_BYTES: Option<usize> = Some(size_of::<$number>());
        #[inline]
        fn encode(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_le_bytes());
        }
        #[inline]
        fn decode(bytes: &[u8]) -> Result<Self> {
            bytes.try_into().map(Self::from_le_bytes).map_err(|_| wrong(stringify!($number), bytes))
        }
        #[inline]
        fn overwrite(&self, encoded: &mut [u8]) -> bool {
            let fits = encoded.len() == size_of::<Self>();
            if fits {
                encoded.copy_from_slice(&self.to_le_bytes());
            }
            fits
        }
    };
}

/// A key by the big-endian bytes of an unsigned number that sorts as it does.
macro_rules! sorted_as {
    ($key:ty, $unsigned:ty, $to:expr, $from:expr) => {
        impl KeyCodec for $key {
            const KEY_ID: &'static str = stringify!($key);
            type Owned = Self;
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                let sorted: $unsigned = $to(*self);
                out.extend_from_slice(&sorted.to_be_bytes());
            }
            #[inline]
            fn take_key(bytes: &mut &[u8]) -> Result<Self> {
                match bytes.split_first_chunk() {
                    Some((key, rest)) => {
                        *bytes = rest;
                        Ok($from(<$unsigned>::from_be_bytes(*key)))
                    }
                    None => Err(wrong(stringify!($key), bytes)),
                }
            }
        }
    };
}

macro_rules! unsigned {
    ($($number:ty),*) => {$(sorted_as!($number, $number, |n| n, |n| n);)*};
}

// Flipping the sign bit makes the unsigned order the numeric one.
macro_rules! signed {
    ($($number:ty, $unsigned:ty;)*) => {$(
        sorted_as!(
            $number, $unsigned,
            |n: $number| n.cast_unsigned() ^ (1 << (<$unsigned>::BITS - 1)),
            |n: $unsigned| (n ^ (1 << (<$unsigned>::BITS - 1))).cast_signed()
        );
    )*};
}

// The bits of a float sort as its magnitude does, and behind the sign bit: of a negative one all are flipped.
macro_rules! floats {
    ($($number:ty, $unsigned:ty;)*) => {$(
        impl Codec for $number {
            little_endian!($number);
        }
        // Keys sort as `total_cmp` does, so each has one encoding, NaNs included.
        sorted_as!(
            $number, $unsigned,
            |n: $number| {
                let (bits, sign) = (n.to_bits(), 1 << (<$unsigned>::BITS - 1));
                if bits & sign == 0 { bits | sign } else { !bits }
            },
            |n: $unsigned| {
                let sign = 1 << (<$unsigned>::BITS - 1);
                <$number>::from_bits(if n & sign == 0 { !n } else { n ^ sign })
            }
        );
    )*};
}

macro_rules! integers {
    ($($number:ty),*) => {$(
        impl Codec for $number {
            little_endian!($number);
        }
    )*};
}

integers!(u16, u32, u64, u128, i8, i16, i32, i64, i128);
unsigned!(u8, u16, u32, u64, u128);
signed! { i8, u8; i16, u16; i32, u32; i64, u64; i128, u128; }
floats! { f32, u32; f64, u64; }

impl Codec for u8 {
    little_endian!(u8);

    fn encode_all(values: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(values);
    }

    fn decode_all(bytes: &[u8]) -> Result<Vec<Self>> {
        Ok(bytes.to_vec())
    }
}

/// A value and a key through a number: `$to` gives it, `$from` takes it back if it is one.
macro_rules! as_number {
    ($($value:ty, $id:literal, $number:ty, $to:expr, $from:expr;)*) => {$(
        impl Codec for $value {
            const ID: &'static str = $id;
            const FIXED_BYTES: Option<usize> = <$number>::FIXED_BYTES;
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $to(*self).encode(out);
            }
            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self> {
                $from(<$number>::decode(bytes)?).ok_or_else(|| wrong($id, bytes))
            }
            #[inline]
            fn overwrite(&self, encoded: &mut [u8]) -> bool {
                $to(*self).overwrite(encoded)
            }
        }
        impl KeyCodec for $value {
            const KEY_ID: &'static str = $id;
            type Owned = Self;
            #[inline]
            fn encode_key(&self, out: &mut Vec<u8>) {
                $to(*self).encode_key(out);
            }
            #[inline]
            fn take_key(bytes: &mut &[u8]) -> Result<Self> {
                $from(<$number>::take_key(bytes)?).ok_or_else(|| wrong($id, bytes))
            }
        }
    )*};
}

as_number! {
    bool, "bool", u8, u8::from, |n| match n { 0 => Some(false), 1 => Some(true), _ => None };
    char, "char", u32, u32::from, char::from_u32;
}

impl Codec for () {
    const ID: &'static str = "unit";
    const FIXED_BYTES: Option<usize> = Some(0);
    #[inline]
    fn encode(&self, _: &mut Vec<u8>) {}
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() { Ok(()) } else { Err(wrong("unit", bytes)) }
    }
}

impl KeyCodec for () {
    const KEY_ID: &'static str = "unit";
    type Owned = ();
    #[inline]
    fn encode_key(&self, _: &mut Vec<u8>) {}
    #[inline]
    fn take_key(_: &mut &[u8]) -> Result<()> {
        Ok(())
    }
}
