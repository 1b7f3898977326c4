//! When a store looks for what has expired, written to or not.
//!
//! Tables are looked at once after each change of the version, and again when the next of them will have expired: an alarm
//! on the I/O runtime rings the bell for that, and is the only thing that happens in an idle store. It makes no request.
//!
//! A memtable that nobody writes to would keep its entries, and the deltas that checkpoints know it by, for good; so one
//! that has not been written to for the longest life of any entry is flushed, and its flush drops them.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alluvium_env::IoRuntime;
use tokio::task::JoinHandle;

use super::Store;
use super::inbox::Inbox;
use crate::compaction::{Action, Aging, Compaction, collect_garbage, pick};
use crate::expiry::Moment;
use crate::merge::MergeOperators;
use crate::version::VersionEdit;

/// The longest an alarm sleeps: the wall clock may be set while it does.
const LONGEST_SLEEP_MILLIS: u64 = 3_600_000;

/// What a store remembers of time.
#[derive(Default)]
pub(super) struct Expiring {
    /// When to look at the tables again; `None` for never.
    due_millis: Option<u64>,
    /// The store's count of writes when it was polled last, and since when it has been that.
    writes: u64,
    written_millis: u64,
    alarm: Alarm,
}

impl Expiring {
    /// The version has changed, or what is known of lifetimes.
    pub(super) fn look_again(&mut self) {
        self.due_millis = Some(0);
    }

    fn is_due(&self, now_millis: u64) -> bool {
        self.due_millis.is_some_and(|due| due <= now_millis)
    }
}

/// Rings a bell.
#[derive(Default)]
struct Alarm {
    at_millis: u64,
    timer: Option<JoinHandle<()>>,
    /// Whether the timer has run out: told before the bell rings, so that whoever hears it can set the next one.
    rang: Arc<AtomicBool>,
}

impl Alarm {
    /// Rings at a time, or before.
    fn set(&mut self, at_millis: u64, now_millis: u64, io: &IoRuntime, inbox: &Arc<Inbox>) {
        let is_set = self.timer.is_some() && !self.rang.load(Ordering::Acquire);
        if is_set && self.at_millis <= at_millis {
            return;
        }
        self.stop();
        let sleep = at_millis.saturating_sub(now_millis).clamp(1, LONGEST_SLEEP_MILLIS);
        let (inbox, rang) = (Arc::clone(inbox), Arc::default());
        self.rang = Arc::clone(&rang);
        self.at_millis = at_millis;
        self.timer = Some(io.spawn(async move {
            tokio::time::sleep(Duration::from_millis(sleep)).await;
            rang.store(true, Ordering::Release);
            inbox.ring();
        }));
    }

    fn stop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    /// The most urgent compaction, if any is due: what costs nothing first.
    pub(super) fn next_compaction(&self, aging: Option<&Aging<'_>>) -> Option<Compaction> {
        let due = aging.filter(|aging| self.expiring.is_due(aging.now_millis));
        let may_be_due = self.jobs.may_be_due();
        if due.is_none() && !may_be_due {
            return None;
        }
        let targets = self.level_targets();
        due.and_then(|aging| aging.drop_expired(&self.version))
            .or_else(|| may_be_due.then(|| pick(&self.version, targets)).flatten())
            .or_else(|| due.and_then(|aging| aging.rewrite_expired(&self.version, targets)))
            .or_else(|| {
                let percent = self.settings.value_garbage_percent;
                may_be_due.then(|| collect_garbage(&self.version, targets, percent)).flatten()
            })
    }

    /// Moves or drops references, which needs no job; hands back what does.
    pub(super) fn apply_at_once(&mut self, compaction: Compaction) -> Option<Compaction> {
        let mut edit = VersionEdit::default();
        match compaction.action {
            Action::Merge => return Some(compaction),
            Action::Move => {
                let target = compaction.target;
                edit.added = compaction.inputs().map(|file| (target, Arc::clone(file))).collect();
            }
            Action::Drop => {}
        }
        edit.removed = compaction.inputs().cloned().collect();
        self.edit_version(edit);
        self.forget_inputs(&compaction);
        self.counters.compactions += 1;
        None
    }

    /// The store's expiry now, if any of its entries expire.
    pub(super) fn aging<'a>(&self, operators: &'a dyn MergeOperators) -> Option<Aging<'a>> {
        let expiry = operators.expiry()?;
        let now_millis = expiry.now_millis();
        let memtables_since_millis = match self.frozen.first() {
            Some(oldest) => oldest.since_millis,
            None if self.active.is_empty() => now_millis,
            None => self.active_since_millis,
        };
        Some(Aging { expiry, now_millis, memtables_since_millis })
    }

    /// When the entries of the oldest frozen memtable are judged: operands in younger ones were made after it was full.
    pub(super) fn flush_moment(&self) -> Option<Moment> {
        let now_millis = self.operators.expiry()?.now_millis();
        let horizon_millis = self.frozen.get(1).map_or(self.active_since_millis, |next| next.since_millis);
        Some(Moment { now_millis, horizon_millis })
    }

    /// Flushes a memtable that has been left alone for long, and sets the alarm. To be called when nothing else is due.
    pub(super) fn watch_expiry(&mut self) {
        let operators = Arc::clone(&self.operators);
        let Some(aging) = self.aging(operators.as_ref()) else { return };
        let (now, since) = (aging.now_millis, self.since_millis(aging.now_millis));
        let expiring = &mut self.expiring;
        if expiring.is_due(now) && !self.jobs.compacting {
            expiring.due_millis = aging.next_millis(&self.version);
        }
        if expiring.writes != self.writes || self.active.is_empty() {
            expiring.writes = self.writes;
            expiring.written_millis = now;
        }
        if self.active.is_empty() {
            self.active_since_millis = since;
        }
        let mut at = expiring.due_millis.filter(|due| *due > now);
        if !self.active.is_empty() {
            let idle_until = expiring.written_millis.saturating_add(aging.expiry.longest_millis());
            if idle_until > now {
                at = Some(at.map_or(idle_until, |at| at.min(idle_until)));
            } else if self.frozen.is_empty() {
                self.rotate();
                return;
            }
        }
        if let Some(at) = at {
            self.expiring.alarm.set(at, now, self.fetcher.io(), &self.inbox);
        }
    }
}
