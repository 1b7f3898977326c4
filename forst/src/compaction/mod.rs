//! Compaction: a pure picker and a job that executes (design D11).
mod expired;
mod garbage;
mod job;
mod level0;
#[cfg(test)]
mod level0_tests;
mod output;
mod picker;
mod progress;
#[cfg(test)]
mod tests;

pub(crate) use expired::Aging;
pub(crate) use garbage::{collect_garbage, garbage_of};
pub(crate) use job::CompactionJob;
pub(crate) use level0::LEVEL0_STOP;
pub(crate) use output::{Separation, TableWriter, Written, WrittenTable};
pub(crate) use picker::{Action, Compaction, LevelTargets, debt_bytes, pick};
pub(crate) use progress::Progress;
