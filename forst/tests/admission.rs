//! Admission: writes that outrun background work are slowed down before they are stopped, and nothing of them is lost.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime, Urgency};
use alluvium_forst::{FetchSettings, ForstSettings, KeepAll, NoMerges, Resident, Store, StoreOptions};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};

type Bell = Arc<(Mutex<bool>, Condvar)>;

fn wait(bell: &Bell) {
    let rung = bell.0.lock().unwrap();
    let (mut rung, late) = bell.1.wait_timeout_while(rung, Duration::from_mins(1), |rung| !*rung).unwrap();
    assert!(!late.timed_out(), "nobody rang for a minute");
    *rung = false;
}

fn open(background: &Arc<Background>, bell: &Bell, put: Duration) -> Store {
    let bell = Arc::clone(bell);
    let throttle = ThrottleConfig { wait_put_per_call: put, ..ThrottleConfig::default() };
    let opened = Store::open(StoreOptions {
        settings: ForstSettings {
            memory_bytes: 16 << 20,
            // What a store waits for when it is dropped.
            fetch: FetchSettings {
                deadline: Duration::from_secs(3),
                attempt_timeout: Duration::from_secs(1),
                ..FetchSettings::default()
            },
            ..ForstSettings::default()
        },
        store: Arc::new(ThrottledStore::new(InMemory::new(), throttle)),
        io: IoRuntime::new(1).unwrap(),
        background: Arc::clone(background),
        disk: None,
        operators: Arc::new(NoMerges),
        ownership: Arc::new(KeepAll),
        notify: Arc::new(move || {
            *bell.0.lock().unwrap() = true;
            bell.1.notify_all();
        }),
        prefix: "state".to_owned(),
        restored: Vec::new(),
    });
    opened.unwrap()
}

/// The pool is busy elsewhere, so that no flush begins until what is returned is dropped.
fn keep_busy(background: &Background) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    for _ in 0..8 {
        let released = Arc::clone(&released);
        background.run(Urgency::High, move || assert!(released.lock().unwrap().recv().is_err()));
    }
    release
}

fn key_of(number: u64) -> [u8; 16] {
    u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).to_be_bytes()
}

/// Writes from key `from` on until no more are admitted; returns the first key that was not.
fn write_all_admitted(store: &mut Store, from: u64) -> u64 {
    let mut next = from;
    while store.admits() {
        store.put(&key_of(next), &[b'v'; 100]).unwrap();
        next += 1;
    }
    next
}

#[test]
fn writes_go_on_as_far_as_the_flush_they_wait_for_is() {
    let (background, bell) = (Arc::new(Background::new(1).unwrap()), Bell::default());
    let mut store = open(&background, &bell, Duration::from_hours(1));
    let release = keep_busy(&background);
    let first = write_all_admitted(&mut store, 0);
    store.poll(&mut |_, _| ()).unwrap();
    assert!(!store.admits(), "nothing of the flush has been done");
    // Now it does, but no table ever arrives.
    drop(release);
    let mut written = first;
    while written < first * 11 / 10 {
        wait(&bell);
        store.poll(&mut |_, _| ()).unwrap();
        written = write_all_admitted(&mut store, written);
    }
    assert_eq!(store.counters().flushes, 0);
    assert!(written < first * 7 / 5, "two memtables are no more than a third more than one and a half");
    for number in 0..written {
        let found = store.get_resident(&key_of(number)).unwrap();
        assert_eq!(found, Resident::Value(Cow::Borrowed(&[b'v'; 100])), "key {number}");
    }
}

#[test]
fn memtables_that_checkpoints_freeze_behind_a_stuck_flush_take_no_more_than_two_full_ones() {
    let (background, bell) = (Arc::new(Background::new(1).unwrap()), Bell::default());
    let mut store = open(&background, &bell, Duration::ZERO);
    let release = keep_busy(&background);
    let io = IoRuntime::new(1).unwrap();
    let (mut written, mut checkpoints) = (0, 0);
    while store.admits() && checkpoints < 2000 {
        for _ in 0..100 {
            store.put(&key_of(written), &[b'v'; 100]).unwrap();
            written += 1;
        }
        let mut snapshot = store.snapshot();
        io.block_on(snapshot.upload()).unwrap();
        drop(snapshot);
        checkpoints += 1;
    }
    let two_bytes = 2 * (16 << 20) / 4;
    let bytes = written * 116;
    assert!(bytes < two_bytes && bytes > two_bytes / 4, "{bytes} bytes in {checkpoints} checkpoints");
    assert_eq!(store.counters().flushes, 0);
    drop(release);
}
