//! A memtable against a map, its log against itself, and what a list that grows takes.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::merge::tests::{Joined, Sum};

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Vec<u8>),
    Delete(u8),
    Merge(u8, u64),
    Append(u8, Vec<u8>),
    DeleteRange(u8, u8),
    Seal,
    Order,
}

/// The keys whose operator concatenates.
const LISTS: std::ops::Range<u8> = 20..23;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0_u8..20, proptest::collection::vec(any::<u8>(), 8)).prop_map(|(k, v)| Op::Put(k, v)),
        (0_u8..20).prop_map(Op::Delete),
        (0_u8..20, any::<u64>()).prop_map(|(k, n)| Op::Merge(k, n)),
        (LISTS, proptest::collection::vec(any::<u8>(), 0..90)).prop_map(|(k, v)| Op::Append(k, v)),
        LISTS.prop_map(Op::Delete),
        (LISTS, proptest::collection::vec(any::<u8>(), 0..90)).prop_map(|(k, v)| Op::Put(k, v)),
        (0_u8..23, 0_u8..6).prop_map(|(k, n)| Op::DeleteRange(k, k + n)),
        Just(Op::Seal),
        Just(Op::Order),
    ]
}

type Owned = (Vec<u8>, (EntryKind, Vec<u8>));

fn owned(e: LogEntry<'_>) -> Owned {
    (e.key.to_vec(), (e.kind, e.value.to_vec()))
}

fn entries(cursor: &mut SortedCursor) -> Vec<Owned> {
    let mut all = Vec::new();
    while let Some(entry) = cursor.entry() {
        all.push(owned(entry));
        cursor.advance();
    }
    all
}

/// The entry of a key, its pieces put together.
fn whole(table: &Memtable, key: &[u8]) -> Option<(EntryKind, Vec<u8>)> {
    let pieces: Vec<_> = table.get(key)?.collect();
    let kind = pieces.last()?.0;
    Some((kind, pieces.into_iter().rev().flat_map(|(_, value)| value.to_vec()).collect()))
}

#[test]
fn keys_are_in_order_until_one_is_not_above_the_last_or_comes_twice() {
    let mut memtable = Memtable::default();
    assert!(!memtable.is_in_order(), "nothing has come");
    for key in [b"a", b"b", b"d"] {
        memtable.write(EntryKind::Put, key, b"1").unwrap();
        assert!(memtable.is_in_order());
    }
    memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum).unwrap();
    assert!(memtable.is_in_order());
    let ends: [fn(&mut Memtable) -> Result<()>; 4] = [
        |memtable| memtable.write(EntryKind::Put, b"c", b"1"),
        |memtable| memtable.write(EntryKind::Put, b"d", b"2"),
        |memtable| memtable.write(EntryKind::Put, b"d", b"longer"),
        |memtable| memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum),
    ];
    for end in ends {
        let mut memtable = Memtable::default();
        memtable.write(EntryKind::Put, b"d", b"1").unwrap();
        memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum).unwrap();
        end(&mut memtable).unwrap();
        memtable.write(EntryKind::Put, b"z", b"1").unwrap();
        assert!(!memtable.is_in_order());
    }
}

