//! Holds `docs/formats/codec.md` to the code: its worked bytes are written, compared, read.
use std::collections::BTreeMap;

use alluvium_env::HashMap;
use serde::{Deserialize, Serialize};

use super::{Codec, KeyCodec};
use crate::{KeyGroup, StateId, state_key};

const PAGE: &str = include_str!("../../../docs/formats/codec.md");

/// The bytes of a fenced block; everything behind `│` is for people.
fn worked(name: &str) -> Vec<u8> {
    let fence = format!("```worked {name}\n");
    let block = PAGE.split(&fence).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: i32,
}
crate::codec_by_serde!(Point, id = "point", version = 200);

fn check<T: Codec + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    assert_eq!(bytes, worked(name), "docs/formats/codec.md has other worked bytes for the {name}");
    assert_eq!(T::decode(&bytes).as_ref().ok(), Some(value), "{name}");
}

#[test]
fn the_worked_keys_and_values_are_what_codecs_write_and_read() {
    let mut key = Vec::new();
    let mut ox = Vec::new();
    "ox".encode_key(&mut ox);
    state_key::build(&mut key, KeyGroup(258), StateId(3), &ox);
    (-2_i16).encode_key(&mut key);
    (true, "a\0").encode_key(&mut key);
    assert_eq!(key, worked("state key"), "docs/formats/codec.md has another worked state key");
    let mut rest = state_key::split(&key).unwrap().2;
    assert_eq!(str::take_key(&mut rest).unwrap(), "ox");
    let behind = <(i16, (bool, String))>::decode_key(rest).unwrap();
    assert_eq!(behind, (-2, (true, "a\0".to_owned())));

    let mut keys = Vec::new();
    (-0.5_f64, None::<u8>).encode_key(&mut keys);
    assert_eq!(keys, worked("keys"), "docs/formats/codec.md has other worked keys");

    check("value", &(7_u16, "ant".to_owned(), vec![Some(1_u8), None]));
    check("map", &BTreeMap::from([("a".to_owned(), 1.0_f32)]));
    check("map", &HashMap::from_iter([("a".to_owned(), 1.0_f32)]));
    check("serde", &Point { x: 1, y: -1 });
}
