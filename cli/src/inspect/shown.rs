//! A key or a value as it is shown: to a person as text, in JSON so that no two look alike.
use std::fmt;

use serde::Serialize;

use super::text::{hex, printable};

/// Something that is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Shown {
    Unsigned(u64),
    Signed(i64),
    Text(String),
    /// Bytes that are no text.
    Hex {
        hex: String,
    },
}

impl Shown {
    pub(super) fn hex(bytes: &[u8]) -> Self {
        Self::Hex { hex: hex(bytes) }
    }

    pub(super) fn text_or_hex(bytes: &[u8]) -> Self {
        printable(bytes).map_or_else(|| Self::hex(bytes), |text| Self::Text(text.to_owned()))
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Hex { hex } => write!(f, "0x{hex}"),
        }
    }
}
