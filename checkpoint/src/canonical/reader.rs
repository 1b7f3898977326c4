//! Reads entries from files, one part ahead.
//!
//! **Threads**: whoever calls waits; parts are requested on the I/O runtime.
use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_state_api::{
    FileRef, KeyGroupRange, RestoredPart, StateEntries, StoredEntry, StoredStates, state_key,
};
use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};

use super::block::{Block, CHECKSUM_BYTES, HEAD_BYTES, HEADER_BYTES, Opened, check_header};
use super::payload::{EntriesFile, Payload};
use crate::objects::Objects;

/// What is asked for at a time.
const PART_BYTES: u64 = 4 << 20;

/// A pass over a part of a canonical savepoint.
pub struct CanonicalEntries {
    states: StoredStates,
    key_groups: KeyGroupRange,
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    files: VecDeque<EntriesFile>,
    reading: Option<Reading>,
}

impl CanonicalEntries {
    /// Starts a pass over the part's key groups; only the files that have some are read.
    ///
    /// # Errors
    /// `Invalid` if a backend wrote the part, or a newer version; `Corruption` if it is damaged.
    pub fn open(part: &RestoredPart, store: Arc<dyn ObjectStore>, io: IoRuntime) -> Result<Self> {
        let Payload { states, files } = Payload::of(part)?;
        let key_groups = part.key_groups;
        let wanted = files.into_iter().filter(|file| file.key_groups.intersect(key_groups).is_some());
        Ok(Self { states, key_groups, store, io, files: wanted.collect(), reading: None })
    }
}

impl StateEntries for CanonicalEntries {
    fn states(&self) -> &StoredStates {
        &self.states
    }

    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
        loop {
            if self.reading.is_none() {
                let Some(file) = self.files.pop_front() else { return Ok(None) };
                self.reading =
                    Some(Reading::begin((file.file, Some(file.entries)), (&self.store, &self.io))?);
            }
            let Some(reading) = &mut self.reading else { return Ok(None) };
            match reading.advance(self.key_groups, (&self.store, &self.io))? {
                Advanced::Entry => break,
                Advanced::End => self.reading = None,
            }
        }
        Ok(self.reading.as_ref().map(|reading| StoredEntry { key: &reading.key, values: &reading.values }))
    }
}

enum Advanced {
    Entry,
    End,
}

/// The part after the one that is being taken apart.
type Ahead = BoxFuture<'static, Result<object_store::Result<Bytes>>>;

/// A file that is being read.
struct Reading {
    file: FileRef,
    /// Its entries, as its payload has them.
    expected: Option<u64>,
    /// What was read and not taken apart.
    buffer: BytesMut,
    /// Where that begins.
    offset: u64,
    /// Where the part after it begins.
    next: u64,
    ahead: Option<Ahead>,
    block: Block,
    entries: u64,
    key: Vec<u8>,
    values: Vec<u8>,
}

impl Reading {
    fn begin(
        (file, expected): (FileRef, Option<u64>),
        place: (&Arc<dyn ObjectStore>, &IoRuntime),
    ) -> Result<Self> {
        let mut reading = Self {
            file,
            expected,
            buffer: BytesMut::new(),
            offset: 0,
            next: 0,
            ahead: None,
            block: Block::default(),
            entries: 0,
            key: Vec::new(),
            values: Vec::new(),
        };
        let header = reading.take(HEADER_BYTES as u64, place)?;
        check_header(&header).map_err(|error| error.context(reading.file.name.clone()))?;
        Ok(reading)
    }

