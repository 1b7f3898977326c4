//! The controller: admits records, keeps them in order per key, and polls whoever can go on.
//!
//! A record is polled at once unless its key is busy. If it is ready, it has left no trace but a counter. If it is
//! not, it stays in its slot, its key becomes busy, and later records of the key wait in the slot's line. Answers from the
//! backend and wakes from elsewhere list slots as runnable; [`AsyncExecutionController::poll`] polls those, and when a
//! record ends, the next in its key's line starts in the same loop. So a line of any length takes no recursion, and
//! no step looks at more than one record. Of records with a prelude ([`alluvium_state_api::Prepared`]) the preludes of those
//! in line run ahead of their turn, in slots of their own (`preludes.rs`).
//!
//! **Invariants**: at most one record of a key has started, but for preludes, which touch nothing; as many slots are taken as
//! are counted, at most. `counted` is the records in flight, of those that wait behind
//! one key at most its share; `full` is whether that or their bytes have reached a limit, kept up wherever a record comes
//! to be in flight or ends, so that a resident record looks at one flag. `unsettled` counts the records in flight that are touched.
//!
//! **Threads**: the task thread's own; nothing here blocks.
//!
//! **Failure**: a panic of the user's code is an error that names the key group, like any other of its errors. After an
//! error the controller is only good for being dropped. That drops the futures in flight, which give their reads up.
mod epochs;
mod preludes;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use alluvium_state_api::{Codec, Error, KeyedProcess, Notify, RecordBatch, Result, TaskContext};

use crate::epoch::Epochs;
use crate::held::HeldBatches;
use crate::keys::BusyKeys;
use crate::line::Lines;
use crate::slots::Slots;
use crate::waker::WakeQueue;
use crate::{ControllerLoad, ControllerSettings, ControllerStats, NoEvent, StartRecord, start};

/// Records that the backend is told of before they run.
const PREFETCH_RECORDS: usize = 32;
/// With admission closed, a batch goes once it is this part of the reads under way.
const FLUSH_SHARE: usize = 4;

/// Runs the records of one keyed subtask through a user function, thousands of them at a time, in order per key
/// (FLIP-425). Made by [`controller()`], or with events of a type `E` between its records by [`controller_with_events()`].
pub struct AsyncExecutionController<P: KeyedProcess, S: StartRecord<P>, E = NoEvent> {
    process: Rc<P>,
    start: S,
    task: Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
    slots: Slots<S::Running, S::Firing>,
    keys: BusyKeys,
    lines: Lines,
    epochs: Epochs<E>,
    held: HeldBatches,
    wakes: Arc<WakeQueue>,
    /// Slots that were woken, between two drains of `wakes`; kept for its buffer.
    woken: Vec<u32>,
    /// Slots to poll; their stage is `Runnable`.
    runnable: Vec<u32>,
    /// The slot that was polled last, for the error of a panic.
    polled: u32,
    /// What a barrier waits for, while there is one.
    barrier: Option<Awaits>,
    unsettled: usize,
    counted: usize,
    full: bool,
    arrivals: u64,
    stats: ControllerStats,
}

/// What a barrier waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// That no record in flight has written or emitted. The others are neither started nor polled meanwhile, so the
    /// barrier waits for what is under way and never for what comes after it.
    Settled,
    /// That nothing is in flight and every event is done.
    Drained,
}

/// A controller of `process` on the backend of `task`. `notify` is rung when a future other than a state future wakes
/// its record; the backend has its own.
///
/// The settings should have been [validated](ControllerSettings::validate) at start-up.
pub fn controller<P: KeyedProcess<In: Codec>>(
    process: Rc<P>,
    task: Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
    notify: Notify,
) -> AsyncExecutionController<P, impl StartRecord<P>> {
    controller_with_events(process, task, settings, notify)
}

