//! Codecs of options, boxes, arrays and the usual collections.
//!
//! Collections of one shape have one encoding and one id, so that a `Vec` may become a `VecDeque`. Hash maps and sets are
//! sorted by their encoded parts: equal ones are equal bytes, and a replay writes what the first run wrote.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use alluvium_env::Result;

use super::joined::{of_sequence, version, version_of};
use super::{Codec, joined_id, parts, wrong};

impl<T: Codec> Codec for Option<T> {
    const ID: &'static str = joined_id!("option<", T::ID, ">");
    const VERSION: u32 = T::VERSION;
    fn reads(version: u32) -> bool {
        T::reads(version)
    }
    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.encode(out);
        }
    }
    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((0, [])) => Ok(None),
            Some((1, value)) => T::decode(value).map(Some),
            _ => Err(wrong("option", bytes)),
        }
    }
}

impl<T: Codec> Codec for Box<T> {
    const ID: &'static str = T::ID;
    const VERSION: u32 = T::VERSION;
    const FIXED_BYTES: Option<usize> = T::FIXED_BYTES;
    fn reads(version: u32) -> bool {
        T::reads(version)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        T::decode(bytes).map(Self::new)
    }
    fn overwrite(&self, encoded: &mut [u8]) -> bool {
        T::overwrite(self, encoded)
    }
}

impl<T: Codec> Codec for Vec<T> {
    const ID: &'static str = const { &of_sequence(T::ID) }.id();
    const VERSION: u32 = T::VERSION;
    fn reads(version: u32) -> bool {
        T::reads(version)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode_all(self, out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        T::decode_all(bytes)
    }
}

/// Of a length that the type knows; a sequence of another length is refused.
impl<T: Codec, const N: usize> Codec for [T; N] {
    const ID: &'static str = const { &of_sequence(T::ID) }.id();
    const VERSION: u32 = T::VERSION;
    const FIXED_BYTES: Option<usize> = match parts::fixed::<T>() {
        Some(size) => Some(size * N),
        None => None,
    };
    fn reads(version: u32) -> bool {
        T::reads(version)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode_all(self, out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        T::decode_all(bytes)?.try_into().map_err(|_| wrong("array of this length", bytes))
    }
}

impl<T: Codec> Codec for VecDeque<T> {
    const ID: &'static str = Vec::<T>::ID;
    const VERSION: u32 = T::VERSION;
    fn reads(version: u32) -> bool {
        T::reads(version)
    }
    fn encode(&self, out: &mut Vec<u8>) {
        let (front, back) = self.as_slices();
        T::encode_all(front, out);
        T::encode_all(back, out);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Vec::decode(bytes).map(Self::from)
    }
}

/// Appends what `encode` makes of each item, sorted.
fn encode_sorted<I>(items: impl Iterator<Item = I>, out: &mut Vec<u8>, encode: impl Fn(I, &mut Vec<u8>)) {
    let mut encoded: Vec<Vec<u8>> = items
        .map(|item| {
            let mut bytes = Vec::new();
            encode(item, &mut bytes);
            bytes
        })
        .collect();
    encoded.sort_unstable();
    out.extend(encoded.into_iter().flatten());
}

macro_rules! sets {
    ($($set:ty, [$($param:tt)*], $encode:expr;)*) => {$(
        impl<T: Codec + $($param)*> Codec for $set {
            const ID: &'static str = joined_id!("set<", T::ID, ">");
            const VERSION: u32 = T::VERSION;
            fn reads(version: u32) -> bool {
                T::reads(version)
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $encode(self, out);
            }
            fn decode(mut bytes: &[u8]) -> Result<Self> {
                let (whole, mut set) = (bytes, Self::default());
                while !bytes.is_empty() {
                    if !set.insert(parts::take(&mut bytes)?) {
                        return Err(wrong("set: one of its members is in it twice", whole));
                    }
                }
                Ok(set)
            }
        }
    )*};
}

macro_rules! maps {
    ($($map:ty, [$($param:tt)*], $encode:expr;)*) => {$(
        impl<V: Codec, K: Codec + $($param)*> Codec for $map {
            const ID: &'static str = joined_id!("map<", K::ID, ",", V::ID, ">");
            const VERSION: u32 = version(&[K::VERSION, V::VERSION]);
            fn reads(version: u32) -> bool {
                K::reads(version_of(version, 0, 2)) && V::reads(version_of(version, 1, 2))
            }
            fn encode(&self, out: &mut Vec<u8>) {
                $encode(self, out);
            }
            fn decode(mut bytes: &[u8]) -> Result<Self> {
                let (whole, mut map) = (bytes, Self::default());
                while !bytes.is_empty() {
                    let (key, value) = (parts::take(&mut bytes)?, parts::take(&mut bytes)?);
                    if map.insert(key, value).is_some() {
                        return Err(wrong("map: one of its keys is in it twice", whole));
                    }
                }
                Ok(map)
            }
        }
    )*};
}

fn push_entry<K: Codec, V: Codec>((key, value): (&K, &V), out: &mut Vec<u8>) {
    parts::push(key, out);
    parts::push(value, out);
}

sets! {
    BTreeSet<T>, [Ord], |set: &Self, out: &mut Vec<u8>| set.iter().for_each(|item| parts::push(item, out));
    hashbrown::HashSet<T, S>, [Hash + Eq, S: BuildHasher + Default], |set: &Self, out: &mut Vec<u8>| {
        encode_sorted(set.iter(), out, parts::push);
    };
}

maps! {
    BTreeMap<K, V>, [Ord], |map: &Self, out: &mut Vec<u8>| map.iter().for_each(|entry| push_entry(entry, out));
    hashbrown::HashMap<K, V, S>, [Hash + Eq, S: BuildHasher + Default], |map: &Self, out: &mut Vec<u8>| {
        encode_sorted(map.iter(), out, push_entry);
    };
}

/// The standard's hash maps and sets, which this house does not use itself.
#[expect(clippy::disallowed_types, reason = "user code may hold state in the standard collections")]
mod foreign {
    use std::collections::{HashMap, HashSet};

    use super::{
        BuildHasher, Codec, Hash, Result, encode_sorted, joined_id, parts, push_entry, version, version_of,
        wrong,
    };

    sets! {
        HashSet<T, S>, [Hash + Eq, S: BuildHasher + Default], |set: &Self, out: &mut Vec<u8>| {
            encode_sorted(set.iter(), out, parts::push);
        };
    }

    maps! {
        HashMap<K, V, S>, [Hash + Eq, S: BuildHasher + Default], |map: &Self, out: &mut Vec<u8>| {
            encode_sorted(map.iter(), out, push_entry);
        };
    }
}