proptest! {
    #[test]
    fn it_holds_the_last_entry_of_every_key_and_its_log_replays_to_the_same(
        ops in proptest::collection::vec(op(), 0..200),
        (start, end, behind) in (0_u8..24, 0_u8..25, any::<bool>()),
    ) {
        let mut table = Memtable::default();
        let mut order = KeyOrder::default();
        let mut model: BTreeMap<Vec<u8>, (EntryKind, Vec<u8>)> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put(k, v) => {
                    table.write(EntryKind::Put, &[k], &v).unwrap();
                    model.insert(vec![k], (EntryKind::Put, v));
                }
                Op::Delete(k) => {
                    table.write(EntryKind::Delete, &[k], &[]).unwrap();
                    model.insert(vec![k], (EntryKind::Delete, vec![]));
                }
                Op::Merge(k, n) => {
                    table.merge(&[k], &n.to_le_bytes(), &Sum).unwrap();
                    let fresh = (EntryKind::Merge, n.to_le_bytes().to_vec());
                    model.entry(vec![k]).and_modify(|(kind, v)| {
                        if *kind == EntryKind::Delete {
                            (*kind, *v) = (EntryKind::Put, n.to_le_bytes().to_vec());
                        } else {
                            Sum.merge(v, &n.to_le_bytes()).unwrap();
                        }
                    }).or_insert(fresh);
                }
                Op::Append(k, v) => {
                    table.merge(&[k], &v, &Joined).unwrap();
                    match model.get_mut(&vec![k]) {
                        None => drop(model.insert(vec![k], (EntryKind::Merge, v))),
                        Some(entry) if entry.0 == EntryKind::Delete => *entry = (EntryKind::Put, v),
                        Some((_, value)) => value.extend(v),
                    }
                }
                Op::DeleteRange(start, end) if start < end => {
                    table.delete_range(KeyRange::new(&[start], &[end])).unwrap();
                    (start..end).for_each(|k| drop(model.insert(vec![k], (EntryKind::Delete, vec![]))));
                }
                Op::DeleteRange(..) => {}
                Op::Seal => table.seal(),
                Op::Order => order.catch_up(&table),
            }
        }
        for k in 0..30 {
            prop_assert_eq!(whole(&table, &[k]), model.get([k].as_slice()).cloned());
        }
        table.seal();
        let mut replayed = Memtable::default();
        for chunk in table.sealed_from(0) {
            read_log(&chunk, &mut |record, _| replayed.replay(record)).unwrap();
        }
        let replayed = std::sync::Arc::new(replayed);
        let sorted = SortedMemtable::new(std::sync::Arc::clone(&replayed));
        let deleted = sorted.deleted().clone();
        let all: BTreeMap<_, _> = entries(&mut sorted.into_cursor()).into_iter().collect();
        order.catch_up(&table);
        // 24 stands for no end.
        let bounds_end = if end == 24 { Vec::new() } else { vec![end] };
        let bounds = Bounds { start: &[start], behind, end: &bounds_end };
        let mut cursor = OrderedCursor::new(&table, &order, bounds);
        let within = |k: u8| k >= start && k < end;
        for k in (0..24).filter(|k| within(*k)) {
            prop_assert_eq!(cursor.deletes(&[k]), deleted.covers(&[k]));
        }
        let meets = (0..24).any(|k| within(k) && deleted.covers(&[k]));
        prop_assert_eq!(cursor.deletes_any() && start < end, meets);
        let mut ordered = Vec::new();
        while let Some(e) = cursor.entry() {
            ordered.push(owned(e));
            cursor.advance();
        }
        let expected = all.iter().filter(|(k, _)| within(k[0]) && !(behind && k[0] == start));
        prop_assert_eq!(ordered, expected.map(|(k, e)| (k.clone(), e.clone())).collect::<Vec<_>>());
        // A delete is an entry or a range.
        for k in 0..30 {
            let expected = model.get([k].as_slice());
            match all.get([k].as_slice()) {
                Some(found) => prop_assert_eq!(Some(found), expected),
                None if deleted.covers(&[k]) => {
                    prop_assert_eq!(expected.map(|(kind, _)| *kind), Some(EntryKind::Delete));
                }
                None => prop_assert_eq!(expected, None),
            }
        }
        let hidden: Vec<bool> = (0..30).map(|k| deleted.covers(&[k])).collect();
        let (first, second) = SortedMemtable::new(replayed).halves();
        let (below_middle, above_middle) = (first.deleted().clone(), second.deleted().clone());
        let (mut first, mut second) = (first.into_cursor(), second.into_cursor());
        let middle = second.entry().map_or(0, |e| e.key[0]);
        prop_assert_eq!([entries(&mut first), entries(&mut second)].concat(), all.into_iter().collect::<Vec<_>>());
        for k in 0..30 {
            let (below, above) = (below_middle.covers(&[k]), above_middle.covers(&[k]));
            prop_assert_eq!((below, above), (hidden[usize::from(k)] && k < middle, hidden[usize::from(k)] && k >= middle));
        }
    }
}

proptest! {
    /// Keys come in order, then in any; what is not in the index yet is found, changed and grown as well.
    #[test]
    fn what_came_in_order_is_found_while_it_moves_into_the_index(
        loaded in 0_u16..300,
        later in proptest::collection::vec((0_u16..700, 0_u8..5), 0..60),
    ) {
        let mut table = Memtable::default();
        let mut model: BTreeMap<Vec<u8>, (EntryKind, Vec<u8>)> = BTreeMap::new();
        let key = |n: u16| n.to_be_bytes().to_vec();
        for n in 0..loaded {
            table.write(EntryKind::Put, &key(2 * n), b"loaded").unwrap();
            model.insert(key(2 * n), (EntryKind::Put, b"loaded".to_vec()));
        }
        prop_assert_eq!(table.is_in_order(), loaded > 0);
        for (n, change) in later {
            let (key, long) = (key(n), vec![7; 100]);
            match change {
                0 => table.write(EntryKind::Put, &key, b"later!").unwrap(),
                1 => table.write(EntryKind::Put, &key, &long).unwrap(),
                2 => table.merge(&key, b"more", &Joined).unwrap(),
                3 => table.seal(),
                _ => table.index_some(3),
            }
            match change {
                0 => drop(model.insert(key, (EntryKind::Put, b"later!".to_vec()))),
                1 => drop(model.insert(key, (EntryKind::Put, long))),
                2 => model.entry(key).or_insert((EntryKind::Merge, vec![])).1.extend(b"more"),
                _ => {}
            }
            prop_assert_eq!(table.len(), model.len());
            for n in 0..700_u16 {
                let key = n.to_be_bytes();
                prop_assert_eq!(whole(&table, &key), model.get(key.as_slice()).cloned());
            }
        }
    }
}

