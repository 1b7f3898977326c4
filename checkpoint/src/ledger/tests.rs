//! Races and retries, on a store whose conditional create is atomic.
use std::sync::{Arc, Barrier};

use alluvium_env::{IoRuntime, spawn_thread};
use bytes::Bytes;
use object_store::memory::InMemory;

use super::*;

fn ledger_on(store: &Arc<InMemory>) -> Ledger {
    Ledger::new(Objects::new(store.clone()))
}

fn claim(sequence: u64, writer: Writer, retained: &[u64]) -> Entry {
    Entry {
        sequence,
        writer,
        retained: retained.to_vec(),
        dropped: Vec::new(),
        origin: None,
        kind: EntryKind::Claim,
    }
}

/// A checkpoint of one subtask without files.
pub(crate) fn complete(sequence: u64, writer: Writer, id: u64, retained: &[u64]) -> Entry {
    let subtask = crate::SubtaskMetadata {
        key_groups: alluvium_state_api::KeyGroupRange { start: 0, end: 1 },
        backend: "heap".into(),
        payload: Bytes::new(),
        pages: Vec::new(),
        files: Vec::new(),
        inputs: Bytes::new(),
        inputs_count: 0,
        operator_states: Vec::new(),
    };
    let metadata = CheckpointMetadata {
        id: CheckpointId(id),
        incarnation: writer.incarnation,
        max_parallelism: 1,
        finished: false,
        completed_at_millis: 0,
        job: "j".into(),
        source: Bytes::new(),
        subtasks: vec![subtask],
    };
    Entry { kind: EntryKind::Complete(Box::new(metadata)), ..claim(sequence, writer, retained) }
}

#[test]
fn names_sort_as_numbers_and_foreign_names_are_no_entries() {
    assert_eq!(name_of(7), "ledger/00000000000000000007");
    assert_eq!(sequence_of(&name_of(u64::MAX)), Some(u64::MAX));
    for foreign in ["ledger/7", "ledger/00000000000000000007.old", "ledger/+0000000000000000007", "x/1"] {
        assert_eq!(sequence_of(foreign), None, "{foreign}");
    }
}

#[test]
fn of_racing_claimants_exactly_one_wins_and_every_loser_sees_the_winner() {
    const CLAIMANTS: u64 = 8;
    for round in 0..50 {
        let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(2).unwrap());
        let start = Arc::new(Barrier::new(CLAIMANTS as usize));
        let threads: Vec<_> = (0..CLAIMANTS)
            .map(|token| {
                let (ledger, io, start) = (ledger_on(&store), io.clone(), Arc::clone(&start));
                spawn_thread(format!("claimant-{token}"), move || {
                    let writer = Writer { incarnation: 1, token };
                    start.wait();
                    io.block_on(ledger.append(&claim(1, writer, &[]))).unwrap()
                })
                .unwrap()
            })
            .collect();
        let outcomes: Vec<Appended> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let winner = outcomes.iter().position(|outcome| matches!(outcome, Appended::Ours(_))).unwrap();
        for (token, outcome) in outcomes.iter().enumerate().filter(|(token, _)| *token != winner) {
            let Appended::Taken(other) = outcome else {
                panic!("round {round}: {token} won as well as {winner}")
            };
            assert_eq!(other.writer.token, winner as u64);
        }
    }
}

#[test]
fn a_create_that_is_retried_after_it_succeeded_is_recognised() {
    let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let ledger = ledger_on(&store);
    io.block_on(async {
        let claimed = ledger.claim(7, &Begin::Here).await.unwrap();
        assert!(matches!(ledger.append(&claimed.claim).await.unwrap(), Appended::Ours(_)));
        let entry = complete(2, claimed.claim.writer, 1, &[2]);
        for _ in 0..2 {
            assert!(matches!(ledger.append(&entry).await.unwrap(), Appended::Ours(_)));
        }
        // The same writer's other checkpoint is not this one.
        let other = complete(2, claimed.claim.writer, 2, &[2]);
        assert!(matches!(ledger.append(&other).await.unwrap(), Appended::Taken(_)));
    });
}

#[test]
fn a_claim_on_a_number_that_was_deleted_meanwhile_does_not_count() {
    let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let (ledger, objects) = (ledger_on(&store), Objects::new(store.clone()));
    io.block_on(async {
        let owner = ledger.claim(1, &Begin::Here).await.unwrap().claim.writer;
        for (sequence, retained) in [(2, [2]), (3, [3]), (4, [4])] {
            ledger.append(&complete(sequence, owner, sequence - 1, &retained)).await.unwrap();
        }
        for sequence in [2, 3] {
            objects.delete(&name_of(sequence)).await.unwrap();
        }
        // A claimant that had listed the ledger when entry 2 was the highest claims 3 only now.
        let late = Writer { incarnation: 2, token: 2 };
        assert!(matches!(ledger.append(&claim(3, late, &[2])).await.unwrap(), Appended::Ours(_)));
        assert!(!ledger.is_highest(3).await.unwrap());
        // It starts over, and ends up above the owner.
        let again = ledger.claim(2, &Begin::Here).await.unwrap();
        assert_eq!((again.claim.sequence, again.claim.writer.incarnation), (5, 2));
        assert_eq!(again.retained.len(), 1);
    });
}

#[test]
fn a_checkpoint_that_was_moved_away_is_not_retained_any_more() {
    let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let (ledger, objects) = (ledger_on(&store), Objects::new(store.clone()));
    io.block_on(async {
        let owner = ledger.claim(1, &Begin::Here).await.unwrap().claim.writer;
        ledger.append(&complete(2, owner, 1, &[2])).await.unwrap();
        ledger.append(&complete(3, owner, 2, &[2, 3])).await.unwrap();
        objects.delete(&name_of(3)).await.unwrap();
        let next = ledger.claim(2, &Begin::Here).await.unwrap();
        let retained: Vec<u64> = next.retained.iter().map(|(_, checkpoint)| checkpoint.id.0).collect();
        assert_eq!((next.claim.sequence, retained), (3, vec![1]));
    });
}
