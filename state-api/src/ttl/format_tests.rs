//! Holds `docs/formats/ttl.md` to the code: its worked bytes are written, compared, read.
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::StateTtl;
use super::lifetime::Lifetime;
use crate::merge::Reducing;
use crate::{StateKind, Sum, list_elements, push_list_element};

const PAGE: &str = include_str!("../../../docs/formats/ttl.md");
const NOW: u64 = 1_700_000_000_000;

/// The bytes of a fenced block; everything behind `│` is for people.
fn worked(name: &str) -> Vec<u8> {
    let fence = format!("```worked {name}\n");
    let block = PAGE.split(&fence).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn lifetime(kind: &StateKind) -> Lifetime {
    Lifetime::new(kind, StateTtl::new(Duration::from_secs(1)), 0)
}

fn kinds() -> [(&'static str, Lifetime, Vec<u8>); 3] {
    let mut list = Vec::new();
    push_list_element(&mut list, b"ab");
    push_list_element(&mut list, b"");
    let sum = StateKind::Reducing(Arc::new(Reducing::<Sum<u64>>::default()));
    [
        ("value", lifetime(&StateKind::Value), vec![7]),
        ("list", lifetime(&StateKind::List), list),
        ("accumulator", lifetime(&sum), vec![2]),
    ]
}

#[test]
fn the_worked_stamps_are_what_is_stored_and_read() {
    for (name, lifetime, value) in kinds() {
        let mut stored = Vec::new();
        lifetime.stamp(&value, NOW, &mut stored).unwrap();
        assert_eq!(stored, worked(name), "docs/formats/ttl.md has other worked bytes for the {name}");
        let seen = |now| lifetime.visible(Cow::Borrowed(&stored), now).unwrap();
        assert_eq!(seen(NOW + 999).as_deref(), Some(value.as_slice()), "{name}");
        assert_eq!(seen(NOW + 1000), None, "{name}");
    }
}

#[test]
fn stored_bytes_that_are_cut_are_corruption_or_a_shorter_value() {
    for (name, lifetime, value) in kinds() {
        let stored = worked(name);
        for length in 0..stored.len() {
            let cut = &stored[..length];
            let seen = lifetime.visible(Cow::Borrowed(cut), NOW).map(|seen| seen.map(Cow::into_owned));
            let cleaned = lifetime.clean(&mut cut.to_vec(), NOW, NOW);
            assert_eq!(seen.is_err(), cleaned.is_err(), "{name} of {length} bytes");
            if let Ok(Some(seen)) = seen {
                assert!(value.starts_with(&seen) && list_elements(&seen).count() <= 2, "{name}");
            }
        }
    }
}
