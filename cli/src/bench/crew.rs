//! The task threads of a benchmark, led through its phases together.
//!
//! **Failure**: the first error of a thread is the benchmark's; the others end as soon as they ask for the next phase.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_env::{Error, Result, spawn_thread};
use alluvium_state_api::BackendStats;

use super::subtask::{Measured, Subtask, Took};

/// How a phase of one thread ended.
pub(super) enum Report {
    Prepared(Took, BackendStats),
    Measured(Box<Measured>, BackendStats),
    /// How long it took until nothing was left to do.
    PaidOff(Duration),
    /// How many answers were compared in full.
    Checked(u64),
}

/// See the module.
pub(super) struct Crew {
    go: Vec<Sender<()>>,
    reports: Receiver<Result<Report>>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    /// Starts the threads; each prepares at once.
    ///
    /// # Errors
    /// `Unavailable` if one cannot be started.
    pub(super) fn start(subtasks: Vec<Subtask>) -> Result<Self> {
        let (sender, reports) = channel();
        let mut crew = Self { go: Vec::new(), reports, threads: Vec::new() };
        for subtask in subtasks {
            let ((go, gone), sender) = (channel(), sender.clone());
            let name = format!("alluvium-task-{}", subtask.index);
            crew.go.push(go);
            crew.threads.push(spawn_thread(name, move || {
                let ended = catch_unwind(AssertUnwindSafe(|| phases(subtask, &sender, &gone)));
                let ended = ended.unwrap_or_else(|_| Err(Error::internal("a task thread panicked")));
                if let Err(error) = ended {
                    // With nobody listening another thread has failed first.
                    let _ = sender.send(Err(error));
                }
            })?);
        }
        Ok(crew)
    }

    /// Waits for the end of a phase and takes what `pick` wants of each report.
    ///
    /// # Errors
    /// The first error of a thread.
    pub(super) fn gather<T>(&self, pick: impl Fn(Report) -> Option<T>) -> Result<Vec<T>> {
        let ended = || Error::internal("the task threads ended in the middle of the benchmark");
        self.go.iter().map(|_| pick(self.reports.recv().map_err(|_| ended())??).ok_or_else(ended)).collect()
    }

    /// Starts the next phase.
    pub(super) fn go(&self) {
        for go in &self.go {
            // A thread that is gone has said why.
            let _ = go.send(());
        }
    }

    /// Lets the threads end, and their backends with them.
    pub(super) fn end(self) {
        drop(self.go);
        for thread in self.threads {
            // Panics were reported.
            let _ = thread.join();
        }
    }
}

fn phases(subtask: Subtask, sender: &Sender<Result<Report>>, gone: &Receiver<()>) -> Result<()> {
    // Whoever does not listen any more has ended the benchmark.
    let tell = |report| sender.send(Ok(report)).is_ok() && gone.recv().is_ok();
    let opened = subtask.open()?;
    let took = opened.prepare()?;
    if !tell(Report::Prepared(took, opened.stats())) {
        return Ok(());
    }
    let measured = opened.measure()?;
    if !tell(Report::Measured(Box::new(measured), opened.stats())) {
        return Ok(());
    }
    let debt = opened.pay_off()?;
    if tell(Report::PaidOff(debt)) {
        tell(Report::Checked(opened.check()?));
    }
    Ok(())
}
