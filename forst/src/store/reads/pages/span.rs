//! What is read of a page, and how far it has come while it waits for parts.
use alluvium_env::HashMap;

use super::PageQuery;
use crate::block::Block;
use crate::store::reads::walk::GotBlock;
use crate::table::FileId;

/// A page that waits for parts.
pub(in crate::store) struct PageRead {
    prefix: Box<[u8]>,
    /// Where it begins, or has come to without an entry; whether its first entry is behind that.
    start: Vec<u8>,
    behind: bool,
    limit: u32,
    /// How many entries of all sources it is expected to pass.
    foreseen: u32,
    /// How often it has asked for parts.
    rounds: u32,
}

impl PageRead {
    pub(in crate::store) fn new(query: PageQuery<'_>) -> Self {
        let Span { prefix, start, behind, limit, foreseen, rounds } = query.into();
        Self { prefix: prefix.into(), start: start.to_vec(), behind, limit, foreseen, rounds }
    }

    pub(in crate::store) fn span(&self) -> Span<'_> {
        let &Self { ref prefix, ref start, behind, limit, foreseen, rounds } = self;
        Span { prefix, start, behind, limit, foreseen, rounds }
    }

    /// It asks for parts.
    pub(in crate::store) fn waits(&mut self) {
        self.rounds += 1;
    }

    /// Begins at a key before which nothing is left, and drops what it does not need from there on. Where so much is hidden there
    /// may be more.
    pub(in crate::store) fn begin_at(&mut self, key: Vec<u8>, got: &mut Vec<GotBlock>) {
        (self.start, self.behind, self.foreseen) = (key, false, self.foreseen.saturating_mul(2));
        let mut reached: HashMap<FileId, u32> = HashMap::default();
        let begun = |block: &Block| block.first_key().is_some_and(|first| first <= self.start.as_slice());
        for (file, number, _) in got.iter().filter(|(.., block)| !block.is_plain() && begun(block)) {
            let last = reached.entry(*file).or_default();
            *last = (*number).max(*last);
        }
        got.retain(|(file, number, _)| reached.get(file).is_none_or(|last| number >= last));
    }
}

/// What is read of a page.
#[derive(Clone, Copy)]
pub(in crate::store) struct Span<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) start: &'a [u8],
    pub(super) behind: bool,
    pub(super) limit: u32,
    pub(super) foreseen: u32,
    pub(super) rounds: u32,
}

impl<'a> From<PageQuery<'a>> for Span<'a> {
    fn from(query: PageQuery<'a>) -> Self {
        let prefix = query.prefix;
        let after = query.after.filter(|after| *after >= prefix);
        let limit = query.limit.max(1);
        Self {
            prefix,
            start: after.unwrap_or(prefix),
            behind: after.is_some(),
            limit,
            foreseen: limit,
            rounds: 0,
        }
    }
}
