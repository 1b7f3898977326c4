//! The timers of one subtask and time domain: what is due, in the order of time.
//!
//! Key groups are listed by the moment before which none of their timers is due; one that waits for a page is not listed
//! until that is there, and holds up nobody else. So timers of one key group, and with that of one key, come in the order of
//! their times; those of different key groups do as far as memory knows them.
//!
//! A timer that was taken is still in state until it does something: a checkpoint holds it, and its key's earlier records may
//! delete it.
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Wake, Waker};

use alluvium_env::{Error, Result};

use super::head::{Floor, Head};
use super::key::{KeyLength, within};
use super::{TimeDomain, TimerKey, TimerLimits, Timestamp};
use crate::{
    Codec, KeyGroup, KeyGroupRange, Page, PageRequest, RecordBatchBuilder, StateFuture, StateId, key_hash,
    state_key,
};

/// Who reads pages.
pub(crate) type ReadPage<'a> = dyn Fn(PageRequest<'_>) -> StateFuture<Vec<u8>> + 'a;

/// Set by the answer to a page.
#[derive(Debug, Default)]
struct Answered(AtomicBool);

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// See the module.
pub(crate) struct TimerQueue {
    domain: TimeDomain,
    state: StateId,
    limits: TimerLimits,
    first_group: u16,
    /// One a key group.
    heads: Vec<Head>,
    /// Key groups by the moment before which none of their timers is due.
    listed: BTreeSet<(Timestamp, KeyGroup)>,
    reading: Vec<(KeyGroup, StateFuture<Vec<u8>>)>,
    answered: Arc<Answered>,
}

impl TimerQueue {
    /// The timers of these key groups, which nobody has looked at yet.
    pub(crate) fn new(
        domain: TimeDomain,
        state: StateId,
        key_groups: KeyGroupRange,
        limits: TimerLimits,
    ) -> Self {
        let groups = key_groups.start..key_groups.end;
        let mut queue = Self {
            domain,
            state,
            limits,
            first_group: key_groups.start,
            heads: groups.clone().map(|_| Head::new(Floor::Bottom)).collect(),
            listed: BTreeSet::new(),
            reading: Vec::new(),
            answered: Arc::default(),
        };
        groups.for_each(|group| queue.list(KeyGroup(group)));
        queue
    }

    /// By which time they fire.
    pub(crate) fn domain(&self) -> TimeDomain {
        self.domain
    }

    /// The state in which they are.
    pub(crate) fn state(&self) -> StateId {
        self.state
    }

    /// Timers in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.heads.iter().map(Head::len).sum()
    }

    /// The moment before which no timer is due; `None` if there are none, or the next ones are being read.
    pub(crate) fn not_before(&self) -> Option<Timestamp> {
        // What a page that has arrived says is known once it is taken.
        if self.answered.0.load(Ordering::Acquire) {
            return Some(Timestamp::MIN);
        }
        self.listed.first().map(|(time, _)| *time)
    }

    fn head(&mut self, group: KeyGroup) -> Option<&mut Head> {
        self.heads.get_mut(usize::from(group.0.checked_sub(self.first_group)?))
    }

    /// Lists a key group under the moment that holds now.
    fn list(&mut self, group: KeyGroup) {
        let Some(head) = self.head(group) else { return };
        let now = if head.waits() { None } else { head.not_before() };
        let before = std::mem::replace(&mut head.listed, now);
        if now != before {
            if let Some(before) = before {
                self.listed.remove(&(before, group));
            }
            self.listed.extend(now.map(|now| (now, group)));
        }
    }

    /// A timer, [within] its state key, is in state now.
    pub(crate) fn registered(&mut self, group: KeyGroup, timer: &[u8], key_len: u32) {
        let limits = self.limits;
        if let Some(head) = self.head(group) {
            head.register(timer, key_len, limits);
            self.list(group);
        }
    }

    /// A timer is not in state any more.
    pub(crate) fn deleted(&mut self, group: KeyGroup, timer: &[u8]) {
        let limits = self.limits;
        if let Some(head) = self.head(group) {
            head.delete(timer, limits);
            self.list(group);
        }
    }

    /// Whether a timer that was taken is to run: it was not deleted since.
    pub(crate) fn is_taken(&self, group: KeyGroup, timer: &[u8]) -> bool {
        let head = group.0.checked_sub(self.first_group).and_then(|at| self.heads.get(usize::from(at)));
        head.is_some_and(|head| head.is_taken(timer))
    }

    /// Takes timers that are due until `batch` has `most`, and asks for those that memory does not know. Returns whether
    /// others are due, or may be.
    ///
    /// # Errors
    /// The backend's.
    pub(crate) fn take_due(
        &mut self,
        until: Timestamp,
        most: usize,
        batch: &mut RecordBatchBuilder,
        read: &ReadPage<'_>,
    ) -> Result<bool> {
        self.take_pages()?;
        let mut value = Vec::new();
        while let Some((_, group)) = self.listed.first().copied().filter(|(time, _)| *time <= until) {
            if batch.len() >= most {
                return Ok(true);
            }
            self.refill(group, until, read)?;
            if let Some((timer, key_len)) = self.head(group).and_then(|head| head.take(until)) {
                value.clear();
                let key = timer.to_record(self.domain, key_len, &mut value)?;
                batch.push_in_group(group, key_hash(key), key, &value);
            }
            self.list(group);
        }
        Ok(!self.reading.is_empty())
    }

    /// Asks for a page of a key group if one is wanted.
    fn refill(&mut self, group: KeyGroup, until: Timestamp, read: &ReadPage<'_>) -> Result<()> {
        let (limits, state) = (self.limits, self.state);
        let Some(head) = self.head(group).filter(|head| head.wants_page(until, limits)) else {
            return Ok(());
        };
        let (mut prefix, mut after) = (Vec::new(), None);
        state_key::append(&mut prefix, group, state, &[]);
        if let Some(floor) = head.ask() {
            after = Some([&prefix, floor.as_bytes()].concat());
        }
        let mut page = read(PageRequest { prefix: &prefix, after: after.as_deref(), limit: limits.page });
        match self.poll_page(&mut page) {
            Poll::Ready(page) => self.answer(group, &page?),
            Poll::Pending => {
                self.reading.push((group, page));
                Ok(())
            }
        }
    }

    /// Asks for a page, and to be told when it is there.
    fn poll_page(&self, page: &mut StateFuture<Vec<u8>>) -> Poll<Result<Vec<u8>>> {
        let waker = Waker::from(Arc::clone(&self.answered));
        Pin::new(page).poll(&mut std::task::Context::from_waker(&waker))
    }

    /// Takes the pages that have arrived.
    fn take_pages(&mut self) -> Result<()> {
        if !self.answered.0.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        for (group, mut page) in std::mem::take(&mut self.reading) {
            match self.poll_page(&mut page) {
                Poll::Ready(page) => self.answer(group, &page?)?,
                Poll::Pending => self.reading.push((group, page)),
            }
        }
        Ok(())
    }

    fn answer(&mut self, group: KeyGroup, page: &[u8]) -> Result<()> {
        let mut page = Page::decode(page)?;
        let (more, mut timers) = (page.more(), Vec::new());
        while let Some((key, value)) = page.next_entry()? {
            timers.push((TimerKey::new(within(key)?), KeyLength::decode(value)?.0));
        }
        let limits = self.limits;
        let head = self.head(group);
        let head = head.ok_or_else(|| Error::internal("a page of a key group that is another subtask's"))?;
        head.answer(timers, more, limits);
        self.list(group);
        Ok(())
    }
}
