//! What the fuzz targets call (`fuzz/`): the decoder of ledger entries. Only there with `--cfg fuzzing`.
use alluvium_env::{ErrorKind, Result};
use bytes::Bytes;

use crate::envelope;
use crate::ledger::EntryKind;
use crate::wire;

/// Of the entry that is decoded.
const SEQUENCE: u64 = 2;

/// An entry as it is, and one with this payload and all checksums right.
pub fn ledger(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = refused(wire::decode(SEQUENCE, &bytes));
    if let Some(entry) = refused(wire::decode(SEQUENCE, &envelope::seal(&bytes))) {
        let again = wire::decode(SEQUENCE, &wire::encode(&entry)).map(|again| again == entry);
        assert!(again.unwrap_or(false), "{entry:?} is not what was written of it");
    }
}

/// What a ledger object gives the target to begin with: the payload, as entry 2.
pub fn ledger_seed(object: &[u8]) -> Option<Vec<u8>> {
    envelope::open("a seed", &Bytes::copy_from_slice(object)).ok().map(|payload| {
        let mut seed = payload.to_vec();
        // The number of an entry is its first field, and of golden ones less than 128.
        if let Some(number) = seed.get_mut(1) {
            *number = SEQUENCE as u8;
        }
        seed
    })
}

/// The payloads of the subtasks in a ledger object.
pub fn payloads(object: &[u8]) -> Vec<Bytes> {
    let object = ledger_seed(object).map(|payload| envelope::seal(&payload));
    let entry = object.and_then(|object| wire::decode(SEQUENCE, &object).ok());
    let EntryKind::Complete(metadata) = entry.map_or(EntryKind::Claim, |entry| entry.kind) else {
        return Vec::new();
    };
    metadata.subtasks.into_iter().map(|subtask| subtask.payload).collect()
}

fn refused<T>(result: Result<T>) -> Option<T> {
    result
        .map_err(|error| {
            assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Invalid), "{error}");
            assert!(
                error.to_string().contains("ledger/00000000000000000002"),
                "the object is not named: {error}"
            );
        })
        .ok()
}
