//! Records on their way to a keyed operator: encoded once by the source, sliced ever after.
//!
//! A batch is one buffer with an entry a record. It crosses the channel whole, is shared by the records that run,
//! and a record kept as a checkpoint's input is copied out of it as it stands.
use alluvium_env::{Error, Result};

use crate::{Codec, KeyCodec, KeyGroup, MaxParallelism, key_hash};

/// Encoded records in arrival order.
#[derive(Debug, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    start: u32,
    key_end: u32,
    value_end: u32,
    group: KeyGroup,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// The [`key_hash`] of `key`.
    pub hash: u64,
    /// The key group of the key.
    pub group: KeyGroup,
    /// The key as its [`KeyCodec`] wrote it.
    pub key: &'a [u8],
    /// The value as its [`Codec`] wrote it.
    pub value: &'a [u8],
}

impl RecordBatch {
    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of keys and values.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The record at `index`, `None` past the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<RecordRef<'_>> {
        let entry = self.entries.get(index)?;
        let key = self.bytes.get(entry.start as usize..entry.key_end as usize)?;
        let value = self.bytes.get(entry.key_end as usize..entry.value_end as usize)?;
        Some(RecordRef { hash: entry.hash, group: entry.group, key, value })
    }
}

/// Builds a [`RecordBatch`].
#[derive(Debug)]
pub struct RecordBatchBuilder {
    max_parallelism: MaxParallelism,
    batch: RecordBatch,
}

impl RecordBatchBuilder {
    /// A builder for an operator with this many key groups.
    pub fn new(max_parallelism: MaxParallelism) -> Self {
        Self { max_parallelism, batch: RecordBatch::default() }
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If the batch would pass 4 GiB; flush long before.
    pub fn push<K: KeyCodec + ?Sized, V: Codec>(&mut self, key: &K, value: &V) {
        let start = self.batch.bytes.len();
        key.encode_key(&mut self.batch.bytes);
        let key_end = self.batch.bytes.len();
        value.encode(&mut self.batch.bytes);
        let hash = key_hash(self.batch.bytes.get(start..key_end).unwrap_or_default());
        self.entry(self.max_parallelism.key_group(hash), hash, start, key_end);
    }

    /// Adds a record whose key and value are encoded already.
    ///
    /// # Panics
    /// If the batch would pass 4 GiB; flush long before.
    pub fn push_encoded(&mut self, key: &[u8], value: &[u8]) {
        self.push_hashed(key_hash(key), key, value);
    }

    /// Adds an encoded record whose [`key_hash`] is known.
    ///
    /// # Panics
    /// If the batch would pass 4 GiB; flush long before.
    #[inline]
    pub fn push_hashed(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        self.push_in_group(self.max_parallelism.key_group(hash), hash, key, value);
    }

    /// Adds an encoded record whose key group is known as well.
    #[inline]
    pub(crate) fn push_in_group(&mut self, group: KeyGroup, hash: u64, key: &[u8], value: &[u8]) {
        let start = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(key);
        let key_end = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(value);
        self.entry(group, hash, start, key_end);
    }

    #[inline]
    fn entry(&mut self, group: KeyGroup, hash: u64, start: usize, key_end: usize) {
        let value_end = self.batch.bytes.len();
        assert!(u32::try_from(value_end).is_ok(), "a record batch passed 4 GiB");
        let (start, key_end, value_end) = (start as u32, key_end as u32, value_end as u32);
        self.batch.entries.push(Entry { hash, start, key_end, value_end, group });
    }

    /// How many records were added.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The bytes of keys and values so far.
    pub fn size_bytes(&self) -> usize {
        self.batch.size_bytes()
    }

    /// The batch; the builder starts the next one with the same capacity.
    pub fn finish(&mut self) -> RecordBatch {
        let next = RecordBatch {
            bytes: Vec::with_capacity(self.batch.bytes.len()),
            entries: Vec::with_capacity(self.batch.entries.len()),
        };
        std::mem::replace(&mut self.batch, next)
    }
}

impl RecordRef<'_> {
    /// Appends the record as `key_len:u32le · value_len:u32le · key · value`: how a checkpoint keeps an input.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        // Both lengths were u32 offsets of a batch.
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
    }

    /// Reads the next record that [`RecordRef::write_to`] wrote, as key and value; `None` at the end.
    ///
    /// # Errors
    /// `Corruption` if the bytes end within a record.
    pub fn read_from<'a>(rest: &mut &'a [u8]) -> Result<Option<(&'a [u8], &'a [u8])>> {
        if rest.is_empty() {
            return Ok(None);
        }
        let cut = || Error::corruption("a checkpoint's kept inputs end within a record");
        let (key_len, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (value_len, tail) = tail.split_first_chunk::<4>().ok_or_else(cut)?;
        let (key_len, value_len) =
            (u32::from_le_bytes(*key_len) as usize, u32::from_le_bytes(*value_len) as usize);
        let (key, tail) = tail.split_at_checked(key_len).ok_or_else(cut)?;
        let (value, tail) = tail.split_at_checked(value_len).ok_or_else(cut)?;
        *rest = tail;
        Ok(Some((key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        builder.push("a", &7_u64);
        builder.push_encoded(b"b\0\0", b"xy");
        let batch = builder.finish();
        assert!(builder.is_empty());
        let (a, b) = (batch.get(0).unwrap(), batch.get(1).unwrap());
        assert_eq!((a.key, a.value), (b"a\0\0".as_slice(), 7_u64.to_le_bytes().as_slice()));
        assert_eq!((b.key, b.value), (b"b\0\0".as_slice(), b"xy".as_slice()));
        assert_eq!(a.group, MaxParallelism::DEFAULT.key_group(key_hash(b"a\0\0")));
        assert!(batch.get(2).is_none());
    }

    #[test]
    fn inputs_round_trip_and_a_cut_is_corruption() {
        let mut builder = RecordBatchBuilder::new(MaxParallelism::DEFAULT);
        builder.push("a", &7_u64);
        let batch = builder.finish();
        let mut bytes = Vec::new();
        batch.get(0).unwrap().write_to(&mut bytes);
        let mut rest = bytes.as_slice();
        assert_eq!(RecordRef::read_from(&mut rest).unwrap().unwrap().0, b"a\0\0");
        assert!(RecordRef::read_from(&mut rest).unwrap().is_none());
        assert!(RecordRef::read_from(&mut bytes.get(..bytes.len() - 1).unwrap()).is_err());
    }
}
