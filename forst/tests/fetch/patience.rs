//! An object store that fails, lies or is slow: a right answer within the deadline, or an error that says what to do.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::{Clock as _, ErrorKind, SystemClock};
use alluvium_forst::{FetchSettings, Restored};
use object_store::ObjectStore;

use crate::common::layer::Layered;

use super::faulty::{Answer, FaultyStore};
use super::world::{World, value_of};

const KEYS: u64 = 1000;

fn filled(keys: u64, fetch: FetchSettings) -> (World, Arc<Layered<FaultyStore>>, Restored) {
    let store = FaultyStore::new();
    let mut world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    world.settings.fetch = fetch;
    let restored = world.fill("first", keys, value_of);
    (world, store, restored)
}

fn impatient() -> FetchSettings {
    FetchSettings {
        deadline: Duration::from_millis(400),
        attempt_timeout: Duration::from_millis(100),
        ..FetchSettings::default()
    }
}

#[test]
fn whatever_goes_wrong_twice_is_ridden_out() {
    let fetch = FetchSettings { attempt_timeout: Duration::from_millis(50), ..FetchSettings::default() };
    let (world, store, restored) = filled(KEYS, fetch);
    let faults = [
        Answer::Throttled,
        Answer::Reset,
        Answer::Never,
        Answer::Missing,
        Answer::Short,
        Answer::Long,
        Answer::Empty,
    ];
    for fault in faults {
        store.plan(move |_, before| if before < 2 { fault } else { Answer::Right });
        let mut reader = world.open("reader", Some(&restored));
        for (key, answer) in [3, 500, 999].into_iter().zip(world.read(&mut reader, &[3, 500, 999])) {
            assert_eq!(answer.unwrap(), Some(value_of(key)), "{fault:?}");
        }
    }
}

#[test]
fn what_stays_wrong_ends_in_an_error_that_names_object_and_way_out() {
    let (world, store, restored) = filled(KEYS, impatient());
    let kinds = [
        (Answer::Throttled, ErrorKind::Unavailable, "attempts within"),
        (Answer::Reset, ErrorKind::Unavailable, "connection reset"),
        (Answer::Never, ErrorKind::Unavailable, "no answer within"),
        (Answer::Missing, ErrorKind::Corruption, "is missing; restore an older checkpoint"),
        (Answer::Short, ErrorKind::Corruption, "is truncated: expected"),
        (Answer::Long, ErrorKind::Corruption, "answers with too much: expected"),
        (Answer::Denied, ErrorKind::Invalid, "check the store's credentials"),
    ];
    for (fault, kind, sentence) in kinds {
        store.plan(move |_, _| fault);
        let mut reader = world.open("reader", Some(&restored));
        let error = world.read(&mut reader, &[500]).remove(0).unwrap_err();
        assert_eq!(error.kind(), kind, "{fault:?}: {error}");
        let said = error.to_string();
        assert!(said.contains(sentence) && said.contains(".sst"), "{fault:?}: {said}");
        if fault == Answer::Denied {
            assert_eq!(store.requests.load(Ordering::SeqCst), 1, "asking again would not help");
        }
    }
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let (mut world, store, restored) =
        filled(KEYS, FetchSettings { max_requests: 3, ..FetchSettings::default() });
    // Each block is a request of its own.
    world.settings.coalesce_gap_bytes = 0;
    store.plan(|_, _| Answer::After(Duration::from_millis(2)));
    let mut reader = world.open("reader", Some(&restored));
    let keys: Vec<u64> = (0..KEYS).step_by(97).collect();
    assert!(world.read(&mut reader, &keys).into_iter().all(|answer| answer.is_ok()));
    assert_eq!(store.most_in_flight.load(Ordering::SeqCst), 3);
}

#[test]
fn a_read_that_is_slow_for_no_reason_is_asked_twice_and_few_others_are() {
    let patient = Duration::from_mins(2);
    let fetch = FetchSettings {
        deadline: patient,
        attempt_timeout: patient,
        hedge_factor: Some(5.0),
        ..FetchSettings::default()
    };
    let (world, store, restored) = filled(20_000, fetch);
    let (seen, stuck) = (AtomicU64::new(0), Arc::new(AtomicU64::new(0)));
    let got_stuck = Arc::clone(&stuck);
    store.plan(move |_, before| {
        // Once there is something to compare with, one read in fifty never comes back.
        let number = seen.fetch_add(1, Ordering::SeqCst);
        if number > 100 && number.is_multiple_of(50) && before == 0 {
            got_stuck.fetch_add(1, Ordering::SeqCst);
            return Answer::Never;
        }
        Answer::After(Duration::from_millis(1))
    });
    let clock = SystemClock::new();
    let mut reader = world.open("reader", Some(&restored));
    for key in (0..20_000).step_by(10) {
        assert_eq!(world.read(&mut reader, &[key]).remove(0).unwrap(), Some(value_of(key)));
    }
    let (stuck, first) = (stuck.load(Ordering::SeqCst), reader.counters().misses);
    assert!(stuck > 5 && clock.monotonic() < patient, "{stuck} of {first} got stuck");
    let second = store.requests.load(Ordering::SeqCst) - first;
    assert!(second >= stuck && second <= first / 20, "{second} second requests for {stuck} of {first}");
}
