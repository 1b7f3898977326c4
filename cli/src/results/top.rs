//! The `k` most frequent words, in memory for `k` words.
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keeps the most frequent words offered; among equals the first in byte order.
#[derive(Debug)]
pub(super) struct TopWords {
    k: usize,
    /// The least frequent on top.
    heap: BinaryHeap<Reverse<(u64, Reverse<Vec<u8>>)>>,
}

impl TopWords {
    pub(super) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, word: &[u8], count: u64) {
        if self.heap.len() < self.k {
            self.heap.push(Reverse((count, Reverse(word.to_vec()))));
        } else if let Some(mut least) = self.heap.peek_mut() {
            let Reverse((least_count, Reverse(least_word))) = &mut *least;
            if count > *least_count || (count == *least_count && word < least_word.as_slice()) {
                *least_count = count;
                least_word.clear();
                least_word.extend_from_slice(word);
            }
        }
    }

    /// Most frequent first.
    pub(super) fn into_sorted(self) -> Vec<(String, u64)> {
        let sorted = self.heap.into_sorted_vec();
        sorted
            .into_iter()
            .map(|Reverse((count, Reverse(word)))| (String::from_utf8_lossy(&word).into_owned(), count))
            .collect()
    }
}
