//! What has expired leaves the object store, whether anybody writes or not; an owner deletes what is released and not
//! named by the last snapshot.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod holders;
    pub(crate) mod layer;
    pub(crate) mod sum;
}
mod counted;
mod world;

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock, ManualClock, SystemClock};
use alluvium_state_api::{StateDescriptor, StateId, StateKind, StateTtl, TtlVisibility, push_list_element};
use world::{Opened, World, key_of, sums};

const TTL: Duration = Duration::from_millis(300);

/// Every kind of state, some with a TTL.
struct States {
    value: StateId,
    shown: StateId,
    sum: StateId,
    list: StateId,
    map: StateId,
    lasting: StateId,
}

impl States {
    fn register(opened: &mut Opened) -> Self {
        let ttl = StateTtl::new(TTL);
        let shown = ttl.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
        let mut register = |name: &str, kind, ttl: Option<StateTtl>| {
            let descriptor = StateDescriptor { ttl, ..StateDescriptor::new(name, kind) };
            opened.backend.register(&descriptor).unwrap()
        };
        Self {
            value: register("value", StateKind::Value, Some(ttl)),
            shown: register("shown", StateKind::Value, Some(shown)),
            sum: register("sum", sums(), Some(ttl)),
            list: register("list", StateKind::List, Some(ttl)),
            map: register("map", StateKind::Map, Some(ttl)),
            lasting: register("lasting", StateKind::Value, None),
        }
    }

    fn expiring(&self) -> [StateId; 5] {
        [self.value, self.shown, self.sum, self.list, self.map]
    }

    /// Writes and deletes entries of all expiring kinds, several memtables of them.
    fn fill(&self, opened: &mut Opened) {
        let mut element = Vec::new();
        push_list_element(&mut element, &[7; 60]);
        for round in 0..3_u64 {
            for number in 0..1500 {
                opened.settle();
                for state in [self.value, self.shown, self.map] {
                    opened.backend.put(&key_of(state, number), &[round as u8; 80]).unwrap();
                }
                opened.backend.merge(&key_of(self.sum, number), &number.to_le_bytes()).unwrap();
                opened.backend.merge(&key_of(self.list, number), &element).unwrap();
                if number % 7 == round {
                    for state in self.expiring() {
                        opened.backend.delete(&key_of(state, number / 2)).unwrap();
                    }
                    opened.backend.delete_prefix(&key_of(self.map, number / 3)).unwrap();
                }
            }
        }
    }
}

fn expired_bytes_leave(value_threshold_bytes: usize) {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_000_000)));
    let world = World::with_values_from(value_threshold_bytes, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut opened = world.open(Vec::new());
    let states = States::register(&mut opened);
    while opened.backend.stats().compactions == 0 {
        states.fill(&mut opened);
    }
    let full = world.snapshot_bytes(&mut opened);
    assert!(full > 100_000, "{full} bytes are not much of a store");
    // Every turn is one that the store has asked for.
    while world.bytes() > 0 {
        clock.advance(TTL);
        world.wait_for_turn(&opened);
        opened.poll();
        drop(world.snapshot(&mut opened));
    }
    for state in states.expiring() {
        assert_eq!(opened.get(&key_of(state, 1)), None);
    }
}

#[test]
fn expired_bytes_leave_the_store_although_nobody_writes() {
    expired_bytes_leave(4096);
    // With most of the values apart from their keys.
    expired_bytes_leave(64);
}

fn expired_bytes_of_a_restored_store_leave(value_threshold_bytes: usize) {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_000_000)));
    let world = World::with_values_from(value_threshold_bytes, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut opened = world.open(Vec::new());
    States::register(&mut opened).fill(&mut opened);
    let snapshot = world.snapshot(&mut opened);
    drop(opened);
    let mut opened = world.open(vec![snapshot]);
    States::register(&mut opened);
    opened.poll();
    while world.bytes() > 0 {
        clock.advance(TTL);
        world.wait_for_turn(&opened);
        opened.poll();
        drop(world.snapshot(&mut opened));
    }
}

#[test]
fn expired_bytes_of_a_restored_store_leave_as_well() {
    expired_bytes_of_a_restored_store_leave(4096);
    // With most of the values apart from their keys.
    expired_bytes_of_a_restored_store_leave(64);
}

#[test]
fn a_table_that_has_expired_is_dropped_unread_and_an_idle_store_makes_no_request() {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_000_000)));
    let world = World::new(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut opened = world.open(Vec::new());
    let states = States::register(&mut opened);
    for number in 0..500 {
        opened.backend.put(&key_of(states.value, number), &[1; 80]).unwrap();
    }
    drop(opened.backend.scan(states.value).unwrap());
    while opened.backend.stats().flushes == 0 {
        opened.wait();
        opened.poll();
    }
    drop(world.snapshot(&mut opened));
    let (full, before) = (world.bytes(), world.requests());
    assert!(full > 1000);
    // The alarm rings by the machine's clock; by the store's it is too early.
    opened.wait();
    opened.poll();
    assert_eq!((world.bytes(), world.requests()), (full, before), "nothing was due");
    clock.advance(TTL);
    opened.wait();
    opened.poll();
    drop(world.snapshot(&mut opened));
    assert_eq!(world.bytes(), 0);
    assert_eq!(world.requests(), before, "neither read nor written");
}

fn what_lasts_stays(value_threshold_bytes: usize) {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_000_000)));
    let world = World::with_values_from(value_threshold_bytes, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut opened = world.open(Vec::new());
    let states = States::register(&mut opened);
    let lasting = |number: u64| number.to_le_bytes().repeat(3);
    for number in 0..3000 {
        opened.backend.put(&key_of(states.lasting, number), &lasting(number)).unwrap();
    }
    states.fill(&mut opened);
    let full = world.snapshot_bytes(&mut opened);
    // 3,000 entries of 24 bytes and their keys; of what has expired, a third of that at most.
    let mut left = full;
    while left > 200_000 {
        clock.advance(TTL);
        opened.wait();
        opened.poll();
        left = world.snapshot_bytes(&mut opened);
    }
    assert!(left < full / 4, "{left} of {full} bytes");
    for number in 0..3000 {
        assert_eq!(opened.get(&key_of(states.lasting, number)), Some(lasting(number)), "{number}");
    }
}

#[test]
fn what_lasts_stays_when_all_around_it_expires() {
    what_lasts_stays(4096);
    // With most of the values apart from their keys.
    what_lasts_stays(64);
}

#[test]
fn by_the_machines_clock_a_store_wakes_itself() {
    let world = World::new(Arc::new(SystemClock::new()));
    let mut opened = world.open(Vec::new());
    let states = States::register(&mut opened);
    opened.backend.put(&key_of(states.value, 1), b"soon gone").unwrap();
    drop(world.snapshot(&mut opened));
    assert!(world.bytes() > 0, "a delta");
    while world.bytes() > 0 {
        opened.poll();
        opened.wait();
        opened.poll();
        drop(world.snapshot(&mut opened));
    }
    assert_eq!(opened.get(&key_of(states.value, 1)), None);
}
