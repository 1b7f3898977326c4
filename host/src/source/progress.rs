//! How far the input has been read: which splits are done, where the begun ones stand; and its form in a checkpoint.
//!
//! **Invariants**: what sources report between two checkpoints is folded in only up to each one's barrier, so
//! the progress is that of one cut through all of them. `docs/formats/source.md` is normative for the encoding.
use std::ops::Range;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::SplitSource;
use super::ranges::SplitRanges;

/// The first byte of the encoding.
const VERSION: u8 = 1;

/// What one source thread says at a barrier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The splits it has finished since it last said so.
    pub(crate) finished: Vec<u64>,
    /// The split it is reading, and the position after what it has emitted.
    pub(crate) reading: Option<(u64, u64)>,
}

/// The progress of the whole input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceProgress {
    fingerprint: String,
    splits: u64,
    done: SplitRanges,
    /// Split and position, ascending by split; none of them done.
    begun: Vec<(u64, u64)>,
}

impl SourceProgress {
    /// Nothing has been read yet.
    pub(crate) fn start(source: &impl SplitSource) -> Self {
        Self {
            fingerprint: source.fingerprint(),
            splits: source.splits(),
            done: SplitRanges::default(),
            begun: Vec::new(),
        }
    }

    /// What a checkpoint says of this source's input.
    ///
    /// # Errors
    /// `Invalid` if it was another input, `Corruption` if the bytes are not a progress.
    pub(crate) fn restore(source: &impl SplitSource, bytes: &[u8]) -> Result<Self> {
        let restored = Self::decode(bytes)?;
        let now = Self::start(source);
        let (was, is) = (&restored.fingerprint, &now.fingerprint);
        if was != is {
            return Err(Error::invalid(format!(
                "the checkpoint has read another input ({was}) than the one given now ({is}); give the same input, \
                 or start without restoring"
            )));
        }
        if restored.splits != now.splits {
            return Err(Error::invalid(format!(
                "the checkpoint's input {was} had {} splits and has {} now; give the same input, or start without \
                 restoring",
                restored.splits, now.splits
            )));
        }
        Ok(restored)
    }

    pub(crate) fn splits(&self) -> u64 {
        self.splits
    }

    pub(crate) fn done(&self) -> &SplitRanges {
        &self.done
    }

    pub(crate) fn begun(&self) -> impl Iterator<Item = (u64, u64)> {
        self.begun.iter().copied()
    }

    /// Folds in what a source says at a barrier.
    pub(crate) fn update(&mut self, standing: Standing) {
        for split in standing.finished {
            self.done.insert(split..split + 1);
            if let Ok(index) = self.find(split) {
                self.begun.remove(index);
            }
        }
        if let Some((split, position)) = standing.reading {
            match self.find(split) {
                Ok(index) => {
                    self.begun.splice(index..=index, [(split, position)]);
                }
                Err(index) => self.begun.insert(index, (split, position)),
            }
        }
    }

    fn find(&self, split: u64) -> Result<usize, usize> {
        self.begun.binary_search_by_key(&split, |(split, _)| *split)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        put(&mut out, self.fingerprint.len() as u64);
        out.extend_from_slice(self.fingerprint.as_bytes());
        put(&mut out, self.splits);
        put(&mut out, self.done.iter().len() as u64);
        for range in self.done.iter() {
            put(&mut out, range.start);
            put(&mut out, range.end);
        }
        put(&mut out, self.begun.len() as u64);
        for (split, position) in &self.begun {
            put(&mut out, *split);
            put(&mut out, *position);
        }
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((version, mut rest)) = bytes.split_first() else { return Err(malformed("is empty")) };
        if *version != VERSION {
            return Err(Error::invalid(format!(
                "the checkpoint's source progress has format {version}; this build reads {VERSION}, use a newer one"
            )));
        }
        let rest = &mut rest;
        let length = usize::try_from(take(rest)?).map_err(|_| malformed("has an impossible length"))?;
        let (text, tail) = rest.split_at_checked(length).ok_or_else(|| malformed("ends too early"))?;
        *rest = tail;
        let fingerprint =
            String::from_utf8(text.to_vec()).map_err(|_| malformed("has no text as fingerprint"))?;
        let splits = take(rest)?;
        let (mut done, mut end) = (SplitRanges::default(), None);
        for _ in 0..take(rest)? {
            let range = take_range(rest)?;
            if range.is_empty() || range.end > splits || end.is_some_and(|end| range.start <= end) {
                return Err(malformed("has splits out of order"));
            }
            end = Some(range.end);
            done.insert(range);
        }
        let mut begun: Vec<(u64, u64)> = Vec::new();
        for _ in 0..take(rest)? {
            let Range { start: split, end: position } = take_range(rest)?;
            if split >= splits || done.contains(split) || begun.last().is_some_and(|(last, _)| *last >= split)
            {
                return Err(malformed("has splits out of order"));
            }
            begun.push((split, position));
        }
        if rest.is_empty() {
            Ok(Self { fingerprint, splits, done, begun })
        } else {
            Err(malformed("is too long"))
        }
    }
}

