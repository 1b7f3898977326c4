//! The search of an index: from a key to the few separators that it may lie between, in two or three loads.
//!
//! What all separators begin with says nothing, and of keys with a state's number in them nor does a part in the middle. The
//! eight bytes that do differ, the *head*, are kept as numbers side by side, and a directory over their span says between
//! which of them a head lies: of keys that are spread evenly, as hashed ones are, between two or three; of others the
//! rest is a binary search.
use super::index::Separators;

/// Eight bytes of a key from `start` on as a number that orders as they do; missing ones are zero.
#[inline]
pub(crate) fn head(key: &[u8], start: usize) -> u64 {
    let rest = key.get(start..).unwrap_or_default();
    if let Some(whole) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*whole);
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

/// Which bytes of a key are its head: some from where separators first differ, the rest from where they do again.
#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    /// Bytes that all separators but the empty first one begin with.
    common: usize,
    /// Bytes of the head before the gap, 1 to 8.
    before_gap: usize,
    /// Where the head goes on.
    behind_gap: usize,
}

/// So many bytes behind what is common are looked at for a gap.
const GAP_WITHIN: usize = 16;

impl Shape {
    /// The shape for separators of which the first and the last are given and the others looked through.
    fn of(separators: &Separators, blocks: usize) -> Self {
        let (first, last) = (separators.get(1), separators.get(blocks.saturating_sub(1)));
        // They ascend, so what the first and the last one share, all of them do.
        let common = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let bytes = |separator: &[u8]| {
            (u128::from(head(separator, common)) << 64) | u128::from(head(separator, common + 8))
        };
        let of_first = bytes(first);
        let differing = (2..blocks).fold(0, |bits, block| bits | (of_first ^ bytes(separators.get(block))));
        let differing = differing.to_be_bytes();
        let before_gap = differing.iter().take_while(|bits| **bits != 0).count();
        let gap = differing.iter().skip(before_gap).take_while(|bits| **bits == 0).count();
        if before_gap == 0 || before_gap >= 8 || before_gap + gap == GAP_WITHIN {
            return Self { common, before_gap: 8, behind_gap: common + 8 };
        }
        Self { common, before_gap, behind_gap: common + before_gap + gap }
    }

    #[inline]
    fn head(self, key: &[u8]) -> u64 {
        let start = head(key, self.common);
        if self.before_gap >= 8 {
            return start;
        }
        let bits = self.before_gap * 8;
        (start & !(u64::MAX >> bits)) | (head(key, self.behind_gap) >> bits)
    }

    /// Whether a key has, before the head and in its gap, what all separators have there: else its head says nothing.
    #[inline]
    fn fits(self, key: &[u8], separator: &[u8]) -> bool {
        let gap = self.common + self.before_gap.min(8)..self.behind_gap;
        key.get(..self.common) == separator.get(..self.common)
            && gap.clone().all(|at| key.get(at).unwrap_or(&0) == separator.get(at).unwrap_or(&0))
    }
}

/// Heads and the directory over them.
#[derive(Clone, Debug, Default)]
pub(super) struct Search {
    shape: Shape,
    /// Of separator 1 and on.
    heads: Vec<u64>,
    /// Heads are sorted into as many classes of equal span as there are heads, nearly; how many are below each class.
    below: Vec<u32>,
    shift: u32,
}

impl Search {
    pub(super) fn of(separators: &Separators, blocks: usize) -> Self {
        let shape = Shape::of(separators, blocks);
        let heads: Vec<u64> = (1..blocks).map(|block| shape.head(separators.get(block))).collect();
        let span = heads.first().zip(heads.last()).map_or(0, |(first, last)| last.saturating_sub(*first));
        let mut shift = 0;
        while (span >> shift) as usize >= heads.len().max(1) {
            shift += 1;
        }
        let mut search = Self { shape, heads, below: Vec::new(), shift };
        let classes = (span >> shift) as usize + 1;
        let mut below = Vec::with_capacity(classes + 1);
        for (number, head) in search.heads.iter().enumerate() {
            let class = search.class_of(*head).unwrap_or(0);
            below.resize(below.len().max(class + 1), number as u32);
        }
        below.push(search.heads.len() as u32);
        search.below = below;
        search
    }

    /// The class of a head; `None` below all of them.
    #[inline]
    fn class_of(&self, head: u64) -> Option<usize> {
        Some((head.checked_sub(*self.heads.first()?)? >> self.shift) as usize)
    }

    /// Between how many of the heads a head lies: from the first number to the second are in its class.
    #[inline]
    fn class(&self, head: u64) -> (usize, usize) {
        let Some(class) = self.class_of(head) else { return (0, 0) };
        let all = self.heads.len();
        let at = |class: usize| self.below.get(class).map_or(all, |below| *below as usize);
        (at(class), at(class.saturating_add(1)))
    }

    /// The separators among which the one sought lies, as a range of block numbers with the one before: the last of them that
    /// is not above the key. `None` if heads do not tell.
    #[inline]
    pub(super) fn among(&self, key: &[u8], separator: &[u8]) -> Option<(usize, usize)> {
        if !self.shape.fits(key, separator) {
            return None;
        }
        let wanted = self.shape.head(key);
        let (low, high) = self.class(wanted);
        let class = self.heads.get(low..high).unwrap_or_default();
        let low = low + class.partition_point(|head| *head < wanted);
        // Heads that are equal say nothing of the bytes behind them.
        let same = self.heads.iter().skip(low).take_while(|head| **head == wanted).count();
        Some((low, low + same + 1))
    }

    /// Begins a search that goes one step at a time, for many at once.
    pub(super) fn begin(&self, key: &[u8]) -> IndexSearch<'_> {
        IndexSearch { search: self, wanted: self.shape.head(key), low: 0, left: None }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.heads.capacity() * 8 + self.below.capacity() * 4
    }
}

/// A search under way: near enough to say which block will be looked at.
pub(crate) struct IndexSearch<'a> {
    search: &'a Search,
    wanted: u64,
    low: usize,
    /// Heads that are left to choose from; `None` before the directory was asked.
    left: Option<usize>,
}

impl IndexSearch<'_> {
    /// Goes on by one load; `false` if there is none left.
    #[inline]
    pub(crate) fn step(&mut self) -> bool {
        match self.left {
            None => {
                let (low, high) = self.search.class(self.wanted);
                self.low = low;
                self.left = Some(high - low);
            }
            Some(0) => return false,
            Some(left) => {
                let half = left / 2;
                let below = self.search.heads.get(self.low + half).is_some_and(|head| *head < self.wanted);
                self.low += if below { half + 1 } else { 0 };
                self.left = Some(if below { left - half - 1 } else { half });
            }
        }
        true
    }

    /// The block it has come to.
    pub(crate) fn block(&self) -> usize {
        self.low
    }
}
