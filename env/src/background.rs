//! A bounded pool for CPU work that no record waits for: flushes, and behind them compactions.
//!
//! **Invariants**: each urgency has threads of its own, so that a flush never waits for a compaction to end. None of them takes
//! a core from who wakes it, and those of compactions yield to every other thread that wants one, so that records wait for
//! neither.
//!
//! **Threads**: [`Background::run`] is called from task threads and never blocks. A job that panics takes down
//! neither the pool nor its neighbours; its owner notices through the channel that it dropped.
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::threads::{Yield, yield_to_others};
use crate::{Result, spawn_thread};

type Job = Box<dyn FnOnce() + Send>;

/// Which queue a job joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Frees memory that admission waits for (a flush).
    High,
    /// Pays off debt (a compaction).
    Low,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    wake: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut jobs = self.lock();
        if !jobs.closed {
            jobs.waiting.push_back(job);
        }
        drop(jobs);
        self.wake.notify_one();
    }

    /// The next job; `None` once the queue is closed.
    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            jobs = self.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the threads end; hands back what was waiting.
    fn close(&self) -> VecDeque<Job> {
        let mut jobs = self.lock();
        jobs.closed = true;
        let dropped = std::mem::take(&mut jobs.waiting);
        drop(jobs);
        self.wake.notify_all();
        dropped
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            // The payload was printed by the panic hook; the owner sees its channel close.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }
}

/// Takes jobs of one urgency on behalf of who must not keep the pool alive: a job of the pool, or a future. What it is
/// given once the pool is gone is forgotten.
#[derive(Clone)]
pub struct JobQueue(Arc<Queue>);

impl JobQueue {
    /// Queues a job.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.0.push(Box::new(job));
    }
}

/// The pool. Dropping it lets running jobs end and forgets queued ones.
pub struct Background {
    urgent: Arc<Queue>,
    patient: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// A pool of `threads` threads for each urgency, at least one.
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let (urgent, patient) = (Arc::<Queue>::default(), Arc::<Queue>::default());
        let mut pool = Self { urgent, patient, threads: Vec::new() };
        for number in 0..threads.max(1) {
            for (letter, queue, what) in
                [('f', &pool.urgent, Yield::Turn), ('c', &pool.patient, Yield::Share)]
            {
                let queue = Arc::clone(queue);
                let work = move || {
                    yield_to_others(what);
                    queue.work();
                };
                pool.threads.push(spawn_thread(format!("alluvium-bg-{letter}{number}"), work)?);
            }
        }
        Ok(pool)
    }

    /// Where a job of the pool, or a future, can queue others.
    pub fn queue(&self, urgency: Urgency) -> JobQueue {
        JobQueue(Arc::clone(match urgency {
            Urgency::High => &self.urgent,
            Urgency::Low => &self.patient,
        }))
    }

    /// Queues a job.
    pub fn run(&self, urgency: Urgency, job: impl FnOnce() + Send + 'static) {
        match urgency {
            Urgency::High => self.urgent.push(Box::new(job)),
            Urgency::Low => self.patient.push(Box::new(job)),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop((self.urgent.close(), self.patient.close()));
        for thread in self.threads.drain(..) {
            // A pool can be dropped by its own last job; a thread cannot join itself.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_flush_waits_for_no_compaction_and_a_panic_stops_nobody() {
        let pool = Background::new(1).unwrap();
        let (sender, order) = mpsc::channel();
        let (gate, opened) = mpsc::channel::<()>();
        pool.run(Urgency::Low, move || {
            let _ = opened.recv();
            panic!("a job may fail");
        });
        for (urgency, name) in [(Urgency::Low, "compaction"), (Urgency::High, "flush")] {
            let sender = sender.clone();
            pool.run(urgency, move || sender.send(name).unwrap());
        }
        assert_eq!(order.recv().unwrap(), "flush", "a compaction holds its thread");
        gate.send(()).unwrap();
        assert_eq!(order.recv().unwrap(), "compaction");
    }
}
