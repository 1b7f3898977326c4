//! Entries: what a memtable, a block or a delta holds of a key.
use alluvium_env::{Error, Result};

/// What an entry does to the key. The numbers are persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Where the value lies in a value file. In tables only.
    Pointer = 0,
    /// The value.
    Put = 1,
    /// There is no value; hides older entries.
    Delete = 2,
    /// An operand to fold into older entries (design D7).
    Merge = 3,
}

impl EntryKind {
    #[inline]
    pub(crate) fn from_code(code: u64) -> Result<Self> {
        match code {
            0 => Ok(Self::Pointer),
            1 => Ok(Self::Put),
            2 => Ok(Self::Delete),
            3 => Ok(Self::Merge),
            _ => Err(Error::corruption(format!("expected an entry kind from 0 to 3, got {code}"))),
        }
    }
}

/// The longest key or value.
pub(crate) const MAX_PART_BYTES: usize = 64 << 20;

/// Refuses keys and values that are too long.
#[inline]
pub(crate) fn check_size(key: &[u8], value: &[u8]) -> Result<()> {
    if key.len() > MAX_PART_BYTES || value.len() > MAX_PART_BYTES {
        let (k, v) = (key.len(), value.len());
        return Err(Error::invalid(format!(
            "a key of {k} and a value of {v} bytes: each may have at most {MAX_PART_BYTES}; split the value"
        )));
    }
    Ok(())
}
