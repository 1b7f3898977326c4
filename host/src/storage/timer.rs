//! Alarms to the microsecond, for futures that wait for a simulated link: Tokio's own timer ticks in milliseconds.
//!
//! **Threads**: one, asleep between alarms. It asks the kernel for wake-ups without the usual slack of 50 µs, so that
//! it need not spin; an alarm rings a few microseconds late and never early.
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use alluvium_env::{Clock as _, Result, SystemClock, spawn_thread};
use tokio::sync::oneshot;

/// Alarms by their time; the number tells those of one instant apart.
#[derive(Default)]
struct Queue {
    alarms: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    set: u64,
    closed: bool,
}

struct Shared {
    clock: SystemClock,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings alarms as they fall due, until the timer is dropped.
    fn run(&self) {
        let mut queue = self.lock();
        while !queue.closed {
            let now = self.clock.monotonic();
            match queue.alarms.first_entry() {
                None => queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(first) if first.key().0 <= now => {
                    // Whoever has stopped waiting is not told.
                    let _ = first.remove().send(());
                }
                Some(first) => {
                    let left = first.key().0.saturating_sub(now);
                    let waited = self.changed.wait_timeout(queue, left);
                    queue = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// A clock with alarms.
pub(super) struct Timer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    /// Starts the clock at zero.
    ///
    /// # Errors
    /// `Unavailable` if its thread cannot be started.
    pub(super) fn start() -> Result<Self> {
        let clock = SystemClock::new();
        let shared = Arc::new(Shared { clock, queue: Mutex::default(), changed: Condvar::new() });
        let thread = spawn_thread("alluvium-link", {
            let shared = Arc::clone(&shared);
            move || {
                // Without it alarms are 50 µs late; there is nothing else to do about that.
                #[cfg(target_os = "linux")]
                let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
                shared.run();
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.shared.clock.monotonic()
    }

    /// Waits until the clock shows `at`.
    pub(super) async fn until(&self, at: Duration) {
        if self.now() < at {
            // The other end is dropped only with the timer, which this borrows.
            let _ = self.set(at).await;
        }
    }

    fn set(&self, at: Duration) -> oneshot::Receiver<()> {
        let (alarm, rung) = oneshot::channel();
        let mut queue = self.shared.lock();
        queue.set += 1;
        let key = (at, queue.set);
        queue.alarms.insert(key, alarm);
        let is_first = queue.alarms.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(queue);
        if is_first {
            self.shared.changed.notify_one();
        }
        rung
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A timer may be dropped by a task of the I/O runtime; its thread ends within microseconds.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

    use super::*;

    #[test]
    fn alarms_ring_in_the_order_of_their_times_and_never_early() {
        let (io, timer) = (IoRuntime::new(1).unwrap(), Timer::start().unwrap());
        let order = Mutex::new(Vec::new());
        let wait = async |millis: u64| {
            let at = Duration::from_millis(millis);
            timer.until(at).await;
            assert!(timer.now() >= at);
            order.lock().unwrap().push(millis);
        };
        // Polled in the order in which they were woken, however late this thread comes.
        let waiting: FuturesUnordered<_> = [40, 10, 30, 10].into_iter().map(wait).collect();
        io.block_on(waiting.collect::<()>());
        assert_eq!(*order.lock().unwrap(), [10, 10, 30, 40]);
    }
}
