//! Coalescing: which blocks travel in one ranged read.
use std::ops::Range;

/// A block and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) block: u32,
    pub(crate) range: Range<u64>,
}

/// Blocks that travel together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(super) span: Range<u64>,
    pub(super) wanted: Vec<Wanted>,
}

impl Group {
    /// A block's bytes within those of the span; nothing if they are not there.
    pub(super) fn bytes_of<'a>(&self, wanted: &Wanted, span: &'a [u8]) -> &'a [u8] {
        let from = wanted.range.start.saturating_sub(self.span.start) as usize;
        let to = wanted.range.end.saturating_sub(self.span.start) as usize;
        span.get(from..to).unwrap_or_default()
    }
}

/// A request never grows over this: beyond it, bytes cost more than requests.
const MAX_SPAN_BYTES: u64 = 4 << 20;

/// Groups blocks, ascending by offset, whose gaps are at most `gap`.
pub(crate) fn coalesce(wanted: Vec<Wanted>, gap: u64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for wanted in wanted {
        match groups.last_mut() {
            Some(group)
                if wanted.range.start <= group.span.end.saturating_add(gap)
                    && wanted.range.end.saturating_sub(group.span.start) <= MAX_SPAN_BYTES =>
            {
                group.span.end = group.span.end.max(wanted.range.end);
                group.wanted.push(wanted);
            }
            _ => groups.push(Group { span: wanted.range.clone(), wanted: vec![wanted] }),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(offsets: &[u64], gap: u64) -> Vec<Range<u64>> {
        let wanted = offsets.iter().map(|o| Wanted { block: *o as u32, range: *o..*o + 10 }).collect();
        coalesce(wanted, gap).into_iter().map(|g| g.span).collect()
    }

    #[test]
    fn neighbours_within_the_gap_travel_together() {
        assert_eq!(spans(&[0, 10, 25, 100], 5), [0..35, 100..110]);
        assert_eq!(spans(&[0, 10, 25, 100], 0), [0..20, 25..35, 100..110]);
        assert_eq!(spans(&[0, MAX_SPAN_BYTES], u64::MAX / 2).len(), 2, "a request stays bounded");
    }
}
