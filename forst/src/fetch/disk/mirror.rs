//! What is known of one mirror: which parts of its table are there, which were asked for lately.
//!
//! Parts are the table's blocks by number, and the tail behind the last one.
use std::ops::Range;
use std::sync::Arc;

use super::bits::Bits;
use crate::table::{TableFile, TableTail};

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
    tail: Arc<TableTail>,
    tail_end: u64,
    present: Bits,
    used: Bits,
    /// Where the next sweep goes on.
    hand: usize,
}

impl Parts {
    fn new(tail: &Arc<TableTail>, size_bytes: u64) -> Self {
        let count = tail.index.blocks() + 1;
        Self {
            tail: Arc::clone(tail),
            tail_end: size_bytes,
            present: Bits::new(count),
            used: Bits::new(count),
            hand: 0,
        }
    }

    fn blocks(&self) -> usize {
        self.tail.index.blocks()
    }

    fn range(&self, part: usize) -> Range<u64> {
        self.tail.index.range(part).unwrap_or(self.tail.index.data_bytes()..self.tail_end)
    }
}

impl Mirror {
    /// A mirror that has nothing yet.
    pub(super) fn new(number: u64, file: &TableFile, tail: &Arc<TableTail>) -> Self {
        let parts = Some(Parts::new(tail, file.meta.size_bytes));
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
    pub(super) fn learn(&mut self, file: &TableFile, tail: &Arc<TableTail>, held: &[Range<u64>]) {
        let mut parts = Parts::new(tail, file.meta.size_bytes);
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

    /// Whether a part is there. Asking for it to read it counts as use.
    pub(super) fn has(&mut self, part: usize, to_use: bool) -> bool {
        let Some(parts) = &mut self.parts else { return false };
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

    /// Forgets a part that was not what it should be.
    pub(super) fn doubt(&mut self, part: usize) {
        if let Some(parts) = &mut self.parts {
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
