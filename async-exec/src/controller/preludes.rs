//! Preludes ahead of their turn: of records that wait in the line of their key (`docs/rfcs/0005-first-state-order.md`).
//!
//! A record whose key is not busy runs in one go, prelude and all. One that has to wait gets a slot as soon as it waits, in
//! which its prelude is polled; it suspends where that ends. When its turn comes, that slot becomes its key's, and the record goes
//! on from there.
//!
//! **Invariants**: behind a key the first records of the line have begun their preludes, as many as count of them for the limit
//! of records in flight ([`KEY_SHARE`](crate::ControllerSettings::KEY_SHARE)); so there are no more slots than records that count,
//! and a hot key has its share of them. Those behind begin one by one, as the line moves. A prelude has no way to write or emit,
//! so its record is clean: a barrier neither polls it nor waits for it, and keeps the record.
//!
//! Functions without preludes never come here: [`KeyedProcess::PRELUDE`] is known when they are compiled.
use alluvium_state_api::{KeyedProcess, Result};

use super::AsyncExecutionController;
use super::run::poll_future;
use crate::StartRecord;
use crate::line::{NO_SLOT, Ticket};
use crate::slots::{Slot, Stage};

impl<P: KeyedProcess, S: StartRecord<P>, E> AsyncExecutionController<P, S, E> {
    /// Begins preludes in the line of a key, as far as its share goes.
    pub(super) fn begin_preludes(&mut self, key: u32) -> Result<()> {
        loop {
            let busy = self.slots.get(key).busy;
            if busy.line.begun() >= self.settings.max_counted_of_key() {
                return Ok(());
            }
            let Some(ticket) = self.lines.next_unbegun(busy.line) else { return Ok(()) };
            let slot = self.slots.take_ahead(ticket, busy.hash);
            self.lines.begin_next(&mut self.slots.get(key).busy.line, slot);
            self.stats.begun_ahead += 1;
            self.polled = slot;
            self.restart(slot)?;
            self.run_prelude(slot)?;
        }
    }

    /// Polls the prelude in a slot.
    ///
    /// # Panics
    /// If the record ends before its turn; [`Prepared`](alluvium_state_api::Prepared) waits for that.
    pub(super) fn run_prelude(&mut self, slot: u32) -> Result<()> {
        self.polled = slot;
        let Slot { future, waker, busy, .. } = self.slots.get(slot);
        let (polled, is_prepared) = self.task.ahead_of_turn(|| poll_future(&self.task, waker, future));
        assert!(polled?.is_pending(), "a record has ended before its turn");
        busy.stage = if is_prepared { Stage::Prepared } else { Stage::Suspended };
        Ok(())
    }

    /// A record's turn has come, behind the one that has ended in `slot`. The slot in which it is to be polled now; none if its
    /// prelude is still being waited for.
    pub(super) fn take_turn(&mut self, slot: u32, next: Ticket) -> Result<Option<u32>> {
        let own = next.prelude;
        let turn = if own == NO_SLOT { slot } else { own };
        let mut is_ready = true;
        if own != NO_SLOT {
            self.slots.hand_over(slot, own);
            let busy = &mut self.slots.get(own).busy;
            is_ready = busy.stage == Stage::Prepared;
            if is_ready {
                busy.stage = Stage::Runnable;
            } else {
                // Suspended, or listed already: whoever woke it has it polled.
                self.stats.suspended += 1;
            }
            let hash = busy.hash;
            self.keys.occupy(hash, own);
        }
        if !self.settles() {
            self.begin_preludes(turn)?;
        }
        self.account();
        Ok(is_ready.then_some(turn))
    }
}