/// As [`controller()`], for a stream with events between its records: watermarks, control events, the end of input.
pub fn controller_with_events<P: KeyedProcess<In: Codec>, E>(
    process: Rc<P>,
    task: Rc<TaskContext<P::Out>>,
    settings: ControllerSettings,
    notify: Notify,
) -> AsyncExecutionController<P, impl StartRecord<P>, E> {
    let wakes = WakeQueue::new(notify);
    AsyncExecutionController {
        process,
        start: (start::process::<P>, start::on_timer::<P>),
        task,
        settings,
        slots: Slots::new(Arc::clone(&wakes)),
        keys: BusyKeys::default(),
        lines: Lines::default(),
        epochs: Epochs::default(),
        held: HeldBatches::default(),
        wakes,
        woken: Vec::new(),
        runnable: Vec::new(),
        polled: 0,
        barrier: None,
        unsettled: 0,
        counted: 0,
        full: false,
        arrivals: 0,
        stats: ControllerStats::default(),
    }
}

impl<P: KeyedProcess, S: StartRecord<P>, E> AsyncExecutionController<P, S, E> {
    /// Whether a record would be admitted now: no barrier and no event is in its way, neither limit is reached, and the
    /// backend takes writes (design D3). After a `false`, [`poll`](Self::poll), a done event or the bell may change that.
    pub fn admits(&self) -> bool {
        self.is_open() && self.has_room()
    }

    /// Whether records may start as far as barrier and events are concerned.
    fn is_open(&self) -> bool {
        self.barrier.is_none() && self.epochs.admit(self.settings.epoch_mode)
    }

    #[inline]
    fn has_room(&self) -> bool {
        !self.full && self.task.with_backend(|backend| backend.admits())
    }

    /// Admits the records of `batch` from index `from` on, until its end or until admission closes, and returns the
    /// index of the first that was not admitted. Submits read batches that are full, or worth it beside those under way.
    ///
    /// # Errors
    /// What the user function returned, `Internal` if it panicked, or `Corruption` if a record cannot be decoded.
    pub fn run_batch(&mut self, batch: &Rc<RecordBatch>, from: usize) -> Result<usize> {
        if !self.is_open() {
            return Ok(from);
        }
        self.run_from(batch, from, Self::admit_from)
    }

    fn run_from(
        &mut self,
        batch: &Rc<RecordBatch>,
        from: usize,
        admit: impl FnOnce(&mut Self, &Rc<RecordBatch>, &mut usize) -> Result<()>,
    ) -> Result<usize> {
        let mut next = from;
        // Once a batch and not once a record: where the loop stood says who panicked.
        catch_unwind(AssertUnwindSafe(|| admit(self, batch, &mut next))).unwrap_or_else(|payload| {
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
            if (*next - from).is_multiple_of(PREFETCH_RECORDS) {
                self.task.prefetch(batch, *next, PREFETCH_RECORDS);
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
    /// can hold a batch back for long, and with none under way any batch goes. While an event or a barrier is waited for,
    /// every batch goes: what it waits for comes one read after the other, and nobody else has anything to read.
    pub fn flush_behind(&mut self) {
        let (formed, outstanding) = (self.task.batch_len(), self.task.outstanding_reads());
        if !self.is_open() || formed * FLUSH_SHARE >= outstanding.saturating_sub(formed) {
            self.flush();
        }
    }

    /// Submits the read batch being formed, full or not (design D16). To be called before the task waits for anything
    /// but answers: a record in flight may stand on a read in that batch.
    pub fn flush(&mut self) {
        let batch = self.task.take_batch();
        if !batch.is_empty() {
            self.stats.submitted(batch.len());
            self.task.with_backend(|backend| backend.submit(batch));
        }
    }

    /// Records and timers in flight: suspended, or waiting behind their key.
    pub fn in_flight(&self) -> usize {
        self.slots.busy() + self.lines.len()
    }

    /// Records in flight that have written or emitted. A checkpoint can keep none of those as an input.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// What is in flight now.
    pub fn load(&self) -> ControllerLoad {
        ControllerLoad {
            active: self.slots.busy(),
            blocked: self.lines.len(),
            blocked_keys: self.lines.occupied(),
            preludes: self.slots.ahead(),
            bytes: self.bytes(),
            pending_events: self.pending_events(),
        }
    }

    fn bytes(&self) -> usize {
        let (slots, places) = (self.slots.taken(), self.lines.len());
        self.held.bytes() + slots * Slots::<S::Running, S::Firing>::SLOT_BYTES + places * Lines::PLACE_BYTES
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
