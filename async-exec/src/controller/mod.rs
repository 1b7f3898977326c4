//! The controller: admits records, keeps them in order per key, and polls whoever can go on.
//!
//! A record is polled at once unless its key is busy. If it is ready, it has left no trace but a counter. If it is
//! not, it stays in its slot, its key becomes busy, and later records of the key queue behind it. Answers from the
//! backend and wakes from elsewhere list slots as runnable; [`AsyncExecutionController::poll`] polls those, and when a
//! record ends, the next in its key's line starts in the same loop. So a line of any length takes no recursion, and
//! no step looks at more than one record.
//!
//! **Invariants**: at most one record of a key has started. `unsettled` counts the records in flight that are touched.
//!
//! **Threads**: the task thread's own; nothing here blocks.
//!
//! **Failure**: a panic of the user's code is an error that names the key group, like any other of its errors. After an
//! error the controller is only good for being dropped. That drops the futures in flight, which give their reads up.
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use alluvium_state_api::{Error, KeyedProcess, Notify, RecordBatch, Result, TaskContext};

use crate::held::HeldBatches;
use crate::keys::BusyKeys;
use crate::slots::Slots;
use crate::waker::WakeQueue;
use crate::{ControllerSettings, ControllerStats, EpochEnd, StartRecord, start};

/// Records that the backend is told of before they run.
const WARM_RECORDS: usize = 32;
/// With admission closed, a batch goes once it is this part of the reads under way.
const FLUSH_SHARE: usize = 4;

/// Runs the records of one keyed subtask through a user function, thousands of them at a time, in order per key
/// (FLIP-425). Made by [`controller()`].
pub struct AsyncExecutionController<P: KeyedProcess, S: StartRecord<P>> {
    process: Rc<P>,
    start: S,
    task: Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
    slots: Slots<S::Running>,
    keys: BusyKeys,
    held: HeldBatches,
    wakes: Arc<WakeQueue>,
    /// Slots that were woken, between two drains of `wakes`; kept for its buffer.
    woken: Vec<u32>,
    /// Slots to poll; their stage is `Runnable`.
    runnable: Vec<u32>,
    /// The slot that was polled last, for the error of a panic.
    polled: u32,
    /// How the epoch is to end, while it is closed.
    closed: Option<EpochEnd>,
    unsettled: usize,
    arrivals: u64,
    stats: ControllerStats,
}

/// A controller of `process` on the backend of `task`. `notify` is rung when a future other than a state future wakes
/// its record; the backend has its own.
///
/// The settings should have been [validated](ControllerSettings::validate) at start-up.
pub fn controller<P: KeyedProcess>(
    process: Rc<P>,
    task: Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
    notify: Notify,
) -> AsyncExecutionController<P, impl StartRecord<P>> {
    let wakes = WakeQueue::new(notify);
    AsyncExecutionController {
        process,
        start: start::process::<P>,
        task,
        settings,
        slots: Slots::new(Arc::clone(&wakes)),
        keys: BusyKeys::default(),
        held: HeldBatches::default(),
        wakes,
        woken: Vec::new(),
        runnable: Vec::new(),
        polled: 0,
        closed: None,
        unsettled: 0,
        arrivals: 0,
        stats: ControllerStats::default(),
    }
}

impl<P: KeyedProcess, S: StartRecord<P>> AsyncExecutionController<P, S> {
    /// Whether a record would be admitted now: the epoch is open, neither limit is reached, and the backend takes
    /// writes (design D3). After a `false`, [`poll`](Self::poll) or the bell may change that.
    pub fn admits(&self) -> bool {
        self.closed.is_none() && self.held.len() < self.settings.max_held_batches && self.has_room()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.slots.in_flight() < self.settings.max_in_flight
            && self.task.with_backend(|backend| backend.admits())
    }

    /// Admits the records of `batch` from index `from` on, until its end or until admission closes, and returns the
    /// index of the first that was not admitted. Submits read batches that are full, or worth it beside those under way.
    ///
    /// # Errors
    /// What the user function returned, `Internal` if it panicked, or `Corruption` if a record cannot be decoded.
    pub fn run_batch(&mut self, batch: &Rc<RecordBatch>, from: usize) -> Result<usize> {
        let pinnable = self.held.len() < self.settings.max_held_batches || self.held.holds(batch);
        if self.closed.is_some() || !pinnable {
            return Ok(from);
        }
        let mut next = from;
        // Once a batch and not once a record: where the loop stood says who panicked.
        catch_unwind(AssertUnwindSafe(|| self.admit_from(batch, &mut next))).unwrap_or_else(|payload| {
            let group = batch.get(next).map_or(0, |record| record.group.0);
            Err(Error::of_panic(payload.as_ref()).context(format!("key group {group}")))
        })?;
        // A mailbox that never empties must not hold back the few reads that are not resident.
        self.flush_behind();
        Ok(next)
    }

