//! What the mailbox promises, across real threads.
use std::sync::mpsc;
use std::thread::JoinHandle;

use alluvium_env::{ErrorKind, spawn_thread};

use super::*;

fn thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_thread("test", body).unwrap()
}

fn one_lane(capacity: usize) -> (MailboxSender<u32>, MailboxReceiver<u32>) {
    let (mut senders, receiver) = mailbox(1, capacity);
    (senders.remove(0), receiver)
}

/// Lets a thread get as far as it can without promising that it does: the assertions hold wherever it is.
fn until_full(receiver: &MailboxReceiver<u32>) {
    while !receiver.shared.lock().lanes[0].full {
        std::thread::yield_now();
    }
}

#[test]
fn lanes_take_turns_and_each_keeps_its_order() {
    let (senders, mut receiver) = mailbox(3, 10);
    for (channel, sender) in senders.iter().enumerate() {
        for mail in 0..3 - channel {
            sender.send(mail).unwrap();
        }
    }
    let taken: Vec<_> = std::iter::from_fn(|| receiver.take()).collect();
    assert_eq!(taken, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (0, 2)]);
}

#[test]
fn nothing_is_lost_or_reordered_between_threads_that_block_each_other() {
    let (senders, mut receiver) = mailbox(3, 2);
    let threads: Vec<_> = senders
        .into_iter()
        .map(|sender| thread(move || (0..2000_u32).for_each(|mail| sender.send(mail).unwrap())))
        .collect();
    let mut expected = [0; 3];
    while !(0..3).all(|channel| receiver.ended(channel)) {
        while let Some((channel, mail)) = receiver.take() {
            assert_eq!(mail, expected[channel]);
            expected[channel] += 1;
        }
        if !(0..3).all(|channel| receiver.ended(channel)) {
            receiver.wait().unwrap();
        }
    }
    assert_eq!(expected, [2000; 3]);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_full_lane_blocks_its_sender_until_half_of_it_is_free() {
    let (sender, mut receiver) = one_lane(4);
    let sending = thread(move || (0..5).for_each(|mail| sender.send(mail).unwrap()));
    until_full(&receiver);
    assert_eq!(receiver.shared.lock().lanes[0].mails.len(), 4);
    assert_eq!(receiver.take(), Some((0, 0)));
    assert!(receiver.shared.lock().lanes[0].full, "three of four are not half");
    assert_eq!(receiver.take(), Some((0, 1)));
    sending.join().unwrap();
    assert_eq!(std::iter::from_fn(|| receiver.take()).map(|(_, mail)| mail).collect::<Vec<_>>(), [2, 3, 4]);
}

#[test]
fn a_blocked_lane_keeps_its_mails_and_wakes_nobody() {
    let (senders, mut receiver) = mailbox(2, 4);
    receiver.block(0);
    senders[0].send(1).unwrap();
    assert_eq!(receiver.take(), None);
    let bell = receiver.bell();
    let waiting = thread(move || {
        receiver.wait().unwrap();
        (receiver.take(), receiver)
    });
    while senders[0].shared.lock().parked == Parked::No {
        std::thread::yield_now();
    }
    senders[0].send(2).unwrap();
    bell();
    let (taken, mut receiver) = waiting.join().unwrap();
    assert_eq!(taken, None, "the wait returned for the bell");
    receiver.unblock_all();
    assert_eq!((receiver.take(), receiver.take()), (Some((0, 1)), Some((0, 2))));
}

#[test]
fn a_ring_before_the_wait_is_not_lost_and_counts_once() {
    let (sender, mut receiver) = one_lane(1);
    receiver.bell()();
    receiver.bell()();
    receiver.wait().unwrap();
    sender.send(1).unwrap();
    assert!(!receiver.shared.lock().rung);
    receiver.wait().unwrap();
    receiver.bell()();
    receiver.wait_for_bell().unwrap();
    assert_eq!(receiver.take(), Some((0, 1)));
}

#[test]
fn who_waits_for_the_bell_sleeps_through_mails() {
    let (sender, mut receiver) = one_lane(2);
    sender.send(1).unwrap();
    let bell = receiver.bell();
    let (woke, awake) = mpsc::channel();
    let waiting = thread(move || {
        receiver.wait_for_bell().unwrap();
        woke.send(()).unwrap();
    });
    while sender.shared.lock().parked != Parked::ForBell {
        std::thread::yield_now();
    }
    sender.send(2).unwrap();
    assert!(awake.try_recv().is_err());
    bell();
    awake.recv().unwrap();
    waiting.join().unwrap();
}

#[test]
fn an_ending_lane_rings_and_has_ended_once_it_is_empty() {
    let (sender, mut receiver) = one_lane(2);
    sender.send(1).unwrap();
    drop(sender);
    receiver.wait_for_bell().unwrap();
    assert!(!receiver.ended(0));
    assert_eq!(receiver.take(), Some((0, 1)));
    assert!(receiver.ended(0));
}

#[test]
fn closing_frees_both_ends_and_drops_the_mails() {
    let mail = Arc::new(());
    let (mut senders, mut receiver) = mailbox(1, 1);
    let sender = senders.remove(0);
    sender.send(Arc::clone(&mail)).unwrap();
    let closer = receiver.closer();
    let copy = Arc::clone(&mail);
    let sending = thread(move || sender.send(copy));
    while !receiver.shared.lock().lanes[0].full {
        std::thread::yield_now();
    }
    closer.clone().close();
    assert_eq!(sending.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(receiver.take().is_none());
    assert_eq!(receiver.wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(receiver.wait_for_bell().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(Arc::strong_count(&mail), 1);
}

#[test]
fn a_receiver_that_is_gone_frees_its_sender() {
    let (sender, receiver) = one_lane(1);
    sender.send(1).unwrap();
    let sending = thread(move || sender.send(2));
    until_full(&receiver);
    drop(receiver);
    assert_eq!(sending.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
}
