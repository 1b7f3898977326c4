//! Threads: named, counted by cores, and the only way to start one.
use std::thread::{Builder, JoinHandle, available_parallelism};

use crate::{Error, Result};

/// The cores this process may use, at least one.
pub fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A third of the weight of other threads: what a core has to spare it gets, and a share if there is none.
#[cfg(target_os = "linux")]
const PATIENT: i32 = 5;

/// Has the calling thread yield to others where cores are scarce. Where the system cannot do that for one thread, nothing
/// changes.
pub(crate) fn yield_to_others() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), PATIENT);
}

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
