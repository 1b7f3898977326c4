//! One list of operations, many option sets, one answer: whatever the memory, the sizes, the tiers, the compression and the
//! way to fetch, a store holds what a map holds. A list that fails is shrunk and printed.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod holders;
    pub(crate) mod owner;
    pub(crate) mod pages;
    pub(crate) mod reads;
    pub(crate) mod scan;
    pub(crate) mod sum;
}
mod operations;
mod options;
mod world;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use operations::{Model, Operation, operation};
use options::{Options, options};
use world::World;

/// Lives a life under one option set, compared with a map at every step that reads.
fn live(operations: &[Operation], options: &Options) -> Result<(), TestCaseError> {
    let (mut world, mut model) = (World::new(options), Model::default());
    for (step, operation) in operations.iter().enumerate() {
        let place = || format!("step {step}, {operation:?}");
        match operation {
            Operation::Get(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| key.bytes()).collect();
                let found = world.get_all(&keys);
                for (key, found) in keys.iter().zip(found) {
                    let found = model.visible(key, found);
                    prop_assert_eq!(&found, &model.get(key), "{}, key {}", place(), key.escape_ascii());
                }
            }
            Operation::Page(prefix, limit) => {
                let prefix = prefix.prefix();
                let found = world.entries(&prefix, *limit);
                let found: Vec<_> = found
                    .into_iter()
                    .filter_map(|(k, v)| Some((k.clone(), model.visible(&k, Some(v))?)))
                    .collect();
                prop_assert_eq!(found, model.below(&prefix), "{}", place());
            }
            Operation::Scan => {
                let found = world.scan();
                let found: Vec<_> = found
                    .into_iter()
                    .filter_map(|(k, v)| Some((k.clone(), model.visible(&k, Some(v))?)))
                    .collect();
                prop_assert_eq!(found, model.below(b""), "{}", place());
            }
            Operation::Reopen => world.reopen(),
            Operation::Pass(millis) => {
                world.pass(*millis);
                model.pass(*millis);
            }
            write => {
                model.write(write);
                world.write(write, model.now());
            }
        }
    }
    let found = world.scan();
    let found: Vec<_> =
        found.into_iter().filter_map(|(k, v)| Some((k.clone(), model.visible(&k, Some(v))?))).collect();
    prop_assert_eq!(found, model.below(b""), "at the end");
    Ok(())
}

/// When background work ends is not up to a list of operations: one that has failed is tried a few times as it shrinks,
/// since a shorter one that fails no more by luck would end the search.
static FAILED: AtomicBool = AtomicBool::new(false);

fn live_until_it_fails(operations: &[Operation], options: &[Options]) -> Result<(), TestCaseError> {
    let tries = if FAILED.load(Relaxed) { 4 } else { 1 };
    for options in (0..tries).flat_map(|_| options) {
        live(operations, options).inspect_err(|_| FAILED.store(true, Relaxed))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(Config {
        cases: 32, max_shrink_iters: 20_000, max_shrink_time: 120_000, failure_persistence: None, ..Config::default()
    })]
    #[test]
    fn any_operations_give_the_same_answers_whatever_the_options(
        operations in proptest::collection::vec(operation(), 1..250),
        options in proptest::collection::vec(options(), 3),
    ) {
        live_until_it_fails(&operations, &options)?;
    }
}
