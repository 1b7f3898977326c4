//! The I/O runtime: the one Tokio runtime on which every store client lives.
//!
//! An HTTP client belongs to the runtime that first used it, so all requests of a process are made here.
//! **Threads**: [`IoRuntime::block_on`] is for background and coordinator threads, never for a task thread.
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::{Error, Result};

/// A shared handle on the runtime; the last clone dropped stops it without waiting.
#[derive(Clone)]
pub struct IoRuntime {
    shared: Arc<Owned>,
}

struct Owned {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl IoRuntime {
    /// A runtime with `threads` worker threads; blocking file calls get at most `4 × threads` more.
    ///
    /// # Errors
    /// `Unavailable` when its threads cannot be started.
    pub fn new(threads: usize) -> Result<Self> {
        let threads = threads.max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(threads * 4)
            .thread_name("alluvium-io")
            .enable_all()
            .build()
            .map_err(|e| Error::unavailable("cannot start the I/O runtime").with_source(e))?;
        Ok(Self::on(runtime))
    }

    /// A runtime that was made elsewhere: a simulation's has one thread, and time that passes only when all wait.
    pub fn on(runtime: Runtime) -> Self {
        let handle = runtime.handle().clone();
        Self { shared: Arc::new(Owned { runtime: Some(runtime), handle }) }
    }

    /// Starts a future on the runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.shared.handle.spawn(future)
    }

    /// Begins a future on the calling thread: polls it once, as if on the runtime. If it has to wait it does so there.
    pub fn begin<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut future = Box::pin(future);
        let _within = self.shared.handle.enter();
        // Whom it would wake matters only if it waits; then the runtime polls it again and tells it.
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            drop(self.shared.handle.spawn(future));
        }
    }

    /// Waits for a future on the calling thread.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.shared.runtime {
            // A runtime of one thread runs what was spawned only within its own call.
            Some(runtime) => runtime.block_on(future),
            None => self.shared.handle.block_on(future),
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
