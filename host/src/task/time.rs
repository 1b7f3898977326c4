//! How time passes in a task: events between its records, watermarks that are done, timers that are due, and when to wake up for the next one.
//!
//! A watermark is an event between epochs. Once the records before it have ended it counts, and fires timers; it is done when
//! those have ended, and those that they registered and that were due already. Timers of processing time are admitted like
//! records. Neither are handed to the controller in numbers: what it does not take now is kept until it does.
//!
//! **Invariants**: a poll ends, however many timers are due and whatever those register, so orders, barriers and the mailbox's
//! close are looked at in between. Timers of processing time and mail take turns: one batch, one mail. Timers of event time
//! go before what follows their watermark, and a barrier with it: one that drains
//! ([`keep_inputs`](alluvium_async_exec::ControllerSettings::keep_inputs) is off) waits for the last of them, so timers that
//! register others for ever at the end of the input hold it up for ever; one that keeps inputs does not wait.
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
/// Batches of timers of event time that are run between two looks around: enough to fill a read batch several times.
const EVENT_BATCHES: usize = 16;
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
    /// Timers of event time can go on at once: only to look around were they left.
    goes_on: bool,
    /// Timers of processing time had their turn.
    is_mails_turn: bool,
}

impl Firing {
    /// Mail was taken, or there is none.
    pub(super) fn mail_had_its_turn(&mut self) {
        self.is_mails_turn = false;
    }
}

/// What came of handing timers to the controller.
enum Handed {
    /// None are due.
    Nothing,
    /// A batch; others may be due.
    Batch,
    /// Not all that are due: there is no room for them, or they are being read. The bell says when it can go on.
    Part,
}

impl<P: KeyedProcess, S: StartRecord<P>> TaskLoop<P, S> {
    /// Takes what the backend has answered, runs who can go on, then what time has brought.
    ///
    /// # Errors
    /// The operator's or the backend's.
    pub(super) fn poll(&mut self) -> Result<()> {
        self.controller.poll()?;
        self.act_upon_events()?;
        if P::USES_TIMERS && self.fires_now() && self.next_wake() == Some(Duration::ZERO) {
            self.fire(TimeDomain::ProcessingTime)?;
            // Mail, a barrier with it, would never have room if timers that are always due took all of it first.
            self.firing.is_mails_turn = true;
        }
        Ok(())
    }

    /// Whether timers of processing time that are due would be handed over.
    fn fires_now(&self) -> bool {
        self.controller.admits() && !self.firing.is_mails_turn
    }

    fn act_upon_events(&mut self) -> Result<()> {
        self.firing.goes_on = false;
        let mut batches = 0;
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
            match self.fire(TimeDomain::EventTime)? {
                Handed::Part => return Ok(()),
                Handed::Batch if batches < EVENT_BATCHES => batches += 1,
                Handed::Batch => {
                    self.firing.goes_on = true;
                    return Ok(());
                }
                Handed::Nothing => {
                    // Timers that have not ended yet may register others.
                    if self.controller.take_ended().is_none() {
                        return Ok(());
                    }
                    self.firing.watermark = None;
                }
            }
        }
    }

    /// Hands at most one batch of timers that are due to the controller.
    fn fire(&mut self, domain: TimeDomain) -> Result<Handed> {
        let [event, processing] = &mut self.firing.batches;
        let (place, is_event) = match domain {
            TimeDomain::EventTime => (event, true),
            TimeDomain::ProcessingTime => (processing, false),
        };
        if place.is_none() {
            let (batch, more) = self.controller.task().take_due_timers(domain, TIMERS)?;
            if batch.is_empty() {
                return Ok(if more { Handed::Part } else { Handed::Nothing });
            }
            *place = Some((Rc::new(batch), 0));
        }
        let Some((batch, from)) = place else { return Ok(Handed::Nothing) };
        *from = if is_event {
            self.controller.run_timers(batch, *from)?
        } else {
            self.controller.run_processing_timers(batch, *from)?
        };
        if *from < batch.len() {
            return Ok(Handed::Part);
        }
        *place = None;
        Ok(Handed::Batch)
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

    /// Has the next sleep end when a timer is due, or at once if there are some to go on with. One that is due and waits for
    /// admission, or for its turn, needs none: what opens that ends the sleep as well.
    pub(super) fn sleep_until_timer(&mut self) {
        if !P::USES_TIMERS {
            return;
        }
        let wake = if self.firing.goes_on {
            Some(Duration::ZERO)
        } else {
            self.next_wake().filter(|wake| !wake.is_zero() || self.fires_now())
        };
        self.inbox.wait_at_most(wake.map(|wake| wake.min(LONGEST_SLEEP)));
    }
}
