//! Filters of the bottom run where tails outgrow memory: given up while reads find their keys, read again when they do not.
use alluvium_env::Entropy;
use alluvium_forst::{Restored, Store};

use super::faulty::FaultyStore;
use super::world::{MemoryGauge, TAILS_SHARE_BYTES, World, value_of};

/// Enough for filters to be judged again and again.
const MANY: usize = 32_000;

/// What tails take at most where filters deny: seven eighths of what they share with blocks.
const MOST_BYTES: f64 = TAILS_SHARE_BYTES * 2.0 * 7.0 / 8.0;

/// A store that has the keys below some number.
struct Reader {
    world: World,
    store: Store,
    keys: u64,
    random: Entropy,
}

impl Reader {
    fn of(world: World, keys: u64, restored: &Restored) -> Self {
        let store = world.open("reader", Some(restored));
        Self { world, store, keys, random: Entropy::from_seed(5) }
    }

    /// Reads keys that are there, or such beside them that are not, and checks the answers; returns what was fetched for them.
    fn read(&mut self, are_there: bool, reads: usize) -> u64 {
        let before = self.store.counters().misses;
        for _ in 0..reads / 50 {
            let key = |_| self.random.next_u64() % self.keys + if are_there { 0 } else { self.keys };
            let keys: Vec<u64> = (0..50).map(key).collect();
            for (key, answer) in keys.iter().zip(self.world.read(&mut self.store, &keys)) {
                assert_eq!(answer.unwrap(), are_there.then(|| value_of(*key)), "key {key}");
            }
        }
        self.store.counters().misses - before
    }
}

#[test]
fn filters_go_while_reads_find_their_keys_and_return_when_they_do_not() {
    // Tails take twice their share, filters a third of it.
    let (world, keys) = (World::new(FaultyStore::new()), 60_000);
    let restored = world.fill("first", keys, value_of);
    let mut reader = Reader::of(world, keys, &restored);
    let tails = MemoryGauge::of(&mut reader.store);
    for round in 0..2 {
        reader.read(true, MANY);
        let lost = reader.read(false, 1000);
        assert!(lost > 500, "round {round}: {lost} parts read for 1000 absent keys: there are filters");
        reader.read(false, MANY);
        let bytes = tails.read("tails");
        assert!(bytes <= MOST_BYTES, "round {round}: {bytes} bytes of tails where keys are absent");
        let denied = reader.read(false, 4000);
        assert!(denied <= 4000 / 50, "round {round}: {denied} parts read for 4000 absent keys");
    }
}

#[test]
fn where_giving_up_filters_is_enough_indexes_stay_whole() {
    let mut world = World::new(FaultyStore::new());
    // With blocks as large as this and few key groups, most of a tail is its filter.
    world.settings.block_size_bytes = 4 << 10;
    world.keys = |number| format!("{number:08}").into_bytes();
    // The share of filters is that of the bottom run's.
    let keys = 160_000;
    let restored = world.fill_in_order("first", keys, value_of);
    let mut reader = Reader::of(world, keys, &restored);
    let tails = MemoryGauge::of(&mut reader.store);
    reader.read(true, MANY);
    let found = tails.read("tails");
    assert!(found < TAILS_SHARE_BYTES * 2.0 / 3.0, "{found} bytes of tails: there are filters");
    assert_eq!(reader.store.counters().slim_lookups, 0, "lookups by index blocks");
}

#[test]
fn filters_that_deny_take_more_than_half_of_what_they_share_with_blocks() {
    // Filters take some ten bits a key.
    const KEYS: u64 = 160_000;
    let mut world = World::new(FaultyStore::new());
    world.settings.block_size_bytes = 4 << 10;
    // What is absent lies between what is there.
    world.keys = |number| format!("{:08}{}", number % KEYS, ["", "+"][(number / KEYS) as usize]).into_bytes();
    let restored = world.fill_in_order("first", KEYS, value_of);
    let mut reader = Reader::of(world, KEYS, &restored);
    let tails = MemoryGauge::of(&mut reader.store);
    reader.read(false, MANY);
    let denied = reader.read(false, 4000);
    assert!(denied <= 4000 / 50, "{denied} parts read for 4000 absent keys");
    let bytes = tails.read("tails");
    assert!(bytes > TAILS_SHARE_BYTES && bytes <= MOST_BYTES, "{bytes} bytes of tails");
}
