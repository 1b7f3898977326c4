//! What a state holds of a key, as people read it: a value, a list's elements, or operands that only the job can fold.
use std::fmt;

use alluvium_env::Result;
use alluvium_forst::Operands;
use alluvium_state_api::{Codec as _, StateKind, list_elements};
use clap::ValueEnum;
use serde::Serialize;

use super::shown::Shown;
use super::text::escaped;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ValueType {
    /// Text where it is, hexadecimal digits elsewhere
    Auto,
    Text,
    Hex,
    U64,
    I64,
}

impl ValueType {
    /// A value that cannot be one of this type is shown as what it is.
    pub(super) fn shown(self, value: &[u8]) -> Shown {
        match self {
            Self::Auto => Shown::text_or_hex(value),
            Self::Text => Shown::Text(escaped(value)),
            Self::Hex => Shown::hex(value),
            Self::U64 => u64::decode(value).map_or_else(|_| Shown::hex(value), Shown::Unsigned),
            Self::I64 => i64::decode(value).map_or_else(|_| Shown::hex(value), Shown::Signed),
        }
    }

    /// The sum of numbers, `None` if one of them is none.
    fn sum(self, numbers: &[&[u8]]) -> Option<Shown> {
        let unsigned =
            || numbers.iter().try_fold(0_u64, |sum, n| Some(sum.wrapping_add(u64::decode(n).ok()?)));
        let signed = || numbers.iter().try_fold(0_i64, |sum, n| Some(sum.wrapping_add(i64::decode(n).ok()?)));
        match self {
            Self::U64 => unsigned().map(Shown::Unsigned),
            Self::I64 => signed().map(Shown::Signed),
            Self::Auto | Self::Text | Self::Hex => None,
        }
    }
}

/// The operands that a value was folded from, `None` if it was not.
fn operands_of<'a>(operands: &Operands, value: &'a [u8]) -> Option<Vec<&'a [u8]>> {
    list_elements(operands.of(value)?).collect::<Result<_>>().ok()
}

/// What a state holds of a key.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Content {
    Value(Shown),
    /// Of a list.
    Elements(Vec<Shown>),
    /// Of a reducing or aggregating state; the oldest may be folded from others already.
    Operands(Vec<Shown>),
}

/// How values of one state are shown.
pub(super) struct Values<'a> {
    pub(super) kind: Kind,
    pub(super) value_type: ValueType,
    pub(super) sum: bool,
    pub(super) operands: &'a Operands,
}

/// What a state's kind says of the form of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    is_list: bool,
    /// Before each value, element or operand: when it was updated, and what else `docs/formats/ttl.md` puts there.
    stamp_bytes: usize,
}

impl Kind {
    /// The kind of a persisted name.
    pub(super) fn named(name: &str) -> Self {
        let (kind, ttl) = name.split_once(' ').unwrap_or((name, ""));
        let is_list = kind == StateKind::List.name();
        let is_folded = !is_list && kind != StateKind::Value.name() && kind != StateKind::Map.name();
        Self { is_list, stamp_bytes: if ttl.is_empty() { 0 } else { 8 << usize::from(is_folded) } }
    }

    /// Takes the stamps off: when it was updated, in milliseconds since the Unix epoch, and the rest. What is too short
    /// for its stamps is left as it is.
    fn unstamped<'a>(&self, stored: &'a [u8]) -> (Option<u64>, &'a [u8]) {
        match stored.split_at_checked(self.stamp_bytes) {
            // The update is the last of them.
            Some((stamps, rest)) => (stamps.last_chunk().map(|updated| u64::from_le_bytes(*updated)), rest),
            None => (None, stored),
        }
    }
}

