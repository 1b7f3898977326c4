//! State futures: the answer of a state access, at once if memory knows it (design D1, D2; FLIP-424).
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskWaker, Poll};

use alluvium_env::{Error, Result};

use crate::ReadId;
use crate::context::Reads;

/// The answer of a state access. Ready from the start when no I/O is needed; otherwise the record is suspended until
/// its batch has been answered. Dropping it gives the read up.
///
/// # Errors
/// Resolves to the backend's error: `Unavailable` when the store did not answer, `Corruption` when its bytes are wrong.
#[must_use = "a state future does nothing unless it is awaited"]
pub struct StateFuture<T>(State<T>);

enum State<T> {
    Ready(Result<T>),
    Waiting { reads: Rc<Reads>, id: ReadId, decode: fn(Option<&[u8]>) -> Result<T> },
    Taken,
}

impl<T> StateFuture<T> {
    /// A future that is ready.
    #[inline]
    pub fn ready(answer: Result<T>) -> Self {
        Self(State::Ready(answer))
    }

    /// A future of a value that is there already (FLIP-424's completed future).
    ///
    /// ```
    /// # use alluvium_state_api::*;
    /// # fn of_a_guest(visits: &ValueState<u64>, ctx: &Context<()>, is_known: bool) -> StateFuture<Option<u64>> {
    /// if is_known { visits.get(ctx) } else { StateFuture::completed(None) }
    /// # }
    /// ```
    #[inline]
    pub fn completed(value: T) -> Self {
        Self::ready(Ok(value))
    }

    pub(crate) fn waiting(reads: Rc<Reads>, id: ReadId, decode: fn(Option<&[u8]>) -> Result<T>) -> Self {
        Self(State::Waiting { reads, id, decode })
    }
}

// Nothing in it is address-sensitive.
impl<T> Unpin for StateFuture<T> {}

impl<T> Future for StateFuture<T> {
    type Output = Result<T>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskWaker<'_>) -> Poll<Result<T>> {
        match std::mem::replace(&mut self.0, State::Taken) {
            State::Ready(answer) => Poll::Ready(answer),
            State::Waiting { reads, id, decode } => {
                if let Some(answer) = reads.poll(id, cx.waker(), decode) {
                    return Poll::Ready(answer);
                }
                self.0 = State::Waiting { reads, id, decode };
                Poll::Pending
            }
            State::Taken => {
                Poll::Ready(Err(Error::internal("a state future was polled after it had completed")))
            }
        }
    }
}

impl<T> Drop for StateFuture<T> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting { reads, id, .. } = &self.0 {
            reads.abandon(*id);
        }
    }
}
