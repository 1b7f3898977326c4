//! How time passes in a task: events between its records, watermarks that are done, timers that are due, and when to wake up for the next one.
//!
//! A watermark is an event between epochs. Once the records before it have ended it counts, and fires timers; it is done when
//! those have ended, and those that they registered and that were due already. Timers of processing time are admitted like
//! records. Neither are handed to the controller in numbers: what it does not take now is kept until it does.
//!
//! **Failure**: what is kept here is in state as well, so a checkpoint or a crash in between loses nothing.
use std::rc::Rc;
use std::time::Duration;

use alluvium_async_exec::StartRecord;
use alluvium_env::Result;
use alluvium_state_api::{KeyedProcess, RecordBatch, TimeDomain, Timestamp};
use bytes::Bytes;

use super::run::TaskLoop;

/// Timers that are taken at a time.
const TIMERS: usize = 256;
/// The longest sleep towards a timer: the wall clock may be set while it lasts.
const LONGEST_SLEEP: Duration = Duration::from_mins(1);

/// An event between the records of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TaskEvent {
    /// Event time has come to here.
    Watermark(Timestamp),
    /// An element of the broadcast side.
    Broadcast(Bytes),
}

/// Timers on their way to the controller.
#[derive(Debug, Default)]
pub(super) struct Firing {
    /// The watermark that counts and is not done.
    watermark: Option<Timestamp>,
    /// Of event time and of processing time: a batch, and the first of it that was not taken.
    batches: [Option<(Rc<RecordBatch>, usize)>; 2],
}

impl<P: KeyedProcess, S: StartRecord<P>> TaskLoop<P, S> {
    /// Takes what the backend has answered, runs who can go on, then what time has brought.
    ///
    /// # Errors
    /// The operator's or the backend's.
    pub(super) fn poll(&mut self) -> Result<()> {
        self.controller.poll()?;
        self.act_upon_events()?;
        if P::USES_TIMERS && self.controller.admits() && self.next_wake() == Some(Duration::ZERO) {
            self.fire(TimeDomain::ProcessingTime)?;
        }
        Ok(())
    }

    fn act_upon_events(&mut self) -> Result<()> {
        loop {
            if self.firing.watermark.is_none() {
                match self.controller.ended().cloned() {
                    None => return Ok(()),
                    Some(TaskEvent::Broadcast(element)) => {
                        self.process_broadcast(&element)?;
                        self.controller.take_ended();
                        continue;
                    }
                    Some(TaskEvent::Watermark(watermark)) => {
                        self.controller.task().advance_watermark(watermark);
                        self.firing.watermark = Some(watermark);
                    }
                }
            }
            let more = self.fire(TimeDomain::EventTime)?;
            // Timers that have not ended yet may register others.
            if more || self.controller.take_ended().is_none() {
                return Ok(());
            }
            self.firing.watermark = None;
        }
    }

    /// Hands timers that are due to the controller. Whether some are left, or may be.
    fn fire(&mut self, domain: TimeDomain) -> Result<bool> {
        loop {
            let [event, processing] = &mut self.firing.batches;
            let (place, is_event) = match domain {
                TimeDomain::EventTime => (event, true),
                TimeDomain::ProcessingTime => (processing, false),
            };
            let Some((batch, from)) = place else {
                let (batch, more) = self.controller.task().take_due_timers(domain, TIMERS)?;
                if batch.is_empty() {
                    return Ok(more);
                }
                *place = Some((Rc::new(batch), 0));
                continue;
            };
            *from = if is_event {
                self.controller.run_timers(batch, *from)?
            } else {
                self.controller.run_processing_timers(batch, *from)?
            };
            if *from < batch.len() {
                return Ok(true);
            }
            *place = None;
        }
    }

    /// How long it is until a timer of processing time is due; `None` if there is none, or its page is being read.
    fn next_wake(&self) -> Option<Duration> {
        let [_, processing] = &self.firing.batches;
        if processing.is_some() {
            return Some(Duration::ZERO);
        }
        let task = self.controller.task();
        let next = task.next_timer(TimeDomain::ProcessingTime)?;
        let millis = next.0.saturating_sub(task.processing_time().0);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }

    /// Has the next sleep end when a timer is due. One that is due and waits for admission needs none: what opens that ends
    /// the sleep as well.
    pub(super) fn sleep_until_timer(&mut self) {
        if P::USES_TIMERS {
            let wake = self.next_wake().filter(|wake| !wake.is_zero() || self.controller.admits());
            self.inbox.wait_at_most(wake.map(|wake| wake.min(LONGEST_SLEEP)));
        }
    }
}
