//! Compaction: a pure picker and a job that executes (design D11).
mod expired;
mod job;
mod picker;
#[cfg(test)]
mod tests;

pub(crate) use expired::Aging;
pub(crate) use job::{CompactionJob, TableWriter, WrittenTable};
pub(crate) use picker::{Action, Compaction, LEVEL0_STOP, LevelTargets, debt_bytes, pick};
