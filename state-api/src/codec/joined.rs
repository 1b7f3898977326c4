//! Ids and versions of codecs that are made of others, put together at compile time.
//!
//! A composition has an id if all its parts have one. Its version holds those of all parts: of `n` parts each has
//! `32 / n` bits, so any part may count up on its own, and all at their first version make version 1.

/// The bytes an id may have.
const MAX_BYTES: usize = 255;

/// Parts, one behind the other; empty if one of them is.
pub(crate) struct Joined {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Joined {
    #[expect(
        clippy::indexing_slicing,
        reason = "evaluated at compile time, where a wrong index does not compile"
    )]
    pub(crate) const fn of(parts: &[&str]) -> Self {
        let mut joined = Self { bytes: [0; MAX_BYTES], len: 0 };
        let mut at = 0;
        while at < parts.len() {
            let part = parts[at].as_bytes();
            if part.is_empty() {
                return Self { bytes: [0; MAX_BYTES], len: 0 };
            }
            assert!(joined.len + part.len() <= MAX_BYTES, "a codec's id is longer than 255 bytes: nest less");
            let mut byte = 0;
            while byte < part.len() {
                joined.bytes[joined.len] = part[byte];
                joined.len += 1;
                byte += 1;
            }
            at += 1;
        }
        joined
    }

    pub(crate) const fn id(&'static self) -> &'static str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(id) => id,
            Err(_) => "",
        }
    }
}

/// The id of a composition.
macro_rules! joined_id {
    ($($part:expr),+) => {
        const { &$crate::codec::joined::Joined::of(&[$($part),+]) }.id()
    };
}
pub(crate) use joined_id;

/// Bits of a version that each of `parts` has.
const fn bits(parts: usize) -> u32 {
    32 / parts as u32
}

/// The version of a composition.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated at compile time, where a wrong index does not compile"
)]
pub(super) const fn version(parts: &[u32]) -> u32 {
    let mut joined = 0;
    let mut at = 0;
    while at < parts.len() {
        let above_first = parts[at] as u64 - 1;
        assert!(
            above_first < 1 << bits(parts.len()),
            "a codec has too many versions to be a part of another"
        );
        joined |= above_first << (bits(parts.len()) * at as u32);
        at += 1;
    }
    assert!(joined < u32::MAX as u64, "codecs have too many versions to be parts of one");
    joined as u32 + 1
}

/// The version of part `at` in the version of a composition of `parts`.
pub(super) fn version_of(version: u32, at: u32, parts: usize) -> u32 {
    let bits = bits(parts);
    let mask = u32::MAX >> (32 - bits);
    let part = version.wrapping_sub(1).checked_shr(bits * at).unwrap_or(0) & mask;
    part.saturating_add(1)
}

/// The id of a sequence of values with this id: bytes are what they are, in whatever they are kept.
pub(super) const fn of_sequence(id: &'static str) -> Joined {
    match id.as_bytes() {
        b"u8" => Joined::of(&["bytes"]),
        _ => Joined::of(&["seq<", id, ">"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_parts_are_found_again_and_first_ones_make_the_first() {
        assert_eq!(version(&[1, 1, 1]), 1);
        for parts in [vec![1, 2], vec![7, 1, 3], vec![1; 6], vec![31, 2, 1, 9, 30, 5], vec![9]] {
            let joined = version(&parts);
            for (at, part) in (0..).zip(&parts) {
                assert_eq!(version_of(joined, at, parts.len()), *part, "{parts:?}");
            }
        }
    }

    #[test]
    fn a_composition_has_an_id_if_all_its_parts_have() {
        const BOTH: Joined = Joined::of(&["map<", "u64", ",", "utf-8", ">"]);
        const ONE: Joined = Joined::of(&["map<", "u64", ",", "", ">"]);
        assert_eq!((BOTH.id(), ONE.id()), ("map<u64,utf-8>", ""));
        assert_eq!(const { &of_sequence("u8") }.id(), "bytes");
    }
}
