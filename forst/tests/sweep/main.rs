//! Any call to the object store may fail: during flushes, compactions, snapshots, reopening and reads, each answer is right
//! or a typed error, the last snapshot stays whole, and nothing stays held.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod failures;
    pub(crate) mod holders;
    pub(crate) mod layer;
    pub(crate) mod reads;
    pub(crate) mod scan;
    pub(crate) mod sum;
}
mod store;
mod world;

use std::collections::BTreeMap;

use alluvium_env::{Error, ErrorKind, Result};
use alluvium_forst::{Restored, Store};

use store::{Fault, Plan};
use world::World;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

const ROUNDS: u64 = 5;
const KEYS: u64 = 40;

fn key_of(number: u64) -> Vec<u8> {
    format!("{}{number:03}", if number.is_multiple_of(3) { 's' } else { 'v' }).into_bytes()
}

/// What a life has come to.
#[derive(Default)]
struct Life {
    model: Model,
    /// The last snapshot that was taken, and what was in the store then.
    snapshot: Option<(Restored, Model)>,
    compactions: u64,
}

impl Life {
    /// Writes one round: puts of all sizes, sums, deletes, a deleted range.
    fn write(&mut self, store: &mut Store, round: u64) -> Result<()> {
        for number in 0..KEYS {
            let key = key_of(number);
            if key.starts_with(b"s") {
                store.merge(&key, &number.to_le_bytes())?;
                let sum = self.model.entry(key).or_insert_with(|| vec![0; 8]);
                *sum = (u64::from_le_bytes(sum[..].try_into().unwrap()) + number).to_le_bytes().to_vec();
            } else if (number + round).is_multiple_of(5) {
                store.delete(&key)?;
                self.model.remove(&key);
            } else {
                // Every other one is kept apart from its key.
                let length = if number.is_multiple_of(2) { 2000 } else { 50 };
                let value: Vec<u8> = (0..length).map(|at| (at * number + round * 7) as u8).collect();
                store.put(&key, &value)?;
                self.model.insert(key, value);
            }
        }
        let prefix = format!("v{:02}", round % 4).into_bytes();
        store.delete_prefix(&prefix)?;
        self.model.retain(|key, _| !key.starts_with(&prefix));
        Ok(())
    }

    /// The whole life; ends with the first error.
    fn live(&mut self, world: &World) -> Result<()> {
        let mut store = world.open(Vec::new())?;
        for round in 0..ROUNDS {
            self.write(&mut store, round)?;
            world.flush(&mut store)?;
            self.check(world, &mut store)?;
            self.compactions += store.counters().compactions;
            if round % 2 == 1 {
                let restored = world.snapshot(&mut store)?;
                self.snapshot = Some((restored.clone(), self.model.clone()));
                store = world.open(vec![restored])?;
                self.check(world, &mut store)?;
            }
        }
        // What is not flushed is in the snapshot's log.
        self.write(&mut store, ROUNDS)?;
        let restored = world.snapshot(&mut store)?;
        self.snapshot = Some((restored, self.model.clone()));
        Ok(())
    }

    /// Every answer is right, or an error.
    fn check(&self, world: &World, store: &mut Store) -> Result<()> {
        let keys: Vec<_> = (0..KEYS + 3).map(key_of).collect();
        let mut failed = None;
        for (key, answer) in keys.iter().zip(world.get_all(store, &keys)?) {
            match answer {
                Ok(value) => assert_eq!(value.as_ref(), self.model.get(key), "key {}", key.escape_ascii()),
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whatever has happened, the last snapshot is whole once the store is back, and nothing stays held.
fn survives(world: &World, life: &Life, place: &str) {
    world.objects.recover();
    if let Some((restored, model)) = &life.snapshot {
        let mut store = world.open(vec![restored.clone()]).unwrap();
        let whole = Life { model: model.clone(), ..Life::default() };
        whole.check(world, &mut store).unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(World::scan(&mut store).unwrap(), *model, "{place}");
    }
    world.wait_until_nothing_is_held(place);
    let strangers = world.objects_nobody_held();
    assert!(strangers.is_empty(), "{place}: written without being held first: {strangers:?}");
}

fn calls_of_a_life() -> u64 {
    let world = World::new(Plan::None, true);
    let mut life = Life::default();
    life.live(&world).unwrap();
    survives(&world, &life, "without a fault");
    world.objects.calls()
}

#[test]
fn a_call_that_fails_once_is_ridden_out_wherever_it_is() {
    let calls = calls_of_a_life();
    assert!(calls > 25, "{calls} calls are no life");
    let mut compactions = 0;
    for call in 0..calls + 3 {
        let fault = Fault::ALL[call as usize % 4];
        let world = World::new(Plan::Once(call, fault), true);
        let mut life = Life::default();
        let lived = life.live(&world);
        assert!(lived.is_ok(), "call {call}, {fault:?}: {}", lived.unwrap_err());
        survives(&world, &life, &format!("call {call}, {fault:?}"));
        compactions += life.compactions;
    }
    // Whether one ends in time differs from life to life.
    assert!(compactions > 0, "nothing was ever compacted");
}

#[test]
fn from_whichever_call_the_store_is_away_it_ends_in_a_typed_error_and_the_snapshot_stays_whole() {
    let calls = calls_of_a_life();
    for call in 0..calls {
        let fault = Fault::ALL[call as usize % 4];
        let world = World::new(Plan::From(call, fault), false);
        let mut life = Life::default();
        let place = format!("from call {call} on, {fault:?}");
        if let Err(error) = life.live(&world) {
            assert_typed(&error, fault, &place);
        }
        survives(&world, &life, &place);
    }
}

fn assert_typed(error: &Error, fault: Fault, place: &str) {
    let kind = error.kind();
    let may_be_damage = matches!(fault, Fault::Short | Fault::Missing);
    assert!(
        kind == ErrorKind::Unavailable || (may_be_damage && kind == ErrorKind::Corruption),
        "{place}: {kind:?}, {error}"
    );
    assert!(error.to_string().contains("state/"), "{place}: no object is named: {error}");
}
