//! How a prelude ends: a record that runs ahead of its turn goes no further than to here.
//!
//! **Invariants**: whoever is polled is in turn, but for the one record that a controller polls by
//! [`TaskContext::ahead_of_turn`]; so functions without a prelude, and runners that know of none, do nothing for it.
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::Poll;

use super::{Context, TaskContext};
use crate::RecordKey;

/// Of the record that is polled now.
#[derive(Default)]
pub(super) struct Turn {
    /// Its turn has not come.
    is_ahead: Cell<bool>,
    /// It has met the end of its prelude.
    is_prepared: Cell<bool>,
}

impl<Out> TaskContext<Out> {
    /// For controllers: polls a record whose turn has not come, by `poll`. Returns what that returned, and whether the record's
    /// prelude is over: then it need not be polled before its turn.
    pub fn ahead_of_turn<R>(&self, poll: impl FnOnce() -> R) -> (R, bool) {
        let Turn { is_ahead, is_prepared } = &self.apart.turn;
        is_ahead.set(true);
        is_prepared.set(false);
        let polled = poll();
        is_ahead.set(false);
        (polled, is_prepared.get())
    }
}

impl<Out> Context<Out> {
    /// The end of a prelude: ready when it is the record's turn of its key. Nobody is woken; the controller knows when.
    pub(crate) fn turn(&self) -> impl Future<Output = ()> {
        poll_fn(|_| {
            let Turn { is_ahead, is_prepared } = &self.task.apart.turn;
            is_prepared.set(true);
            if is_ahead.get() { Poll::Pending } else { Poll::Ready(()) }
        })
    }

    pub(crate) fn record_key(&self) -> RecordKey<'_> {
        RecordKey::new(self.record().key)
    }
}