impl Values<'_> {
    /// What is held, and when it was updated last, where that is known.
    pub(super) fn shown(&self, value: &[u8]) -> (Content, Option<u64>) {
        match operands_of(self.operands, value) {
            Some(operands) => self.parts(&operands),
            None => self.parts(&[value]),
        }
    }

    /// The same of an encoded list of a value, or of operands that nothing has folded.
    ///
    /// # Errors
    /// `Corruption` if the bytes are no list.
    pub(super) fn shown_of(&self, stored: &[u8]) -> Result<(Content, Option<u64>)> {
        let parts: Vec<&[u8]> = list_elements(stored).collect::<Result<_>>()?;
        Ok(self.parts(&parts))
    }

    fn parts(&self, parts: &[&[u8]]) -> (Content, Option<u64>) {
        let mut updated = None;
        let mut unstamped = |part| {
            let (at, rest) = self.kind.unstamped(part);
            updated = updated.max(at);
            rest
        };
        let all = |parts: Vec<&[u8]>| parts.into_iter().map(|part| self.value_type.shown(part)).collect();
        let content = match parts {
            [value] => match self.kind.is_list.then(|| list_elements(value).collect::<Result<Vec<_>>>()) {
                Some(Ok(elements)) => Content::Elements(all(elements.into_iter().map(unstamped).collect())),
                _ => Content::Value(self.value_type.shown(unstamped(value))),
            },
            operands => {
                let operands: Vec<&[u8]> = operands.iter().copied().map(unstamped).collect();
                match self.value_type.sum(&operands).filter(|_| self.sum) {
                    Some(sum) => Content::Value(sum),
                    None => Content::Operands(all(operands)),
                }
            }
        };
        (content, updated)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |parts: &[Shown], with: &str| parts.iter().map(Shown::to_string).collect::<Vec<_>>().join(with);
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Elements(elements) => write!(f, "[{}]", joined(elements, ", ")),
            Self::Operands(operands) => f.write_str(&joined(operands, " ⊕ ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::Entropy;
    use alluvium_state_api::{MergeOperator as _, push_list_element};

    use super::*;

    fn values(operands: &Operands, value_type: ValueType, sum: bool) -> Values<'_> {
        Values { kind: Kind::named("reducing"), value_type, sum, operands }
    }

    #[test]
    fn operands_stay_apart_in_their_order_however_they_were_folded() {
        let operands = Operands::new(&Entropy::from_seed(1));
        let fold = |older: &[u8], newer: &[u8]| {
            let mut acc = older.to_vec();
            operands.merge(&mut acc, newer).unwrap();
            acc
        };
        let [a, b, c] = [1_u64, 20, 300].map(u64::to_le_bytes);
        for folded in [fold(&fold(&a, &b), &c), fold(&a, &fold(&b, &c))] {
            let (shown, updated) = values(&operands, ValueType::U64, false).shown(&folded);
            assert_eq!(updated, None);
            assert_eq!(shown.to_string(), "1 ⊕ 20 ⊕ 300");
            let json = serde_json::to_value(&shown).unwrap();
            assert_eq!(json, serde_json::json!({ "operands": [1, 20, 300] }));
            assert_eq!(
                values(&operands, ValueType::I64, true).shown(&folded).0,
                Content::Value(Shown::Signed(321))
            );
        }
        assert_eq!(values(&operands, ValueType::U64, true).shown(&a).0.to_string(), "1");
        let odd = fold(&a, b"odd");
        assert_eq!(values(&operands, ValueType::U64, true).shown(&odd).0.to_string(), "1 ⊕ 0x6f6464");
    }

    #[test]
    fn a_list_is_shown_by_its_elements_and_what_is_none_as_it_is() {
        let operands = Operands::new(&Entropy::from_seed(1));
        let list = Values { kind: Kind::named("list"), ..values(&operands, ValueType::Auto, false) };
        let mut value = Vec::new();
        push_list_element(&mut value, b"a");
        push_list_element(&mut value, b"\0");
        assert_eq!(list.shown(&value).0.to_string(), "[a, 0x00]");
        let json = serde_json::to_value(list.shown(&value).0).unwrap();
        assert_eq!(json, serde_json::json!({ "elements": ["a", { "hex": "00" }] }));
        assert_eq!(list.shown(b"torn").0.to_string(), "torn");
    }

    #[test]
    fn stamps_of_a_state_with_a_ttl_are_times_and_no_part_of_its_values() {
        let operands = Operands::new(&Entropy::from_seed(1));
        let shown = |kind: &str, value: &[u8]| {
            let values = Values { kind: Kind::named(kind), ..values(&operands, ValueType::Auto, true) };
            let (content, updated) = values.shown(value);
            (content.to_string(), updated)
        };
        let stamp = |millis: u64| millis.to_le_bytes().to_vec();
        assert_eq!(shown("value with TTL", &[stamp(7), b"x".to_vec()].concat()), ("x".into(), Some(7)));
        assert_eq!(shown("map with TTL", b"short"), ("short".into(), None));
        let mut list = Vec::new();
        push_list_element(&mut list, &[stamp(9), b"a".to_vec()].concat());
        push_list_element(&mut list, &[stamp(8), b"b".to_vec()].concat());
        assert_eq!(shown("list with TTL", &list), ("[a, b]".into(), Some(9)));
        let mut chain = [stamp(1), stamp(5), b"a".to_vec()].concat();
        operands.merge(&mut chain, &[stamp(6), stamp(6), b"b".to_vec()].concat()).unwrap();
        assert_eq!(shown("reducing with TTL", &chain), ("a ⊕ b".into(), Some(6)));
        assert_eq!(shown("reducing", b"plain"), ("plain".into(), None));
    }
}
