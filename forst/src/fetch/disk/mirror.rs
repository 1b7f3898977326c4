//! What is known of one mirror: which parts of its table are there, which were asked for lately.
//!
//! Parts are the table's data blocks by number, and behind the last one the tail, in which the index blocks lie.
use std::ops::Range;
use std::sync::Arc;

use super::bits::Bits;
use crate::table::TableFile;

/// A sparse copy of a table.
#[derive(Debug)]
pub(super) struct Mirror {
    /// Names its file.
    pub(super) number: u64,
    /// Of which bytes it is a copy.
    pub(super) content_hash: u64,
    /// What its file takes, as the file system counts.
    pub(super) disk_bytes: u64,
    /// `None`: left by an earlier process and not looked at yet.
    parts: Option<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// Where the blocks begin and the last one ends.
    offsets: Arc<[u32]>,
    tail_end: u64,
    present: Bits,
    used: Bits,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Parts {
    fn new(offsets: &Arc<[u32]>, size_bytes: u64) -> Self {
        let count = offsets.len().max(1);
        Self {
            offsets: Arc::clone(offsets),
            tail_end: size_bytes,
            present: Bits::new(count),
            used: Bits::new(count),
            hand: 0,
        }
    }

    fn blocks(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    fn range(&self, part: usize) -> Range<u64> {
        let offset = |part: usize| self.offsets.get(part).copied().map(u64::from);
        let data_bytes = || offset(self.blocks()).unwrap_or(0);
        match (offset(part), offset(part + 1)) {
            (Some(start), Some(end)) => start..end,
            _ => data_bytes()..self.tail_end,
        }
    }

    /// The part that a block lies in: its own, or the tail for an index block.
    fn part_of(&self, block: usize) -> usize {
        block.min(self.blocks())
    }
}

impl Mirror {
    /// A mirror that has nothing yet.
    pub(super) fn new(number: u64, file: &TableFile, offsets: &Arc<[u32]>) -> Self {
        let parts = Some(Parts::new(offsets, file.meta.size_bytes));
        Self { number, content_hash: file.meta.content_hash, disk_bytes: 0, parts }
    }

    /// A mirror that was found.
    pub(super) fn found(number: u64, content_hash: u64, disk_bytes: u64) -> Self {
        Self { number, content_hash, disk_bytes, parts: None }
    }

    pub(super) fn is_known(&self) -> bool {
        self.parts.is_some()
    }

    /// Says which parts a found mirror may have: those that lie in what the file system holds. Whether they are whole
    /// is checked when they are read.
    pub(super) fn learn(&mut self, file: &TableFile, offsets: &Arc<[u32]>, held: &[Range<u64>]) {
        let mut parts = Parts::new(offsets, file.meta.size_bytes);
        let mut held = held.iter().peekable();
        for part in 0..=parts.blocks() {
            let range = parts.range(part);
            while held.next_if(|extent| extent.end < range.end).is_some() {}
            if held.peek().is_some_and(|extent| extent.start <= range.start) {
                parts.present.set(part);
            }
        }
        self.parts = Some(parts);
    }

    /// Whether a block is there. Asking for it to read it counts as use.
    pub(super) fn has(&mut self, block: usize, to_use: bool) -> bool {
        let Some(parts) = &mut self.parts else { return false };
        let part = parts.part_of(block);
        let present = parts.present.get(part);
        if present && to_use {
            parts.used.set(part);
        }
        present
    }

    pub(super) fn may_have_tail(&self) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.present.get(parts.blocks()))
    }

    pub(super) fn add(&mut self, part: usize) {
        if let Some(parts) = &mut self.parts {
            parts.present.set(part);
        }
    }

    /// Adds all parts that end at or before `end`.
    pub(super) fn add_until(&mut self, end: u64) {
        if let Some(parts) = &mut self.parts {
            for part in 0..=parts.blocks() {
                if parts.range(part).end > end {
                    break;
                }
                parts.present.set(part);
            }
        }
    }

    /// Forgets a block that was not what it should be, with the part that it lies in.
    pub(super) fn doubt(&mut self, block: usize) {
        if let Some(parts) = &mut self.parts {
            let part = parts.part_of(block);
            parts.present.take(part);
        }
    }

    /// Bytes of blocks that are there.
    pub(super) fn present_bytes(&self) -> u64 {
        let Some(parts) = &self.parts else { return 0 };
        let present = (0..parts.blocks()).filter(|part| parts.present.get(*part));
        present.map(|part| parts.range(part)).map(|range| range.end - range.start).sum()
    }

    /// Sweeps on over the blocks: one that was used since the last sweep stays this time, any other goes, until
    /// `enough` bytes went or the table ends.
    pub(super) fn sweep(&mut self, enough: u64) -> Swept {
        let Some(parts) = &mut self.parts else { return Swept::Everything };
        let last_kept = (0..parts.hand).rev().find(|part| parts.present.get(*part));
        let kept_end = last_kept.map_or(0, |part| parts.range(part).end);
        let mut swept = Sweep { kept_end, ..Sweep::default() };
        while parts.hand < parts.blocks() && swept.bytes < enough {
            let part = parts.hand;
            parts.hand += 1;
            if parts.present.get(part) {
                let range = parts.range(part);
                if parts.used.take(part) {
                    swept.keep(&range);
                } else {
                    parts.present.take(part);
                    swept.drop(&range);
                }
            }
        }
        let next = (parts.hand..=parts.blocks()).find(|part| parts.present.get(*part));
        let ended = parts.hand == parts.blocks();
        if ended {
            parts.hand = 0;
            // A tail alone answers nothing.
            if (0..parts.blocks()).all(|part| !parts.present.get(part)) {
                return Swept::Everything;
            }
        }
        let before = next.map_or(parts.tail_end, |part| parts.range(part).start);
        Swept::Holes { holes: swept.end(before), ended }
    }
}

/// What a sweep took.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swept {
    /// Nothing is left.
    Everything,
    /// These bytes of the table can go, and whether the table's end was reached.
    Holes { holes: Vec<Range<u64>>, ended: bool },
}

/// Holes reach to the neighbours that stay: a file system frees only whole pages.
#[derive(Default)]
struct Sweep {
    holes: Vec<Range<u64>>,
    /// Where the last block that stays ends.
    kept_end: u64,
    /// A hole that is still growing.
    open: bool,
    bytes: u64,
}

impl Sweep {
    fn keep(&mut self, range: &Range<u64>) {
        if self.open
            && let Some(hole) = self.holes.last_mut()
        {
            hole.end = range.start;
        }
        self.open = false;
        self.kept_end = range.end;
    }

    fn drop(&mut self, range: &Range<u64>) {
        self.bytes += range.end - range.start;
        if !self.open {
            self.holes.push(self.kept_end..range.end);
            self.open = true;
        }
    }

    fn end(mut self, before: u64) -> Vec<Range<u64>> {
        self.keep(&(before..before));
        self.holes
    }
}
