//! Builds a block's content.
use super::{RESTART_INTERVAL, common};
use crate::coding::put_varint;
use crate::entry::EntryKind;

/// What an entry has beside its key and value, at most: three lengths and a restart point.
const MOST_BESIDE_BYTES: usize = 3 * 5 + 4;
/// What a shared slice has before its content. With it a full block is as large as what allocators hand out; a byte more and it
/// would take a quarter more memory (jemalloc: 4096, 5120, 6144).
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

/// Collects the entries of one block; reusable.
#[derive(Debug, Default)]
pub(crate) struct BlockBuilder {
    content: Vec<u8>,
    restarts: Vec<u32>,
    restart_key: Vec<u8>,
    last_key: Vec<u8>,
    entries: usize,
    since_restart: usize,
}

impl BlockBuilder {
    /// Appends an entry; keys come in strictly ascending order.
    pub(crate) fn add(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) {
        debug_assert!(self.entries == 0 || self.last_key.as_slice() < key, "block keys must ascend");
        let full = self.since_restart == RESTART_INTERVAL;
        let shared = if full { 0 } else { common(&self.restart_key, key) };
        if shared == 0 {
            self.restarts.push(self.content.len() as u32);
            self.restart_key.clear();
            self.restart_key.extend_from_slice(key);
            self.since_restart = 0;
        }
        self.since_restart += 1;
        let suffix = key.get(shared..).unwrap_or_default();
        put_varint(&mut self.content, shared as u64);
        put_varint(&mut self.content, suffix.len() as u64);
        put_varint(&mut self.content, (value.len() as u64) << 2 | kind as u64);
        self.content.extend_from_slice(suffix);
        self.content.extend_from_slice(value);
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.entries += 1;
    }

    /// Whether another entry would make of it more than so many bytes in memory. An empty block has room for any entry.
    pub(crate) fn is_full(&self, block_size_bytes: usize, key: &[u8], value: &[u8]) -> bool {
        let with_it = self.size_bytes() + MOST_BESIDE_BYTES + key.len() + value.len();
        self.entries > 0 && with_it + COUNTS_BYTES > block_size_bytes
    }

    /// Bytes the content has now.
    pub(crate) fn size_bytes(&self) -> usize {
        self.content.len() + self.restarts.len() * 4 + 4
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// The finished content; call [`BlockBuilder::reset`] before the next block.
    pub(crate) fn finish(&mut self) -> &[u8] {
        for restart in &self.restarts {
            self.content.extend_from_slice(&restart.to_le_bytes());
        }
        self.content.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        &self.content
    }

    /// Forgets the block but keeps its buffers.
    pub(crate) fn reset(&mut self) {
        self.content.clear();
        self.restarts.clear();
        self.restart_key.clear();
        self.last_key.clear();
        self.entries = 0;
        self.since_restart = 0;
    }
}
