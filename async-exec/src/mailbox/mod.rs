//! The mailbox: how other threads reach a task thread, and the only thing it ever waits on (FLIP-425).
//!
//! Every channel has a lane of its own, first in, first out, of bounded length: a full lane blocks its sender, which
//! is the back-pressure between threads. A lane whose barrier has arrived is blocked by the receiver, so that alignment
//! holds back one sender and not the others. The bell wakes the task for what is not a mail: answers of the backend,
//! woken futures, ended lanes.
//!
//! **Invariants**: the bell stays rung until a wait has returned for it, so a ring between a poll and the wait after
//! it is not lost. Mails of one channel are taken in the order they were sent.
//!
//! **Threads**: one lock, held for a few instructions; a mail is a batch of records, so it is taken a thousand times
//! less often than a record is run. A sender that found its lane full is woken when half of it is free, not at every
//! mail, to let both threads run for a while.
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_state_api::Notify;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// What the receiver sleeps for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parked {
    No,
    ForMail,
    ForBell,
}

struct Lane<M> {
    mails: VecDeque<M>,
    /// Taken from only once the receiver unblocks it.
    blocked: bool,
    /// The sender is gone.
    ended: bool,
    /// The sender waits for space.
    full: bool,
}

struct State<M> {
    lanes: Vec<Lane<M>>,
    rung: bool,
    closed: bool,
    parked: Parked,
}

impl<M> State<M> {
    fn ready(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.blocked && !lane.mails.is_empty())
    }
}

struct Shared<M> {
    state: Mutex<State<M>>,
    capacity: usize,
    receiver: Condvar,
    /// One a lane.
    senders: Vec<Condvar>,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, mut state: MutexGuard<'_, State<M>>) {
        state.rung = true;
        let sleeps = state.parked != Parked::No;
        drop(state);
        if sleeps {
            self.receiver.notify_one();
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let lanes: Vec<_> = state.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.mails)).collect();
        self.ring(state);
        self.senders.iter().for_each(Condvar::notify_one);
        // Mails may do anything when they are dropped, and do it here without the lock.
        drop(lanes);
    }
}

fn closed() -> Error {
    Error::closed("the mailbox of a task was closed")
}

/// A mailbox of `channels` lanes of `capacity` mails each; at least one fits.
pub fn mailbox<M: Send + 'static>(
    channels: usize,
    capacity: usize,
) -> (Vec<MailboxSender<M>>, MailboxReceiver<M>) {
    let lane = || Lane { mails: VecDeque::new(), blocked: false, ended: false, full: false };
    let lanes = (0..channels).map(|_| lane()).collect();
    let shared = Arc::new(Shared {
        state: Mutex::new(State { lanes, rung: false, closed: false, parked: Parked::No }),
        capacity: capacity.max(1),
        receiver: Condvar::new(),
        senders: (0..channels).map(|_| Condvar::new()).collect(),
    });
    let sender = |channel| MailboxSender { shared: Arc::clone(&shared), channel };
    ((0..channels).map(sender).collect(), MailboxReceiver { shared, next: 0, at_most: None })
}

/// The sending end of one channel. Dropping it ends its lane.
pub struct MailboxSender<M> {
    shared: Arc<Shared<M>>,
    channel: usize,
}

