//! Epochs: the spans between events that are not records (design D15, FLIP-425).
//!
//! A watermark, a control event or the end of input closes the open epoch: the records admitted so far belong to it.
//! Once they have ended, and those of all epochs before, the event may be *acted upon*: a watermark fires timers. Those
//! count to the epoch that is ending. Once they have ended as well, the event is done and goes downstream.
//!
//! ```text
//!   open ──close_epoch(event)──► closed ──its records have ended──► ended() ──run_timers──► acting
//!                                                                     ▲  │                    │
//!                                        take_ended(): done ◄─────────│──┘◄──timers have ended┘
//! ```
//!
//! A barrier is no epoch of its own. It asks for a moment at which the task can be copied, and what is pending then is
//! copied with it: records that have done nothing, timers likewise, and events that are not done, in the order of their
//! epochs. So a barrier waits neither for a watermark nor for the records before it.
//!
//! **Invariants**: events are done in the order in which they closed their epochs. The records of an epoch are counted
//! while they are in flight; a record that is ready at its first poll never enters.
use std::collections::VecDeque;
use std::convert::Infallible;

use alluvium_state_api::RecordRef;

/// Events that wait at most, before admission closes: watermarks that come faster than one slow record ends must not
/// pile up.
const MAX_PENDING: usize = 1024;

/// The events of a controller that is never told one.
pub type NoEvent = Infallible;

/// What runs while an event is not done yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EpochMode {
    /// Nothing of the next epoch: no record overtakes an event, nor an event a record.
    #[default]
    SerialBetweenEpochs,
    /// The records behind the event as well, each in the order of its key. An event still waits for all records before
    /// it; but a record behind a watermark may run before the timers that the watermark fires.
    ParallelBetweenEpochs,
}

/// What a checkpoint keeps of what is pending at its barrier, as [`keep`](crate::AsyncExecutionController::keep) shows it.
#[derive(Debug)]
pub enum Kept<'a, E> {
    /// A record that has done nothing yet.
    Record(RecordRef<'a>),
    /// A timer that was started and has done nothing yet. It is still in state, so nobody need keep it beside that.
    Timer(RecordRef<'a>),
    /// An event that is not done: what comes before it belongs to its epoch.
    Event(&'a E),
}

/// The epochs that are not over.
#[derive(Debug)]
pub(crate) struct Epochs<E> {
    /// Oldest first.
    closed: VecDeque<Closed<E>>,
    /// The number of the oldest epoch that is not over.
    oldest: u64,
    /// Records in flight of the open epoch.
    open: usize,
}

#[derive(Debug)]
struct Closed<E> {
    event: E,
    in_flight: usize,
    /// Timers were started for it, so it is the oldest and no record of it is left.
    acting: bool,
}

impl<E> Default for Epochs<E> {
    fn default() -> Self {
        Self { closed: VecDeque::new(), oldest: 0, open: 0 }
    }
}

impl<E> Epochs<E> {
    /// Whether records behind the pending events may start.
    pub(crate) fn admit(&self, mode: EpochMode) -> bool {
        match mode {
            EpochMode::SerialBetweenEpochs => self.closed.is_empty(),
            EpochMode::ParallelBetweenEpochs => self.closed.len() < MAX_PENDING,
        }
    }

    /// The number of the open epoch.
    pub(crate) fn current(&self) -> u64 {
        self.oldest + self.closed.len() as u64
    }

    /// The number of the oldest epoch that is not over.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    fn in_flight(&mut self, epoch: u64) -> &mut usize {
        // Numbers come from `current` and `oldest`, and an epoch with records in flight is not over.
        match self.closed.get_mut((epoch - self.oldest) as usize) {
            Some(closed) => &mut closed.in_flight,
            None => &mut self.open,
        }
    }

    /// A record of this epoch is in flight.
    pub(crate) fn enter(&mut self, epoch: u64) {
        *self.in_flight(epoch) += 1;
    }

    /// It has ended.
    pub(crate) fn leave(&mut self, epoch: u64) {
        *self.in_flight(epoch) -= 1;
    }

    pub(crate) fn close(&mut self, event: E) {
        let in_flight = std::mem::take(&mut self.open);
        self.closed.push_back(Closed { event, in_flight, acting: false });
    }

    /// The oldest event, if nothing of its epoch is in flight.
    pub(crate) fn ended(&self) -> Option<&E> {
        self.closed.front().filter(|closed| closed.in_flight == 0).map(|closed| &closed.event)
    }

    /// Begins or goes on to act upon the oldest event; false if records of its epoch are in flight.
    pub(crate) fn act(&mut self) -> bool {
        let Some(closed) = self.closed.front_mut() else { return false };
        closed.acting |= closed.in_flight == 0;
        closed.acting
    }

    pub(crate) fn take_ended(&mut self) -> Option<E> {
        self.ended()?;
        self.oldest += 1;
        self.closed.pop_front().map(|closed| closed.event)
    }

    /// The events that are not done, each with its epoch's number, oldest first.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = (u64, &E)> {
        self.closed.iter().enumerate().map(|(nth, closed)| (self.oldest + nth as u64, &closed.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_done_in_order_once_their_records_and_timers_have_ended() {
        let mut epochs = Epochs::default();
        epochs.enter(epochs.current());
        epochs.close('a');
        let second = epochs.current();
        epochs.enter(second);
        epochs.close('b');
        epochs.leave(second);
        assert_eq!(
            (epochs.ended().copied(), epochs.act()),
            (None, false),
            "a's record is in flight, so b waits as well"
        );
        epochs.leave(0);
        assert_eq!(epochs.ended(), Some(&'a'));
        assert!(epochs.act());
        epochs.enter(epochs.oldest());
        assert_eq!(
            (epochs.take_ended(), epochs.act()),
            (None, true),
            "more timers may start while others run"
        );
        epochs.leave(0);
        assert_eq!(
            (epochs.take_ended(), epochs.take_ended(), epochs.take_ended()),
            (Some('a'), Some('b'), None)
        );
        assert!(epochs.admit(EpochMode::SerialBetweenEpochs));
    }

    #[test]
    fn pending_events_close_admission_at_once_or_when_there_are_too_many() {
        let mut epochs = Epochs::default();
        for nth in 0..MAX_PENDING {
            assert_eq!(epochs.admit(EpochMode::SerialBetweenEpochs), nth == 0);
            assert!(epochs.admit(EpochMode::ParallelBetweenEpochs));
            epochs.close(nth);
        }
        assert!(!epochs.admit(EpochMode::ParallelBetweenEpochs));
        assert!(
            epochs.pending().map(|(epoch, event)| (epoch as usize, *event)).eq((0..MAX_PENDING).zip(0..))
        );
    }
}