#[test]
fn a_table_whose_order_is_left_indexes_a_few_entries_with_each_write() {
    let mut table = Memtable::default();
    for n in 1..=1000_u16 {
        table.write(EntryKind::Put, &n.to_be_bytes(), b"1").unwrap();
    }
    assert_eq!((table.index.len(), table.ascending.len()), (0, 1000));
    table.write(EntryKind::Put, &[0, 0], b"1").unwrap();
    assert_eq!((table.index.len(), table.ascending.len()), (INDEXED_A_WRITE + 1, 1000 - INDEXED_A_WRITE));
    table.index_some(usize::MAX);
    assert_eq!((table.index.len(), table.ascending.size_bytes()), (1001, 0));
}

#[test]
fn a_sealed_entry_is_never_overwritten() {
    let mut table = Memtable::default();
    table.write(EntryKind::Put, b"k", b"old").unwrap();
    table.seal();
    let before = table.sealed_from(0).concat();
    table.write(EntryKind::Put, b"k", b"new").unwrap();
    assert_eq!(table.sealed_from(0).concat(), before);
    assert_eq!(whole(&table, b"k"), Some((EntryKind::Put, b"new".to_vec())));
}

#[test]
fn entries_larger_than_a_chunk_have_their_own() {
    let mut table = Memtable::default();
    let large = vec![7; 1 << 20];
    table.write(EntryKind::Put, b"small", b"1").unwrap();
    table.write(EntryKind::Put, b"large", &large).unwrap();
    table.write(EntryKind::Put, b"after", b"2").unwrap();
    assert_eq!(whole(&table, b"large"), Some((EntryKind::Put, large)));
    assert_eq!(whole(&table, b"after"), Some((EntryKind::Put, b"2".to_vec())));
}

/// A memtable whose one list grew by so many elements of 20 bytes, sealed every so often; and its largest chain.
fn grown(appends: usize, sealed_every: usize) -> (Memtable, usize) {
    let (mut table, mut most) = (Memtable::default(), 0);
    for number in 0..appends {
        table.merge(b"list", &[number as u8; 20], &Joined).unwrap();
        most = most.max(table.get(b"list").unwrap().count());
        if number % sealed_every == sealed_every - 1 {
            table.seal();
        }
    }
    table.seal();
    (table, most)
}

#[test]
fn a_list_that_grows_takes_what_was_appended_about_once_and_few_pieces() {
    for (appends, sealed_every, most_pieces, most_times) in
        [(10_000, 100_000, 8, 2), (10_000, 100, 256, 4), (3000, 1, 1024, 4)]
    {
        let (table, pieces) = grown(appends, sealed_every);
        let log: usize = table.sealed_from(0).iter().map(Bytes::len).sum();
        assert!(pieces <= most_pieces, "{appends} appends, a seal every {sealed_every}: {pieces} pieces");
        assert!(
            log <= most_times * 20 * appends,
            "a log of {log} bytes for {appends} appends, {sealed_every}"
        );
        assert_eq!(whole(&table, b"list").unwrap().1.len(), 20 * appends);
    }
}

#[test]
fn a_log_that_continues_what_it_has_not_begun_is_refused() {
    let log = {
        let (table, _) = grown(8, 4);
        let chunks = table.sealed_from(0);
        chunks[1].clone()
    };
    for prepare in
        [|_: &mut Memtable| (), |table: &mut Memtable| table.write(EntryKind::Delete, b"list", &[]).unwrap()]
    {
        let mut table = Memtable::default();
        prepare(&mut table);
        let error = read_log(&log, &mut |record, _| table.replay(record)).unwrap_err();
        assert!(error.to_string().contains("which it has not begun"), "{error}");
    }
}

#[test]
fn what_prefetches_says_which_keys_there_are() {
    let mut table = Memtable::default();
    let key = |number: u32| number.to_be_bytes();
    let keys: Vec<[u8; 4]> = (0..32).map(key).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
    assert_eq!(table.prefetch(&keys), 0);
    for number in [3, 4, 40] {
        table.write(EntryKind::Put, &key(number), &[1; 300]).unwrap();
    }
    assert_eq!(table.prefetch(&keys), 1 << 3 | 1 << 4, "as they came in order");
    table.write(EntryKind::Delete, &key(0), &[]).unwrap();
    table.write(EntryKind::Put, &key(31), b"short").unwrap();
    assert!(table.unindexed() == 0);
    assert_eq!(table.prefetch(&keys), 1 << 31 | 1 << 3 | 1 << 4 | 1, "by their hashes");
    assert_eq!(table.prefetch(keys.get(..4).unwrap()), 1 << 3 | 1, "of fewer");
}
