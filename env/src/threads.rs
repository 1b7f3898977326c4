//! Threads: named, counted by cores, and the only way to start one.
use std::thread::{Builder, JoinHandle, available_parallelism};

use crate::{Error, Result};

/// The cores this process may use, at least one.
pub fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How a thread stands behind those that records wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yield {
    /// It has its share of the cores, but who wakes it goes on first.
    Turn,
    /// And where cores are scarce a third of the others' share: what they have to spare it gets.
    Share,
}

/// Has the calling thread yield to others. Where the system cannot do that for one thread, nothing changes.
///
/// A task thread that freezes a memtable wakes who flushes it. The scheduler lets a thread that has slept run at once, and that was
/// the longest of all a task stood still for a checkpoint: the waker waited for the flush to use up its slice. Batch threads
/// (`sched(7)`) preempt nobody when they wake.
#[cfg(target_os = "linux")]
pub(crate) fn yield_to_others(what: Yield) {
    use rustix::process::{getpriority_process, setpriority_process};
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
        thread_native_id,
    };

    /// Niceness 0 on that crate's scale of 0 to 99; what the process was given is restored.
    const AVERAGE: u8 = 48;
    /// A third of the weight.
    const PATIENT: i32 = 5;

    let thread = Some(rustix::thread::gettid());
    let niceness = getpriority_process(thread);
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    if let Ok(average) = AVERAGE.try_into() {
        let average = ThreadPriority::Crossplatform(average);
        let _ = set_thread_priority_and_policy(thread_native_id(), average, batch);
    }
    let behind = if what == Yield::Share { PATIENT } else { 0 };
    let _ = niceness.and_then(|niceness| setpriority_process(thread, niceness + behind));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn yield_to_others(_: Yield) {}

/// Starts a named thread.
///
/// # Errors
/// `Unavailable` when the operating system gives no more threads.
pub fn spawn_thread<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let name = name.into();
    Builder::new()
        .name(name.clone())
        .spawn(body)
        .map_err(|e| Error::unavailable(format!("cannot start thread {name}")).with_source(e))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::getpriority_process;
    use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};

    use super::*;

    #[test]
    fn who_yields_its_turn_keeps_its_share() {
        let before = getpriority_process(None).unwrap();
        for (what, behind) in [(Yield::Turn, 0), (Yield::Share, 5)] {
            let now = spawn_thread("yields", move || {
                yield_to_others(what);
                (
                    thread_schedule_policy().unwrap(),
                    getpriority_process(Some(rustix::thread::gettid())).unwrap(),
                )
            });
            let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
            assert_eq!(now.unwrap().join().unwrap(), (batch, (before + behind).min(19)), "{what:?}");
        }
    }
}
