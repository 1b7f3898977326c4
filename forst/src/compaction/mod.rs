//! Compaction: a pure picker and a job that executes (design D11).
mod expired;
mod job;
mod level0;
#[cfg(test)]
mod level0_tests;
mod picker;
#[cfg(test)]
mod tests;

pub(crate) use expired::Aging;
pub(crate) use job::{CompactionJob, TableWriter, WrittenTable};
pub(crate) use level0::LEVEL0_STOP;
pub(crate) use picker::{Action, Compaction, LevelTargets, debt_bytes, pick};