    /// Admits records from index `next` on, which moves with them.
    fn admit_from(&mut self, batch: &Rc<RecordBatch>, next: &mut usize) -> Result<()> {
        let from = *next;
        while let Some(record) = batch.get(*next) {
            if !self.has_room() {
                break;
            }
            if (*next - from).is_multiple_of(WARM_RECORDS) {
                self.task.warm(batch, *next, WARM_RECORDS);
            }
            self.admit(batch, *next as u32, record)?;
            *next += 1;
        }
        Ok(())
    }

    /// Takes what the backend has answered and what was woken, and polls every record that can go on. Submits read
    /// batches that are full.
    ///
    /// # Errors
    /// What the user function returned, `Internal` if it panicked, or what the backend cannot survive.
    pub fn poll(&mut self) -> Result<()> {
        self.list_runnable()?;
        catch_unwind(AssertUnwindSafe(|| self.run()))
            .unwrap_or_else(|payload| Err(Error::of_panic(payload.as_ref()).context(self.place(self.polled))))
    }

    /// Submits the read batch being formed if it is worth a submission beside what the store is busy with. To be called
    /// before a task waits for *answers*, with admission closed: answers that arrive one table at a time would
    /// otherwise each be followed by a batch as small. The threshold falls with the reads under way, so no straggler
    /// can hold a batch back for long, and with none under way any batch goes.
    pub fn flush_behind(&mut self) {
        let (formed, outstanding) = (self.task.batch_len(), self.task.outstanding_reads());
        if formed * FLUSH_SHARE >= outstanding.saturating_sub(formed) {
            self.flush();
        }
    }

    /// Submits the read batch being formed, full or not (design D16). To be called before the task waits for anything
    /// but answers: a record in flight may stand on a read in that batch.
    pub fn flush(&mut self) {
        let batch = self.task.take_batch();
        if !batch.is_empty() {
            self.stats.batches += 1;
            self.stats.reads += batch.len() as u64;
            self.task.with_backend(|backend| backend.submit(batch));
        }
    }

    /// Records in flight: suspended, or queued behind their key.
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Records in flight that have written or emitted. A checkpoint can keep none of those as an input.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Closes the epoch: nothing is admitted until [`open_epoch`](Self::open_epoch). The task goes on polling and
    /// flushing until [`epoch_ended`](Self::epoch_ended).
    pub fn close_epoch(&mut self, end: EpochEnd) {
        self.closed = Some(end);
    }

    /// Whether the epoch is closed and has ended.
    pub fn epoch_ended(&self) -> bool {
        match self.closed {
            None => false,
            Some(EpochEnd::Settled) => self.unsettled == 0,
            Some(EpochEnd::Drained) => self.in_flight() == 0,
        }
    }

    /// Opens the next epoch. Records that were kept from running are polled by the next [`poll`](Self::poll), for
    /// which the bell is rung.
    pub fn open_epoch(&mut self) {
        self.closed = None;
        if !self.runnable.is_empty() {
            self.wakes.ring();
        }
    }

    /// Appends every record in flight to `out` as [`RecordRef::write_to`](alluvium_state_api::RecordRef::write_to)
    /// does, in arrival order, and returns how many
    /// there are: the inputs that a checkpoint must keep.
    ///
    /// # Panics
    /// If a record in flight has written or emitted: running it again after a restore would do that twice.
    pub fn keep_inputs(&self, out: &mut Vec<u8>) -> usize {
        assert_eq!(self.unsettled, 0, "inputs are kept only once the epoch has settled");
        let mut records: Vec<_> = self.slots.records().map(|(_, record)| record).collect();
        records.sort_unstable_by_key(|record| record.arrival);
        for record in &records {
            let batch = self.held.get(record.held);
            if let Some(record) = batch.and_then(|batch| batch.get(record.index as usize)) {
                record.write_to(out);
            }
        }
        records.len()
    }

    /// What has been counted so far.
    pub fn stats(&self) -> ControllerStats {
        self.stats
    }

    /// The task the records run in.
    pub fn task(&self) -> &Rc<TaskContext<P::Out>> {
        &self.task
    }
}
