//! The hotness hint: which blocks of which tables were in memory, so that a store which is restored can fetch them before they
//! are asked for (`docs/formats/hint.md`).
//!
//! A table is named by its content: that stays when a savepoint or a fork copies it, and it is eight bytes. What a hint says
//! is true of some moment before the checkpoint that names it. Nobody relies on it: whatever it says that is not so costs a
//! fetch for nothing.
mod format;
#[cfg(test)]
mod format_tests;
mod outline;
mod plan;
mod size;

pub(crate) use format::{decode, encode, is_hint};
pub(crate) use outline::Outline;
pub(crate) use plan::{Portion, plan, point_at};
pub(crate) use size::encode_within;

/// How many blocks there are in runs.
fn blocks_of(runs: &[HotRun]) -> u64 {
    runs.iter().map(|run| u64::from(run.blocks)).sum()
}

/// How a block has been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Heat {
    /// It came into memory, and nobody has asked for it since.
    Seen = 0,
    /// It was asked for again.
    Again = 1,
    /// It is asked for again and again.
    Often = 2,
}

impl Heat {
    fn of(code: u64) -> Option<Self> {
        [Self::Seen, Self::Again, Self::Often].into_iter().find(|heat| *heat as u64 == code)
    }
}

/// Neighbouring blocks of one heat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HotRun {
    pub(crate) first: u32,
    /// At least one.
    pub(crate) blocks: u32,
    pub(crate) heat: Heat,
}

impl HotRun {
    /// The block behind the last one.
    pub(crate) fn end(&self) -> u32 {
        self.first.saturating_add(self.blocks)
    }
}

/// The blocks of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HotTable {
    pub(crate) content_hash: u64,
    /// Ascending, apart from each other.
    pub(crate) runs: Vec<HotRun>,
}

impl HotTable {
    pub(crate) fn new(content_hash: u64) -> Self {
        Self { content_hash, runs: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn blocks(&self) -> u64 {
        blocks_of(&self.runs)
    }

    /// Adds a block behind those that it has.
    pub(crate) fn push(&mut self, block: u32, heat: Heat) {
        match self.runs.last_mut() {
            Some(run) if run.end() == block && run.heat == heat => run.blocks += 1,
            _ => self.runs.push(HotRun { first: block, blocks: 1, heat }),
        }
    }
}
