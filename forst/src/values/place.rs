//! Where a value lies: what a pointer says, in memory and in a table's entry.
//!
//! The pointer of a value that expires carries its stamp, so that a compaction can judge it without reading it.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::{ValueFile, ValueShare};
use crate::block::Block;
use crate::coding::{Input, put_varint};
use crate::entry::EntryKind;
use crate::expiry::Stamp;

/// A record of a value file.
#[derive(Clone, Debug)]
pub(crate) struct ValuePlace {
    pub(crate) file: Arc<ValueFile>,
    /// How many records are before it: its name in the cache.
    pub(crate) number: u32,
    pub(crate) range: Range<u64>,
    /// When the value was updated, if it expires.
    pub(crate) stamp: Option<Stamp>,
}

impl ValuePlace {
    /// The record's size.
    pub(crate) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Appends the pointer as an entry's value: `file · number · offset · record_bytes · (class · since · updated)?`, varints;
    /// `file` is the file's place among those of the table.
    pub(crate) fn encode(&self, file: u32, out: &mut Vec<u8>) {
        for number in [u64::from(file), u64::from(self.number), self.range.start, self.bytes()] {
            put_varint(out, number);
        }
        if let Some(Stamp { class, since_millis, updated_millis }) = self.stamp {
            // Since never comes behind updated, and mostly is it.
            for number in [u64::from(class), updated_millis, updated_millis.saturating_sub(since_millis)] {
                put_varint(out, number);
            }
        }
    }

    /// Reads a pointer of a table that points into `files`.
    pub(crate) fn decode(pointer: &[u8], files: &[ValueShare]) -> Result<Self> {
        let Pointer { file: index, number, start, bytes, stamp } = Pointer::decode(pointer)?;
        let count = files.len();
        let share = usize::try_from(index).ok().and_then(|index| files.get(index)).ok_or_else(|| {
            Error::corruption(format!("a pointer into value file {index} of a table that has {count}"))
        })?;
        let (file, end) = (Arc::clone(&share.file), start.saturating_add(bytes));
        let records = file.meta().data_bytes;
        if end > records || number > start {
            return Err(Error::corruption(format!(
                "a pointer to record {number} at {start}..{end} of {}, which has {records} bytes of records",
                file.name()
            )));
        }
        Ok(Self { file, number: number as u32, range: start..end, stamp })
    }

    /// The value in the record of this place.
    ///
    /// # Errors
    /// `Corruption` if the record is another key's.
    pub(crate) fn value_in<'a>(&self, record: &'a Block, key: &[u8]) -> Result<&'a [u8]> {
        if let Some((EntryKind::Put, value)) = record.get(key, 0, false)? {
            return Ok(value);
        }
        let other = Error::corruption("expected the value of the key that points to it, got another one");
        Err(other.context(self.to_string()))
    }
}

/// What the bytes of a pointer say.
pub(crate) struct Pointer {
    /// The place of the value file among those of the table.
    pub(crate) file: u64,
    number: u64,
    start: u64,
    bytes: u64,
    pub(crate) stamp: Option<Stamp>,
}

impl Pointer {
    /// Reads one, wherever it leads.
    pub(crate) fn decode(pointer: &[u8]) -> Result<Self> {
        let mut input = Input::new("a pointer", pointer);
        let (file, number) = (input.varint()?, input.varint()?);
        let (start, bytes) = (input.varint()?, input.varint()?);
        let stamp = if input.offset() == pointer.len() { None } else { Some(stamp(&mut input)?) };
        let left = pointer.len() - input.offset();
        if left > 0 {
            return Err(Error::corruption(format!("a pointer with {left} bytes left over")));
        }
        Ok(Self { file, number, start, bytes, stamp })
    }
}

fn stamp(input: &mut Input<'_>) -> Result<Stamp> {
    let (class, updated_millis, chain) = (input.varint()?, input.varint()?, input.varint()?);
    let class = u16::try_from(class)
        .map_err(|_| Error::corruption(format!("a pointer's stamp is of class {class}")))?;
    Ok(Stamp { class, since_millis: updated_millis.saturating_sub(chain), updated_millis })
}

/// Object and offset, for an error.
impl std::fmt::Display for ValuePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at offset {}", self.file.name(), self.range.start)
    }
}
