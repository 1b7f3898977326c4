//! The hand-off between threads, source for source as the controller has it, on the locks of a scheduler that chooses
//! which thread goes on at every one of them. A wake that is lost is a deadlock there, which the scheduler reports with
//! the schedule that led to it.
#![allow(dead_code, unreachable_pub, reason = "a part of what async-exec has is used")]
#[path = "../../src/mailbox/mod.rs"]
mod mailbox;
mod sync;
#[path = "../../src/waker.rs"]
mod waker;

use std::sync::Arc;
use std::task::Waker;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use mailbox::mailbox;
use waker::{SlotWaker, WakeQueue};

/// Senders that find their lanes full and a receiver that finds them empty block each other: every mail arrives, in the
/// order of its lane, and then the ends do.
pub fn every_mail_arrives_in_order() {
    const MAILS: usize = 3;
    let (senders, mut receiver) = mailbox(2, 1);
    let threads: Vec<_> = senders
        .into_iter()
        .map(|sender| {
            thread::spawn(move || (0..MAILS).for_each(|mail| assert!(sender.send(mail).is_ok(), "closed")))
        })
        .collect();
    let mut taken = [0; 2];
    while !(0..2).all(|lane| receiver.ended(lane)) {
        match receiver.take() {
            Some((lane, mail)) => {
                assert_eq!(Some(&mail), taken.get(lane), "out of order");
                taken.iter_mut().skip(lane).take(1).for_each(|next| *next += 1);
            }
            None => assert!(receiver.wait().is_ok(), "closed"),
        }
    }
    assert_eq!(taken, [MAILS; 2]);
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}

/// A barrier blocks one lane and not the other; what came meanwhile is taken once it is unblocked.
pub fn a_blocked_lane_is_taken_from_later() {
    let (mut senders, mut receiver) = mailbox(2, 2);
    receiver.block(0);
    let behind = senders.remove(0);
    let other = senders.remove(0);
    let threads = [
        thread::spawn(move || assert!(behind.send(7).is_ok())),
        thread::spawn(move || assert!(other.send(8).is_ok())),
    ];
    let next = |receiver: &mut mailbox::MailboxReceiver<i32>| loop {
        if let Some(mail) = receiver.take() {
            return mail;
        }
        assert!(receiver.wait().is_ok());
    };
    assert_eq!(next(&mut receiver), (1, 8));
    receiver.unblock_all();
    assert_eq!(next(&mut receiver), (0, 7));
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}

/// Whoever closes the mailbox wakes both ends, wherever they are.
pub fn a_close_reaches_both_ends() {
    let (mut senders, mut receiver) = mailbox(1, 1);
    let (sender, closer) = (senders.remove(0), receiver.closer());
    let threads = [
        // More than fit, so that it is closed on wherever it waits.
        thread::spawn(move || (0..4).take_while(|_| sender.send(()).is_ok()).for_each(drop)),
        thread::spawn(move || closer.close()),
    ];
    while receiver.wait().is_ok() {
        receiver.take();
    }
    assert!(receiver.take().is_none(), "mails are dropped");
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}

/// Threads finish what records wait for and wake them, as a task sleeps, polls and sleeps again: the last poll of each
/// record sees everything. The task's side is what the controller does in `poll`.
pub fn no_wake_is_lost() {
    const WAKES: usize = 2;
    let (_senders, mut receiver) = mailbox::<()>(1, 1);
    let queue = WakeQueue::new(receiver.bell());
    let slots: Vec<_> =
        (0..2).map(|slot| (SlotWaker::new(slot, &queue), Arc::new(AtomicUsize::new(0)))).collect();
    let mut threads = Vec::new();
    for (slot, finished) in &slots {
        for _ in 0..WAKES {
            let (waker, finished) = (Waker::from(Arc::clone(slot)), Arc::clone(finished));
            threads.push(thread::spawn(move || {
                finished.fetch_add(1, Ordering::SeqCst);
                waker.wake();
            }));
        }
    }
    let (mut woken, mut seen) = (Vec::new(), [0; 2]);
    while seen != [WAKES; 2] {
        assert!(receiver.wait_for_bell().is_ok());
        queue.drain(&mut woken);
        for number in woken.drain(..) {
            if let (Some((slot, finished)), Some(seen)) =
                (slots.get(number as usize), seen.get_mut(number as usize))
            {
                slot.answer();
                *seen = finished.load(Ordering::SeqCst);
            }
        }
    }
    threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
}
