//! A bounded pool for CPU work that no record waits for: flushes first, then compactions.
//!
//! **Invariants**: of several threads one is kept for urgent jobs, so that a flush never waits for a compaction to end.
//!
//! **Threads**: [`Background::run`] is called from task threads and never blocks. A job that panics takes down
//! neither the pool nor its neighbours; its owner notices through the channel that it dropped.
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

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
struct Queues {
    high: VecDeque<Job>,
    low: VecDeque<Job>,
    low_running: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queues: Mutex<Queues>,
    wake: Condvar,
    max_low: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(Urgency, Job)> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return None;
            }
            if let Some(job) = queues.high.pop_front() {
                return Some((Urgency::High, job));
            }
            if queues.low_running < self.max_low
                && let Some(job) = queues.low.pop_front()
            {
                queues.low_running += 1;
                return Some((Urgency::Low, job));
            }
            queues = self.wake.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ended(&self, urgency: Urgency) {
        if urgency == Urgency::Low {
            self.lock().low_running -= 1;
            self.wake.notify_one();
        }
    }
}

/// The pool. Dropping it lets running jobs end and forgets queued ones.
pub struct Background {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// A pool of `threads` threads.
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let shared = Arc::new(Shared { max_low: (threads - 1).max(1), ..Shared::default() });
        let threads = (0..threads)
            .map(|i| {
                let shared = Arc::clone(&shared);
                spawn_thread(format!("alluvium-bg-{i}"), move || {
                    while let Some((urgency, job)) = shared.next() {
                        // The payload was printed by the panic hook; the owner sees its channel close.
                        let _ = catch_unwind(AssertUnwindSafe(job));
                        shared.ended(urgency);
                    }
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { shared, threads })
    }

    /// Queues a job.
    pub fn run(&self, urgency: Urgency, job: impl FnOnce() + Send + 'static) {
        let mut queues = self.shared.lock();
        match urgency {
            Urgency::High => queues.high.push_back(Box::new(job)),
            Urgency::Low => queues.low.push_back(Box::new(job)),
        }
        drop(queues);
        self.shared.wake.notify_one();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let dropped = {
            let mut queues = self.shared.lock();
            queues.closed = true;
            (std::mem::take(&mut queues.high), std::mem::take(&mut queues.low))
        };
        drop(dropped);
        self.shared.wake.notify_all();
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
    fn one_thread_of_several_is_kept_for_urgent_jobs() {
        let pool = Background::new(2).unwrap();
        let (sender, order) = mpsc::channel();
        let gates: Vec<_> = (0..2)
            .map(|_| {
                let (gate, opened) = mpsc::channel::<()>();
                let sender = sender.clone();
                pool.run(Urgency::Low, move || {
                    let _ = opened.recv();
                    sender.send("compaction").unwrap();
                });
                gate
            })
            .collect();
        pool.run(Urgency::High, move || sender.send("flush").unwrap());
        assert_eq!(order.recv().unwrap(), "flush", "both compactions hold their threads");
        drop(gates);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["compaction", "compaction"]);
    }

    #[test]
    fn urgent_jobs_overtake_and_a_panic_stops_nobody() {
        let pool = Background::new(1).unwrap();
        let (gate, opened) = mpsc::channel::<()>();
        let (sender, order) = mpsc::channel();
        pool.run(Urgency::Low, move || {
            let _ = opened.recv();
            panic!("a job may fail");
        });
        for (urgency, name) in [(Urgency::Low, "compaction"), (Urgency::High, "flush")] {
            let sender = sender.clone();
            pool.run(urgency, move || sender.send(name).unwrap());
        }
        gate.send(()).unwrap();
        assert_eq!(order.recv().unwrap(), "flush");
        assert_eq!(order.recv().unwrap(), "compaction");
    }
}
