//! What every backend does with states that have a TTL, property by property; time stands still until a test moves it.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Clock, ManualClock};

use super::opened::Opened;
use super::{Suite, check, descriptor, key_of, number, part, reducing};
use crate::{
    KeyCodec as _, KeyGroupRange, RestoredPart, StateId, StateKind, StateTtl, TtlUpdate, TtlVisibility,
    list_elements, push_list_element,
};

/// The TTL of all states.
pub(super) const TTL: Duration = Duration::from_secs(1);
const ALMOST: Duration = Duration::from_millis(999);
const MOMENT: Duration = Duration::from_millis(1);

/// A state of each kind.
#[derive(Clone, Copy)]
pub(super) struct Kinds {
    pub(super) value: StateId,
    pub(super) sum: StateId,
    pub(super) list: StateId,
    pub(super) map: StateId,
}

/// A backend with states that expire.
pub(super) struct Aging {
    pub(super) opened: Opened,
    /// Written values live.
    pub(super) written: Kinds,
    /// Read values do too.
    pub(super) read: Kinds,
    /// Expired values may be seen.
    shown: Kinds,
}

fn register(opened: &mut Opened, names: &str, ttl: StateTtl) -> Kinds {
    let mut register = |name: &str, kind| {
        let state = descriptor(&format!("{name} {names}"), kind).with_ttl(ttl);
        check("register", opened.backend.register(&state))
    };
    Kinds {
        value: register("value", StateKind::Value),
        sum: register("sum", reducing()),
        list: register("list", StateKind::List),
        map: register("map", StateKind::Map),
    }
}

pub(super) fn element(bytes: &[u8]) -> Vec<u8> {
    let mut list = Vec::new();
    push_list_element(&mut list, bytes);
    list
}

fn entry(map: &[u8], user_key: u32) -> Vec<u8> {
    let mut key = map.to_vec();
    user_key.encode_key(&mut key);
    key
}

impl Aging {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        check("put", self.opened.backend.put(key, value));
    }

    fn merge(&mut self, key: &[u8], operand: &[u8]) {
        check("merge", self.opened.backend.merge(key, operand));
    }

    fn sum(&mut self, key: &[u8]) -> Option<u64> {
        self.opened.get(key).as_deref().map(number)
    }

    fn list(&mut self, key: &[u8]) -> Vec<Vec<u8>> {
        let list = self.opened.get(key).unwrap_or_default();
        list_elements(&list).map(|element| check("element", element).to_vec()).collect()
    }

    /// Writes something of each kind.
    fn fill(&mut self, kinds: Kinds) {
        self.put(&key_of(kinds.value, 1), b"value");
        self.merge(&key_of(kinds.sum, 1), &7_u64.to_le_bytes());
        self.merge(&key_of(kinds.list, 1), &element(b"element"));
        self.put(&entry(&key_of(kinds.map, 1), 5), b"entry");
    }

    /// How many of the kinds are there: by reads, by a page, and by scans.
    fn count(&mut self, kinds: Kinds) -> usize {
        let keys = [kinds.value, kinds.sum, kinds.list].map(|state| key_of(state, 1));
        let found = self.opened.get_all(&keys).iter().flatten().count();
        let entries = self.opened.entries(&key_of(kinds.map, 1), 3);
        assert!(entries.iter().all(|(_, value)| value == b"entry"), "an entry without its stamp");
        let states = [kinds.value, kinds.sum, kinds.list, kinds.map];
        let scanned: usize = states.iter().map(|state| self.opened.scan(*state).len()).sum();
        assert_eq!(scanned, found + entries.len(), "scans see what reads see");
        scanned
    }
}

