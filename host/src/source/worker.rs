//! The loop of a source thread: claim a split, read it, send full batches, put barriers where they are asked for.
//!
//! **Invariants**: a barrier follows everything emitted before it in every lane, and what the thread says of its
//! splits at that moment describes exactly that. After the job's last barrier nothing more is read.
//!
//! **Threads**: one a source. It waits in three places, each of which cancellation ends: a full lane, an idle
//! reader's bell, and the reader itself, which promises to return.
use std::sync::Arc;
use std::sync::mpsc::Sender;

use alluvium_async_exec::MailboxSender;
use alluvium_env::{Error, Result};
use alluvium_state_api::CheckpointId;

use super::{Bell, Collector, ReadOutcome, SourceSignal, SplitQueue, SplitReader, SplitSource, Standing};
use crate::job::Event;
use crate::task::Mail;

/// One source thread's work.
pub(crate) struct SourceWorker<S> {
    pub(crate) index: usize,
    pub(crate) source: Arc<S>,
    pub(crate) queue: Arc<SplitQueue>,
    pub(crate) signal: Arc<SourceSignal>,
    pub(crate) bell: Arc<Bell>,
    /// One a subtask.
    pub(crate) lanes: Vec<MailboxSender<Mail>>,
    pub(crate) events: Sender<Event>,
    pub(crate) collector: Collector,
}

struct Reading {
    split: u64,
    reader: Box<dyn SplitReader>,
}

impl<S: SplitSource> SourceWorker<S> {
    /// Reads until no split is left, the job's last barrier is sent, or the job is cancelled.
    ///
    /// # Errors
    /// The reader's, naming the split.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut reading: Option<Reading> = None;
        let mut finished = Vec::new();
        let (mut barrier, mut stopped) = (CheckpointId(0), false);
        while !self.signal.cancelled() {
            let (requested, last) = self.signal.requested();
            if requested > barrier {
                self.send_all()?;
                for id in self.signal.wanted(barrier, requested) {
                    self.send_barrier(id)?;
                    let standing = standing(&mut finished, reading.as_ref());
                    self.report(Event::SourceAtBarrier { source: self.index, id, standing });
                }
                barrier = requested;
                if last {
                    stopped = true;
                    break;
                }
            }
            if reading.is_none() {
                reading = self.claim()?;
            }
            let Some(current) = &mut reading else { break };
            let split = current.split;
            let outcome = current.reader.read(&mut self.collector);
            let outcome = outcome.map_err(|e| e.context(format!("split {split}")))?;
            self.send_full()?;
            match outcome {
                ReadOutcome::More => {}
                ReadOutcome::End => {
                    finished.push(split);
                    reading = None;
                }
                ReadOutcome::Idle => {
                    self.send_all()?;
                    self.bell.wait();
                }
            }
        }
        if self.signal.cancelled() {
            return Ok(());
        }
        self.send_all()?;
        for lane in &self.lanes {
            lane.send(Mail::End { stopped })?;
        }
        let standing = standing(&mut finished, reading.as_ref());
        self.report(Event::SourceEnded { source: self.index, standing });
        Ok(())
    }

    fn claim(&self) -> Result<Option<Reading>> {
        let Some((split, position)) = self.queue.claim() else { return Ok(None) };
        let mut reader =
            self.source.open(split, position).map_err(|e| e.context(format!("split {split}")))?;
        reader.set_wake(self.bell.notify());
        Ok(Some(Reading { split, reader }))
    }

    fn send_barrier(&self, id: CheckpointId) -> Result<()> {
        self.lanes.iter().try_for_each(|lane| lane.send(Mail::Barrier(id)))
    }

    fn send_all(&mut self) -> Result<()> {
        self.collector.close_all();
        self.send_full()
    }

    fn send_full(&mut self) -> Result<()> {
        for (target, mail) in self.collector.take_full() {
            let lane = self.lanes.get(usize::from(target));
            let lane =
                lane.ok_or_else(|| Error::internal(format!("there is no lane to subtask {target}")))?;
            lane.send(mail)?;
        }
        Ok(())
    }

    fn report(&self, event: Event) {
        // The coordinator is gone only when the job has ended: nobody wants to know any more.
        let _ = self.events.send(event);
    }
}

fn standing(finished: &mut Vec<u64>, reading: Option<&Reading>) -> Standing {
    Standing { finished: std::mem::take(finished), reading: reading.map(|r| (r.split, r.reader.position())) }
}
