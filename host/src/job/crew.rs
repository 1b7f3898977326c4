//! The threads of a job: started with a name, watched for errors and panics, ended together.
//!
//! **Invariants**: whatever ends the job, no thread of it is left when [`Crew::disband`] or the crew's drop returns:
//! lanes are closed, bells rung, and every thread joined.
//!
//! **Failure**: a thread that fails sends one [`Event::Failed`] that says which source or subtask it was.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use alluvium_async_exec::MailboxCloser;
use alluvium_env::{Error, Result, spawn_thread};
use alluvium_state_api::{CheckpointId, Notify};

use super::Event;
use crate::source::SourceSignal;
use crate::task::{Orders, Stage, TaskStats};

/// How a task is reached.
pub(super) struct TaskHandle {
    pub(super) closer: MailboxCloser,
    pub(super) bell: Notify,
    pub(super) orders: Arc<Orders>,
}

/// All threads of one job.
pub(super) struct Crew {
    signal: Arc<SourceSignal>,
    tasks: Vec<TaskHandle>,
    events: Sender<Event>,
    source_threads: Vec<JoinHandle<Option<()>>>,
    task_threads: Vec<JoinHandle<Option<TaskStats>>>,
}

impl Crew {
    pub(super) fn new(signal: Arc<SourceSignal>, tasks: Vec<TaskHandle>, events: Sender<Event>) -> Self {
        Self { signal, tasks, events, source_threads: Vec::new(), task_threads: Vec::new() }
    }

    /// Starts a task thread; errors name `who`.
    pub(super) fn start_task(
        &mut self,
        who: String,
        body: impl FnOnce() -> Result<TaskStats> + Send + 'static,
    ) -> Result<()> {
        let name = format!("alluvium-task-{}", self.task_threads.len());
        self.task_threads.push(start(name, who, self.events.clone(), body)?);
        Ok(())
    }

    /// Starts a source thread; errors name `who`.
    pub(super) fn start_source(
        &mut self,
        who: String,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let name = format!("alluvium-source-{}", self.source_threads.len());
        self.source_threads.push(start(name, who, self.events.clone(), body)?);
        Ok(())
    }

    /// How many tasks there are.
    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Asks all sources for the barriers of all pending checkpoints.
    pub(super) fn request_barriers(&self, pending: Vec<CheckpointId>, last: bool) {
        self.signal.request(pending, last);
    }

    /// Asks all tasks for a snapshot once their lanes have ended.
    pub(super) fn order_barrier(&self, id: CheckpointId) {
        for task in &self.tasks {
            task.orders.order_barrier(id);
            (task.bell)();
        }
    }

    /// Moves all tasks on.
    pub(super) fn order_stage(&self, stage: Stage) {
        for task in &self.tasks {
            task.orders.order_stage(stage);
            (task.bell)();
        }
    }

    /// Waits for threads that end by themselves, and adds up what the tasks counted.
    pub(super) fn join(&mut self) -> TaskStats {
        for thread in self.source_threads.drain(..) {
            // Errors and panics were sent as events.
            let _ = thread.join();
        }
        let mut total = TaskStats::default();
        for thread in self.task_threads.drain(..) {
            if let Ok(Some(stats)) = thread.join() {
                total.backend += stats.backend;
                total.controller += stats.controller;
            }
        }
        total
    }

    /// Ends all threads, wherever they are.
    pub(super) fn disband(&mut self) {
        self.signal.cancel();
        for task in &self.tasks {
            task.closer.close();
        }
        self.join();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.disband();
    }
}

fn start<T: Send + 'static>(
    name: String,
    who: String,
    events: Sender<Event>,
    body: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<JoinHandle<Option<T>>> {
    spawn_thread(name, move || {
        // What a panicked body leaves behind is dropped with it; nothing of it is looked at again.
        let outcome = catch_unwind(AssertUnwindSafe(body))
            .unwrap_or_else(|payload| Err(Error::of_panic(payload.as_ref())));
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                let _ = events.send(Event::Failed(error.context(who)));
                None
            }
        }
    })
}