    /// Goes to the next entry of the key groups.
    fn advance(
        &mut self,
        wanted: KeyGroupRange,
        place: (&Arc<dyn ObjectStore>, &IoRuntime),
    ) -> Result<Advanced> {
        loop {
            let at = self.offset;
            while let Some((key, values)) =
                self.block.next_entry().map_err(|error| named(&self.file, error, at))?
            {
                self.entries += 1;
                let group = state_key::split(key)?.0;
                if group.0 >= wanted.end {
                    return Ok(Advanced::End);
                }
                if wanted.contains(group) {
                    self.key.clear();
                    self.key.extend_from_slice(key);
                    self.values.clear();
                    self.values.extend_from_slice(values);
                    return Ok(Advanced::Entry);
                }
            }
            self.fill(HEAD_BYTES as u64, place)?;
            let whole = Block::whole_bytes(&self.buffer).unwrap_or((HEAD_BYTES + CHECKSUM_BYTES) as u64);
            let bytes = self.take(whole, place)?;
            match Block::open(&bytes).map_err(|error| named(&self.file, error, at))? {
                Opened::Block(block) => self.block = block,
                Opened::End(entries)
                    if entries == self.entries && self.expected.is_none_or(|n| n == entries) =>
                {
                    return Ok(Advanced::End);
                }
                Opened::End(entries) => {
                    let (expected, found) = (self.expected.unwrap_or(entries), self.entries);
                    let text =
                        format!("expected {expected} entries, and {entries} by its own count, got {found}");
                    return Err(self.named(Error::corruption(text), at));
                }
            }
        }
    }

    fn take(&mut self, bytes: u64, place: (&Arc<dyn ObjectStore>, &IoRuntime)) -> Result<Bytes> {
        self.fill(bytes, place)?;
        self.offset += bytes;
        Ok(self.buffer.split_to(usize::try_from(bytes).unwrap_or(usize::MAX)).freeze())
    }

    /// Reads until the buffer has so many bytes.
    fn fill(&mut self, bytes: u64, (store, io): (&Arc<dyn ObjectStore>, &IoRuntime)) -> Result<()> {
        let size_bytes = self.file.size_bytes;
        if self.offset.saturating_add(bytes) > size_bytes {
            let text = format!("expected {bytes} more bytes, got the end of {size_bytes}");
            return Err(self.named(Error::corruption(text), self.offset));
        }
        while (self.buffer.len() as u64) < bytes {
            let ahead = match self.ahead.take() {
                Some(ahead) => ahead,
                None => self.request(store, io),
            };
            let part = io.block_on(ahead)?.map_err(|cause| self.failed((store, io), &cause))?;
            if part.is_empty() {
                return Err(self.named(Error::corruption("expected more bytes, got none"), self.offset));
            }
            self.buffer.extend_from_slice(&part);
            if self.next < size_bytes {
                self.ahead = Some(self.request(store, io));
            }
        }
        Ok(())
    }

    fn request(&mut self, store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Ahead {
        let range = self.next..(self.next + PART_BYTES).min(self.file.size_bytes);
        self.next = range.end;
        let (store, path) = (Arc::clone(store), Path::from(self.file.name.as_str()));
        let part = io.spawn(async move { store.get_range(&path, range).await });
        part.map_err(|e| Error::internal("a read of a savepoint did not end").with_source(e)).boxed()
    }

    fn named(&self, error: Error, offset: u64) -> Error {
        named(&self.file, error, offset)
    }

    #[cold]
    fn failed(&self, (store, io): (&Arc<dyn ObjectStore>, &IoRuntime), cause: &StoreError) -> Error {
        let name = &self.file.name;
        // A file that is too short is an error of another kind with each store.
        if let Ok(meta) = io.block_on(store.head(&Path::from(name.as_str())))
            && meta.size != self.file.size_bytes
        {
            let text = format!("expected a file of {} bytes, got {}", self.file.size_bytes, meta.size);
            return self.named(Error::corruption(text), meta.size);
        }
        if matches!(cause, StoreError::NotFound { .. }) {
            return Error::corruption(format!(
                "{name} is missing in {store} and its savepoint needs it: restore another, or the object from a copy"
            ));
        }
        Objects::new(Arc::clone(store)).error(&format!("read {name}"), cause)
    }
}

/// An error of a file.
fn named(file: &FileRef, error: Error, offset: u64) -> Error {
    error.context(format!("{} at offset {offset}", file.name))
}

/// Reads a file of entries to its end and checks every byte; returns how many there are.
///
/// # Errors
/// `Corruption` for the first that is wrong, with its offset; `Unavailable` from the store.
pub fn verify_entries(store: &Arc<dyn ObjectStore>, io: &IoRuntime, file: FileRef) -> Result<u64> {
    let mut reading = Reading::begin((file, None), (store, io))?;
    while let Advanced::Entry = reading.advance(KeyGroupRange::ALL, (store, io))? {}
    Ok(reading.entries)
}
