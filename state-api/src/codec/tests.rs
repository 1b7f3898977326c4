//! Every codec round-trips, keeps order where it is a key's, and survives any bytes.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

use alluvium_env::{HashMap, HashSet};
use bytes::Bytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

fn encoded<T: Codec>(value: &T) -> Vec<u8> {
    let mut out = vec![9];
    value.encode(&mut out);
    assert_eq!(out.remove(0), 9, "an encoding is appended");
    out
}

fn key<K: KeyCodec + ?Sized>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode_key(&mut out);
    out
}

/// A value comes back alone and as a part of others, is overwritten in place if its size is fixed, and every cut of it is
/// refused or read, never a panic.
fn check_value<T: Codec + PartialEq + Debug + Clone>(value: &T) {
    let bytes = encoded(value);
    assert_eq!(T::decode(&bytes).as_ref().ok(), Some(value));
    let beside = (value.clone(), 7_u8, Some(value.clone()));
    assert_eq!(<(T, u8, Option<T>)>::decode(&encoded(&beside)).ok(), Some(beside));
    let many = vec![value.clone(); 3];
    assert_eq!(Vec::<T>::decode(&encoded(&many)).ok(), Some(many));
    if let Some(size) = T::FIXED_BYTES {
        let mut place = vec![0; size];
        assert!(value.overwrite(&mut place));
        assert_eq!(place, bytes, "written in place");
        assert!(!value.overwrite(&mut vec![0; size + 1]));
    }
    for cut in (0..bytes.len()).step_by(bytes.len() / 50 + 1) {
        let _ = T::decode(&bytes[..cut]);
    }
}

/// Two keys sort as they do when encoded, neither begins with the other, and both come back, alone and before others.
fn check_keys<K: KeyCodec<Owned = K> + Debug>(a: &K, b: &K, order: std::cmp::Ordering) {
    let (ka, kb) = (key(a), key(b));
    assert_eq!(ka.cmp(&kb), order, "{a:?} and {b:?}");
    assert!(order.is_eq() || !ka.starts_with(&kb) && !kb.starts_with(&ka), "{a:?} and {b:?}");
    let both = [ka.as_slice(), &kb].concat();
    let mut rest = both.as_slice();
    assert_eq!(key(&K::take_key(&mut rest).unwrap()), ka);
    assert_eq!(key(&K::decode_key(rest).unwrap()), kb);
}

/// Any bytes are refused, or are a key that is encoded as they are.
fn check_key_bytes<K: KeyCodec>(bytes: &[u8])
where
    K::Owned: KeyCodec,
{
    let mut rest = bytes;
    if let Ok(decoded) = K::take_key(&mut rest) {
        assert_eq!(key(&decoded), bytes[..bytes.len() - rest.len()]);
    }
}

/// Any bytes are refused, or are a value that is encoded as they are.
fn check_value_bytes<T: Codec>(bytes: &[u8]) {
    if let Ok(value) = T::decode(bytes) {
        assert_eq!(encoded(&value), bytes);
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Line { from: (i32, i32), to: (i32, i32) },
    Named(String, Vec<f32>),
}
crate::codec_by_serde!(Shape, id = "shape", version = 300);

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Dot),
        any::<[i32; 4]>().prop_map(|[a, b, c, d]| Shape::Line { from: (a, b), to: (c, d) }),
        (".*", vec(-1e9_f32..1e9, 0..4)).prop_map(|(name, at)| Shape::Named(name, at)),
    ]
}

macro_rules! check_each {
    ($check:ident; $($value:expr),*) => { $($check($value);)* };
}

macro_rules! check_bytes {
    ($check:ident, $bytes:expr; $($type:ty),*) => { $($check::<$type>($bytes);)* };
}

type Pair = (Shape, String);
type Nested = BTreeMap<(u8, String), Option<Vec<(i64, bool)>>>;