fn malformed(how: &str) -> Error {
    Error::corruption(format!("the checkpoint's source progress {how}; restore an older checkpoint"))
}

fn put(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn take(rest: &mut &[u8]) -> Result<u64> {
    let (head, tail) = rest.split_first_chunk().ok_or_else(|| malformed("ends too early"))?;
    *rest = tail;
    Ok(u64::from_le_bytes(*head))
}

fn take_range(rest: &mut &[u8]) -> Result<Range<u64>> {
    Ok(take(rest)?..take(rest)?)
}

#[cfg(test)]
mod tests {
    use alluvium_env::{Entropy, ErrorKind};

    use super::super::{SplitQueue, SplitReader};
    use super::*;

    struct Input(&'static str, u64);

    impl SplitSource for Input {
        fn splits(&self) -> u64 {
            self.1
        }
        fn fingerprint(&self) -> String {
            self.0.to_owned()
        }
        fn open(&self, split: u64, _: u64) -> Result<Box<dyn SplitReader>> {
            Err(Error::internal(format!("nobody opens {split}")))
        }
    }

    fn example() -> SourceProgress {
        let mut progress = SourceProgress::start(&Input("a.txt", 9));
        progress.update(Standing { finished: vec![0, 1, 4], reading: Some((5, 4096)) });
        progress.update(Standing { finished: vec![2], reading: Some((3, 7)) });
        progress
    }

    #[test]
    fn the_format_page_shows_these_very_bytes() {
        let page = include_str!("../../../docs/formats/source.md");
        let block = page.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let digits = block.lines().flat_map(|line| line.split('#').next().unwrap_or("").split_whitespace());
        let bytes: Vec<u8> = digits.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        assert_eq!(SourceProgress::decode(&bytes).unwrap(), example());
        assert_eq!(example().encode(), bytes);
    }

    #[test]
    fn a_cut_or_changed_encoding_is_refused_and_never_panics() {
        let bytes = example().encode();
        for cut in 0..bytes.len() {
            assert!(SourceProgress::decode(&bytes[..cut]).is_err());
        }
        let entropy = Entropy::from_seed(11);
        for _ in 0..2_000 {
            let mut changed = bytes.to_vec();
            let at = entropy.next_u64() as usize % changed.len();
            changed[at] ^= 1 << (entropy.next_u64() % 8);
            if let Ok(decoded) = SourceProgress::decode(&changed) {
                assert_eq!(decoded.encode(), changed);
            }
        }
    }

    #[test]
    fn another_input_is_refused_and_both_are_named() {
        let bytes = example().encode();
        assert_eq!(SourceProgress::restore(&Input("a.txt", 9), &bytes).unwrap(), example());
        let other = SourceProgress::restore(&Input("b.txt", 9), &bytes).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Invalid);
        assert!(other.to_string().contains("a.txt") && other.to_string().contains("b.txt"), "{other}");
        let longer = SourceProgress::restore(&Input("a.txt", 10), &bytes).unwrap_err();
        assert!(longer.to_string().contains("9 splits and has 10 now"), "{longer}");
    }

    #[test]
    fn the_queue_gives_begun_splits_first_and_skips_what_is_done() {
        let queue = SplitQueue::new(&example());
        let claims: Vec<_> = std::iter::from_fn(|| queue.claim()).collect();
        assert_eq!(claims, [(3, 7), (5, 4096), (6, 0), (7, 0), (8, 0)]);
        assert_eq!(queue.claim(), None);
    }

    #[test]
    fn a_begun_split_keeps_its_position_until_somebody_goes_on_with_it() {
        let mut progress = example();
        progress.update(Standing { finished: vec![], reading: Some((6, 1)) });
        assert_eq!(progress.begun().collect::<Vec<_>>(), [(3, 7), (5, 4096), (6, 1)]);
        progress.update(Standing { finished: vec![3, 6], reading: Some((5, 5000)) });
        assert_eq!(progress.begun().collect::<Vec<_>>(), [(5, 5000)]);
    }
}