impl<M> MailboxSender<M> {
    /// Sends a mail; blocks while the lane is full.
    ///
    /// # Errors
    /// `Closed` once the mailbox was closed or its receiver is gone.
    pub fn send(&self, mail: M) -> Result<()> {
        let Shared { capacity, senders, receiver, .. } = &*self.shared;
        let mut state = self.shared.lock();
        loop {
            let sleeps = state.parked == Parked::ForMail;
            let is_closed = state.closed;
            let (Some(lane), false) = (state.lanes.get_mut(self.channel), is_closed) else {
                return Err(closed());
            };
            if lane.mails.len() < *capacity {
                lane.mails.push_back(mail);
                let wakes = sleeps && !lane.blocked;
                drop(state);
                if wakes {
                    receiver.notify_one();
                }
                return Ok(());
            }
            lane.full = true;
            let Some(space) = senders.get(self.channel) else { return Err(closed()) };
            state = space.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<M> Drop for MailboxSender<M> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(lane) = state.lanes.get_mut(self.channel) {
            lane.ended = true;
        }
        self.shared.ring(state);
    }
}

/// The task thread's end. Dropping it closes the mailbox.
pub struct MailboxReceiver<M> {
    shared: Arc<Shared<M>>,
    /// The lane to look at first: the one after the lane that was taken from last.
    next: usize,
    /// How long the next wait lasts.
    at_most: Option<Duration>,
}

impl<M: Send + 'static> MailboxReceiver<M> {
    /// The next mail and its channel, if there is one: round robin over the lanes that are not blocked.
    pub fn take(&mut self) -> Option<(usize, M)> {
        let mut state = self.shared.lock();
        let channels = state.lanes.len();
        for step in 0..channels {
            let channel = (self.next + step) % channels;
            let Some(lane) = state.lanes.get_mut(channel).filter(|lane| !lane.blocked) else { continue };
            let Some(mail) = lane.mails.pop_front() else { continue };
            let wakes = lane.full && lane.mails.len() <= self.shared.capacity / 2;
            lane.full &= !wakes;
            drop(state);
            if wakes && let Some(sender) = self.shared.senders.get(channel) {
                sender.notify_one();
            }
            self.next = channel + 1;
            return Some((channel, mail));
        }
        None
    }

    /// Takes no mail of this channel until [`unblock_all`](Self::unblock_all).
    pub fn block(&mut self, channel: usize) {
        if let Some(lane) = self.shared.lock().lanes.get_mut(channel) {
            lane.blocked = true;
        }
    }

    /// Takes mails of every channel again.
    pub fn unblock_all(&mut self) {
        for lane in &mut self.shared.lock().lanes {
            lane.blocked = false;
        }
    }

    /// Whether the channel's sender is gone and everything it sent was taken.
    pub fn ended(&self, channel: usize) -> bool {
        self.shared.lock().lanes.get(channel).is_none_or(|lane| lane.ended && lane.mails.is_empty())
    }

    /// Sleeps until there is a mail to take, or the bell was rung since the last wait returned for it. An ending lane
    /// rings the bell.
    ///
    /// # Errors
    /// `Closed` once the mailbox was closed.
    pub fn wait(&mut self) -> Result<()> {
        self.park(Parked::ForMail)
    }

    /// Sleeps until the bell was rung since the last wait returned for it: for a task that admits nothing.
    ///
    /// # Errors
    /// `Closed` once the mailbox was closed.
    pub fn wait_for_bell(&mut self) -> Result<()> {
        self.park(Parked::ForBell)
    }

    /// The next wait returns after this long, if nothing ends it before: for what is due at some time.
    pub fn wait_at_most(&mut self, long: Option<Duration>) {
        self.at_most = long;
    }

    fn park(&mut self, parked: Parked) -> Result<()> {
        let mut at_most = self.at_most.take();
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return Err(closed());
            }
            if std::mem::take(&mut state.rung) || (parked == Parked::ForMail && state.ready()) {
                return Ok(());
            }
            if at_most == Some(Duration::ZERO) {
                return Ok(());
            }
            state.parked = parked;
            let bell = &self.shared.receiver;
            state = match at_most {
                None => bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(long) => {
                    let waited = bell.wait_timeout(state, long).unwrap_or_else(PoisonError::into_inner);
                    // Woken before for nothing, it is early: whoever waits looks at the time anyway.
                    at_most = Some(Duration::ZERO);
                    waited.0
                }
            };
            state.parked = Parked::No;
        }
    }

    /// Rings the bell, from any thread and at any time.
    pub fn bell(&self) -> Notify {
        let shared = Arc::downgrade(&self.shared);
        Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.ring(shared.lock());
            }
        })
    }

    /// Closes the mailbox from outside.
    pub fn closer(&self) -> MailboxCloser {
        let shared = Arc::downgrade(&self.shared);
        MailboxCloser(Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.close();
            }
        }))
    }
}

impl<M> Drop for MailboxReceiver<M> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Closes a mailbox from any thread: its mails are dropped, and both ends get `Closed`.
#[derive(Clone)]
pub struct MailboxCloser(Notify);

impl MailboxCloser {
    /// Closes it; once is enough.
    pub fn close(&self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests;
