//! Compaction: a pure picker and a job that executes (design D11).
mod expired;
mod garbage;
mod job;
mod output;
mod picker;
#[cfg(test)]
mod tests;

pub(crate) use expired::Aging;
pub(crate) use garbage::{collect_garbage, garbage_of};
pub(crate) use job::CompactionJob;
pub(crate) use output::{Separation, TableWriter, Written};
pub(crate) use picker::{Action, Compaction, LEVEL0_STOP, LevelTargets, debt_bytes, pick};
