//! Damaged and newer ledger objects: the error names the object, and nothing is written over what is there.
use std::sync::Arc;

use alluvium_checkpoint::CheckpointStore;
use alluvium_env::{Entropy, Error, ErrorKind, IoRuntime};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{Job, Oracle, contents, names_in};

fn open(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Option<Error> {
    CheckpointStore::open(Arc::clone(store), io.clone(), &Entropy::from_seed(9)).err()
}

fn put(store: &Arc<dyn ObjectStore>, io: &IoRuntime, name: &str, bytes: Vec<u8>) {
    io.block_on(store.put(&Path::from(name), bytes.into())).unwrap();
}

/// A claim, two retained checkpoints and, as the highest entry, a claim.
fn ledger_of_four(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Vec<String> {
    let mut job = Job::start(Arc::clone(store), io, 1).unwrap();
    for _ in 0..2 {
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    job.end();
    Job::start(Arc::clone(store), io, 2).unwrap().files.settle();
    let ledger: Vec<String> = names_in(store, io, "ledger").into_iter().collect();
    assert_eq!(ledger.len(), 4);
    ledger
}

#[test]
fn a_flipped_byte_anywhere_in_an_entry_is_corruption_that_names_it() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    // The first is a claim that was superseded: it is never read again.
    for name in ledger_of_four(&store, &io).split_off(1) {
        let intact = contents(&store, &io)[&name].clone();
        for at in 0..intact.len() {
            let mut bytes = intact.to_vec();
            bytes[at] ^= 0x40;
            put(&store, &io, &name, bytes);
            let before = contents(&store, &io);
            let error = open(&store, &io).expect("a damaged entry was read");
            assert_eq!(error.kind(), ErrorKind::Corruption, "{name} at {at}: {error}");
            for word in [name.as_str(), "offset", "expected", "got", "move it out of the ledger"] {
                assert!(error.to_string().contains(word), "{name} at {at}: {error}");
            }
            assert_eq!(contents(&store, &io), before, "nothing is written or deleted");
        }
        put(&store, &io, &name, intact.to_vec());
    }
    assert!(open(&store, &io).is_none());
}

#[test]
fn an_entry_of_a_newer_format_asks_for_the_newer_version() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let highest = ledger_of_four(&store, &io).pop().unwrap();
    let mut bytes = contents(&store, &io)[&highest].to_vec();
    bytes[8] = u8::MAX;
    let covered = bytes.len() - 4;
    let checksum = crc_fast::crc32_iscsi(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&checksum.to_le_bytes());
    put(&store, &io, &highest, bytes);
    let error = open(&store, &io).unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains(&highest) && error.to_string().contains("newer"), "{error}");
}

#[test]
fn a_damaged_entry_that_is_moved_away_uncovers_the_one_before_it() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let ledger = ledger_of_four(&store, &io);
    for name in &ledger[2..] {
        let from = Path::from(name.as_str());
        io.block_on(store.rename(&from, &Path::from(format!("{name}.damaged")))).unwrap();
    }
    let job = Job::start(Arc::clone(&store), &io, 3).unwrap();
    assert_eq!(job.retained.iter().map(|checkpoint| checkpoint.id.0).collect::<Vec<_>>(), [1]);
    job.files.settle();
    assert!(
        names_in(&store, &io, "ledger").contains(&format!("{}.damaged", ledger[2])),
        "it is the person's now"
    );
}