impl Suite<'_> {
    /// Runs every property of states with a TTL.
    pub(super) fn run_ttl(&self) {
        self.state_lives_for_its_ttl_and_no_longer();
        self.reads_prolong_life_where_they_should();
        self.elements_of_a_list_expire_one_by_one();
        self.an_expired_accumulator_begins_anew();
        self.pages_pass_over_what_has_expired();
        self.a_read_under_way_renews_nothing_that_was_written_since();
        self.an_expired_value_is_seen_whole_or_not_at_all();
        self.a_restart_keeps_stamps_and_what_has_expired_stays_so();
        self.a_ttl_comes_and_goes_with_the_state_only();
        for seed in 0..self.seeds {
            self.random_operations_match_a_map_that_expires(seed);
        }
    }

    pub(super) fn open_aging(
        &self,
        clock: &Arc<ManualClock>,
        (index, key_groups): (u16, KeyGroupRange),
        restored: Vec<RestoredPart>,
        ttl: Duration,
    ) -> Aging {
        let clock = Arc::clone(clock) as Arc<dyn Clock>;
        let (backend, bell) = self.open_backend(index, key_groups, restored, clock);
        let mut opened = Opened::new(backend, bell);
        let written = StateTtl::new(ttl);
        let read = written.with_update(TtlUpdate::OnReadAndWrite);
        let shown = written.with_visibility(TtlVisibility::ReturnExpiredIfNotCleanedUp);
        Aging {
            written: register(&mut opened, "written", written),
            read: register(&mut opened, "read", read),
            shown: register(&mut opened, "shown", shown),
            opened,
        }
    }

    fn aging(&self) -> (Arc<ManualClock>, Aging) {
        let clock = Arc::new(ManualClock::at(Duration::from_secs(1_700_000_000)));
        let aging = self.open_aging(&clock, (0, KeyGroupRange::ALL), Vec::new(), TTL);
        (clock, aging)
    }

    fn reopen(&self, aging: &mut Aging, clock: &Arc<ManualClock>, ttl: Duration) -> Aging {
        let snapshot = self.snapshot(&mut aging.opened, 1);
        self.open_aging(clock, (0, KeyGroupRange::ALL), vec![part(&snapshot)], ttl)
    }

    fn state_lives_for_its_ttl_and_no_longer(&self) {
        let (clock, mut aging) = self.aging();
        let kinds = aging.written;
        aging.fill(kinds);
        clock.advance(ALMOST);
        assert_eq!(aging.count(kinds), 4, "a moment before the TTL ends");
        clock.advance(MOMENT);
        assert_eq!(aging.count(kinds), 0, "the TTL has ended, reads notwithstanding");
        aging.fill(kinds);
        clock.advance(ALMOST);
        aging.fill(kinds);
        clock.advance(ALMOST);
        assert_eq!(aging.count(kinds), 4, "a write begins a new life");
        check("delete", aging.opened.backend.delete(&key_of(kinds.value, 1)));
        check("delete_prefix", aging.opened.backend.delete_prefix(&key_of(kinds.map, 1)));
        assert_eq!(aging.count(kinds), 2, "what is deleted is gone at once");
        let (list, empty) = (key_of(kinds.list, 2), Vec::new());
        aging.put(&list, &element(b"x"));
        assert_eq!(aging.list(&list), [b"x"], "a list that was put");
        aging.put(&list, &empty);
        assert_eq!(aging.opened.get(&list), None, "an empty list of a state with a TTL is none");
    }

    fn reads_prolong_life_where_they_should(&self) {
        let (clock, mut aging) = self.aging();
        let kinds = aging.read;
        aging.fill(kinds);
        for _ in 0..5 {
            clock.advance(ALMOST);
            assert_eq!(aging.count(kinds), 4, "a read begins a new life");
        }
        let mut aging = self.reopen(&mut aging, &clock, TTL);
        clock.advance(ALMOST);
        assert_eq!(aging.count(kinds), 4, "and a snapshot has it");
        clock.advance(Duration::from_millis(99));
        assert_eq!(aging.count(kinds), 4, "a read so soon after the last renews nothing");
        clock.advance(Duration::from_millis(901));
        assert_eq!(aging.count(kinds), 0, "so life ends a TTL after the one before");
        aging.fill(kinds);
        clock.advance(ALMOST);
        let value = key_of(kinds.value, 1);
        assert!(aging.opened.get(&value).is_some());
        check("delete", aging.opened.backend.delete(&value));
        assert_eq!(aging.opened.get(&value), None, "a read before a delete brings nothing back");
    }

    fn elements_of_a_list_expire_one_by_one(&self) {
        let (clock, mut aging) = self.aging();
        let list = key_of(aging.written.list, 1);
        for name in [b"a", b"b", b"c"] {
            aging.merge(&list, &element(name));
            clock.advance(TTL / 2);
        }
        // Half a TTL after `c`, a whole one after `b`.
        assert_eq!(aging.list(&list), [b"c"]);
        aging.merge(&list, &[element(b"d"), element(b"")].concat());
        clock.advance(TTL / 2);
        assert_eq!(aging.list(&list), [b"d".as_slice(), b""]);
        clock.advance(TTL / 2);
        assert_eq!(aging.opened.get(&list), None, "a list without elements is none");
    }

    fn an_expired_accumulator_begins_anew(&self) {
        let (clock, mut aging) = self.aging();
        let sum = key_of(aging.written.sum, 1);
        for (pause, total) in [(MOMENT, 1), (ALMOST, 2), (TTL, 1), (ALMOST, 2), (ALMOST, 3), (TTL * 2, 1)] {
            clock.advance(pause);
            aging.merge(&sum, &1_u64.to_le_bytes());
            assert_eq!(aging.sum(&sum), Some(total), "an add {pause:?} after the last");
        }
        clock.advance(TTL);
        assert_eq!(aging.sum(&sum), None);
    }

    fn pages_pass_over_what_has_expired(&self) {
        let (clock, mut aging) = self.aging();
        let map = key_of(aging.written.map, 1);
        let live = [300_u32, 301, 580];
        for user_key in (0..600).filter(|key| !live.contains(key)) {
            aging.put(&entry(&map, user_key), b"old");
        }
        clock.advance(TTL / 2);
        for user_key in live {
            aging.put(&entry(&map, user_key), b"new");
        }
        for limit in [1, 2, 128] {
            assert_eq!(aging.opened.entries(&map, limit).len(), 600, "nothing has expired");
        }
        clock.advance(TTL / 2);
        let expected: Vec<_> = live.map(|user_key| (entry(&map, user_key), b"new".to_vec())).into();
        for limit in [1, 2, 128] {
            assert_eq!(aging.opened.entries(&map, limit), expected, "pages of {limit}");
        }
    }

    /// Reads are started, their keys are written, then the answers are taken.
    fn a_read_under_way_renews_nothing_that_was_written_since(&self) {
        let (clock, mut aging) = self.aging();
        let (value, sum) = (key_of(aging.read.value, 1), key_of(aging.read.sum, 1));
        let map = key_of(aging.read.map, 1);
        aging.fill(aging.read);
        clock.advance(ALMOST);
        let mut batch = crate::ReadBatch::default();
        batch.push(crate::ReadId(0), &value);
        batch.push(crate::ReadId(1), &sum);
        batch.push_page(crate::ReadId(2), crate::PageRequest { prefix: &map, after: None, limit: 9 });
        aging.opened.backend.submit(batch);
        aging.put(&value, b"newer");
        aging.merge(&sum, &1_u64.to_le_bytes());
        aging.put(&entry(&map, 5), b"newer");
        let mut open = 3;
        while open > 0 {
            check("poll", aging.opened.backend.poll(&mut |_, _| open -= 1));
            if open > 0 {
                aging.opened.bell.wait();
            }
        }
        assert_eq!(aging.opened.get(&value).as_deref(), Some(b"newer".as_slice()), "the value put since");
        assert_eq!(aging.sum(&sum), Some(8), "the add since");
        let found = aging.opened.get(&entry(&map, 5));
        assert_eq!(found.as_deref(), Some(b"newer".as_slice()), "the entry put since");
    }

    fn an_expired_value_is_seen_whole_or_not_at_all(&self) {
        let (clock, mut aging) = self.aging();
        let kinds = aging.shown;
        let value = key_of(kinds.value, 1);
        aging.put(&value, b"older");
        clock.advance(TTL / 2);
        let mut aging = self.reopen(&mut aging, &clock, TTL);
        aging.put(&value, b"newer");
        clock.advance(TTL * 3);
        for _ in 0..3 {
            let found = aging.opened.get(&value);
            assert!(found.is_none_or(|found| found == b"newer"), "an older value came back");
            aging = self.reopen(&mut aging, &clock, TTL);
        }
    }

    fn a_restart_keeps_stamps_and_what_has_expired_stays_so(&self) {
        let (clock, mut aging) = self.aging();
        let kinds = aging.written;
        aging.fill(kinds);
        clock.advance(ALMOST);
        let mut aging = self.reopen(&mut aging, &clock, TTL);
        assert_eq!(aging.count(kinds), 4, "a moment before the TTL ends");
        let mut longer = self.reopen(&mut aging, &clock, TTL * 2);
        clock.advance(MOMENT);
        assert_eq!(longer.count(kinds), 4, "a longer TTL, set in time");
        clock.advance(TTL);
        assert_eq!(longer.count(kinds), 0, "the longer TTL has ended");
        assert_eq!(aging.count(kinds), 0);
        let mut revived = self.reopen(&mut aging, &clock, TTL * 1000);
        assert_eq!(revived.count(kinds), 0, "what has expired stays so");

        let mut aging = self.aging().1;
        aging.fill(kinds);
        let behind = Arc::new(ManualClock::at(Duration::from_secs(1_600_000_000)));
        let mut aging = self.reopen(&mut aging, &behind, TTL);
        behind.advance(TTL * 2);
        assert_eq!(aging.count(kinds), 4, "time stands still on a machine whose clock is behind");
        aging.put(&key_of(kinds.value, 1), b"newer");
        assert_eq!(aging.count(kinds), 4);
    }

    fn a_ttl_comes_and_goes_with_the_state_only(&self) {
        let (clock, mut aging) = self.aging();
        let snapshot = self.snapshot(&mut aging.opened, 1);
        let open = || {
            let clock = Arc::clone(&clock) as Arc<dyn Clock>;
            self.open_backend(0, KeyGroupRange::ALL, vec![part(&snapshot)], clock).0
        };
        let ttl = StateTtl::new(TTL);
        let (with, without) =
            (descriptor("value written", StateKind::Value), descriptor("value", StateKind::Value));
        for conflict in [with, without.clone().with_ttl(ttl)] {
            let error = open().register(&conflict).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("TTL") && error.contains("name of its own"), "{error}");
        }
        let zero = descriptor("zero", StateKind::Value).with_ttl(StateTtl::new(Duration::ZERO));
        assert!(open().register(&zero).is_err(), "a TTL of nothing");
    }
}
