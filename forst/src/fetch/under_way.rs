//! A read that is begun before its answer is needed.
use alluvium_env::{Error, IoRuntime, Result};
use tokio::task::{JoinError, JoinHandle};

/// A read on the I/O runtime; it ends when nobody waits for it any more.
pub(crate) struct UnderWay<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> UnderWay<T> {
    /// Begins it.
    pub(crate) fn begin(io: &IoRuntime, read: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(io.spawn(read))
    }

    /// Whether its answer is there.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// What it has read.
    pub(crate) async fn end(mut self) -> Result<T> {
        (&mut self.0).await.map_err(no_answer)?
    }
}

/// Why a task of the I/O runtime has ended without an answer.
pub(crate) fn no_answer(ended: JoinError) -> Error {
    match ended.try_into_panic() {
        Ok(payload) => Error::of_panic(payload.as_ref()),
        Err(_) => Error::closed("the I/O runtime is gone"),
    }
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