proptest! {
    #[test]
    fn values_round_trip(
        n: (u8, u16, u32, u64, u128), i: (i8, i16, i32, i64, i128), f in (-1e30_f32..1e30, -1e300_f64..1e300),
        other: (bool, char, String, Vec<u8>), some: Option<String>, array: [u16; 5],
    ) {
        check_each!(check_value; &n.0, &n.1, &n.2, &n.3, &n.4, &i.0, &i.1, &i.2, &i.3, &i.4, &f.0, &f.1, &());
        check_each!(check_value; &other.0, &other.1, &other.2, &other.3, &some, &Box::new(n.2), &array);
        check_value(&Bytes::from(other.3.clone()));
        check_value(&[other.2.clone(), String::new()]);
        check_value(&(n.0, i.3, f.1, other.0, other.1, n.4));
        check_value(&(n.1, other.2, some, i.1));
    }

    #[test]
    fn collections_round_trip(
        strings in vec(".*", 0..9), numbers in btree_set(any::<i32>(), 0..20), rotate: usize,
        map in btree_map(any::<u16>(), ".*", 0..9),
        nested in btree_map(any::<(u8, String)>(), option::of(vec(any::<(i64, bool)>(), 0..5)), 0..5),
    ) {
        let mut deque = VecDeque::from(strings.clone());
        deque.rotate_left(rotate % deque.len().max(1));
        check_value(&deque);
        check_each!(check_value; &strings, &numbers, &map, &nested);
        let (set, hashed): (HashSet<_>, HashMap<_, _>) =
            (numbers.into_iter().collect(), map.into_iter().collect());
        check_each!(check_value; &set, &hashed);
        let mut entries: Vec<_> = hashed.clone().into_iter().collect();
        entries.reverse();
        let reversed: HashMap<_, _> = entries.into_iter().collect();
        prop_assert_eq!(encoded(&hashed), encoded(&reversed), "equal maps are equal bytes");
    }

    #[test]
    fn types_of_serde_round_trip(shape in shape(), shapes in vec(shape(), 0..3)) {
        check_each!(check_value; &shape, &shapes);
    }

    #[test]
    fn keys_keep_their_order(
        a: (u8, i16, u128, bool, char), b: (u8, i16, u128, bool, char),
        small in vec((0_u8..3, -1_i8..2, option::of(0_u16..2)), 2),
    ) {
        check_keys(&a, &b, a.cmp(&b));
        check_each!(check_key_pairs; (a.0, b.0), (a.1, b.1), (a.2, b.2), (a.3, b.3), (a.4, b.4));
        check_keys(&small[0], &small[1], small[0].cmp(&small[1]));
        let some = |n: Option<u16>| n.map(|n| (n, n.to_be_bytes()));
        check_keys(&some(small[0].2), &some(small[1].2), some(small[0].2).cmp(&some(small[1].2)));
    }

    #[test]
    fn floats_keep_their_total_order(a: u64, b: u64, c: u32, d: u32) {
        let (a, b) = (f64::from_bits(a), f64::from_bits(b));
        check_keys(&Float(a), &Float(b), a.total_cmp(&b));
        let (c, d) = (f32::from_bits(c), f32::from_bits(d));
        prop_assert_eq!(key(&c).cmp(&key(&d)), c.total_cmp(&d));
        prop_assert_eq!(f32::decode_key(&key(&c)).unwrap().to_bits(), c.to_bits());
        prop_assert_eq!(f64::decode(&encoded(&a)).unwrap().to_bits(), a.to_bits());
    }

    #[test]
    fn byte_keys_round_trip_keep_their_order_and_are_prefix_free(
        a in vec(0_u8..3, 0..6), b in vec(0_u8..3, 0..6), n: u16,
    ) {
        check_keys(&a, &b, a.cmp(&b));
        check_keys(&(a.clone(), n), &(b.clone(), n), a.cmp(&b));
        let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
        check_keys(&(text(&a), Bytes::from(b.clone())), &(text(&b), Bytes::from(a.clone())), a.cmp(&b));
    }

    #[test]
    fn integer_keys_keep_their_order(a: i64, b: i64) {
        check_keys(&a, &b, a.cmp(&b));
    }

    #[test]
    fn decoding_survives_any_bytes(bytes in vec(any::<u8>(), 0..24)) {
        check_bytes!(check_key_bytes, &bytes;
            Vec<u8>, String, (), bool, char, f32, i64, [u8; 3], Option<Vec<u8>>, (u8, String, Option<bool>));
        check_bytes!(check_value_bytes, &bytes;
            Vec<u8>, String, (), bool, char, f64, i128, [u8; 3], [u32; 2], Option<u64>, Option<String>, Vec<String>,
            VecDeque<(bool, String)>, (u16, String), (String, u8, Vec<u16>), Vec<()>);
        // Of these more than one sequence of bytes is read, but none that is a surprise.
        let _ = (Nested::decode(&bytes), BTreeSet::<String>::decode(&bytes), HashMap::<u8, u8>::decode(&bytes));
        let _ = (Shape::decode(&bytes), Vec::<Shape>::decode(&bytes));
    }
}

fn check_key_pairs<K: KeyCodec<Owned = K> + Debug + Ord>((a, b): (K, K)) {
    check_keys(&a, &b, a.cmp(&b));
}

/// A float as a key, for a check that compares keys.
#[derive(Debug)]
struct Float(f64);

impl KeyCodec for Float {
    type Owned = Self;
    fn encode_key(&self, out: &mut Vec<u8>) {
        self.0.encode_key(out);
    }
    fn take_key(bytes: &mut &[u8]) -> Result<Self> {
        f64::take_key(bytes).map(Self)
    }
}

#[test]
fn a_value_of_the_wrong_length_is_corruption() {
    assert!(u64::decode(&[1, 2, 3]).is_err());
    assert!(<()>::decode(&[1]).is_err());
    assert!(<[u8; 2]>::decode(&[1, 2, 3]).is_err());
    assert!(<(u8, u8)>::decode(&[1, 2, 3]).is_err());
    assert!(Option::<u8>::decode(&[]).is_err());
    assert!(BTreeSet::<u8>::decode(&[4, 4]).is_err(), "a member twice");
    assert!(BTreeMap::<u8, u8>::decode(&[4, 1, 4, 2]).is_err(), "a key twice");
}

#[test]
fn ids_are_of_encodings_and_versions_of_all_parts() {
    assert_eq!(Vec::<u8>::ID, "bytes");
    assert_eq!((Bytes::ID, <[u8; 4]>::ID), ("bytes", "bytes"));
    assert_eq!((VecDeque::<u32>::ID, Vec::<u32>::ID), ("seq<u32>", "seq<u32>"));
    assert_eq!(Nested::ID, "map<(u8,utf-8),option<seq<(i64,bool)>>>");
    assert_eq!(<(u8, &str)>::KEY_ID, "(u8,utf-8)");
    assert_eq!(Pair::ID, "(shape,utf-8)");
    assert!(Pair::reads(Pair::VERSION) && !Pair::reads(1) && !<(u8, u8)>::reads(Pair::VERSION));
    assert_eq!(<(u8, String)>::VERSION, 1);
    assert_eq!((<(u8, u32)>::FIXED_BYTES, <(u8, String)>::FIXED_BYTES), (Some(5), None));
}

#[test]
fn another_version_of_a_type_of_serde_is_refused() {
    let mut bytes = encoded(&Shape::Dot);
    assert_eq!(Shape::decode(&bytes).unwrap(), Shape::Dot);
    bytes[0] ^= 1;
    let error = Shape::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("301") && error.contains("shape"), "{error}");
}
