//! What the fuzz targets call (`fuzz/`): the decoders of ledger entries, of pages' names and of canonical savepoints. Only there with
//! `--cfg fuzzing`.
use alluvium_env::{ErrorKind, Result};
use bytes::Bytes;

use crate::canonical::{Block, Opened, Payload, check_header, seal};
use crate::envelope;
use crate::ledger::EntryKind;
use crate::pages;
use crate::wire;

/// Of the entry that is decoded.
const SEQUENCE: u64 = 2;

/// An entry as it is, and one with this payload and all checksums right.
pub fn ledger(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = refused(wire::decode(SEQUENCE, &bytes));
    if let Some(entry) = refused(wire::decode(SEQUENCE, &envelope::seal_as(envelope::FORMAT_VERSION, &bytes)))
    {
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
    let object = ledger_seed(object).map(|payload| envelope::seal_as(envelope::FORMAT_VERSION, &payload));
    let entry = object.and_then(|object| wire::decode(SEQUENCE, &object).ok());
    let EntryKind::Complete(metadata) = entry.map_or(EntryKind::Claim, |entry| entry.kind) else {
        return Vec::new();
    };
    metadata.subtasks.into_iter().map(|subtask| subtask.payload).collect()
}

/// A manifest page as it is, and one with this message and its checksum right: what it names.
pub fn page_names(bytes: &[u8]) {
    const NAME: &str = "ledger/00000000000000000002 names 1.page";
    let mut framed = [b"ALVMPAG\x01", bytes].concat();
    let crc = crc_fast::crc32_iscsi(&framed);
    framed.extend_from_slice(&crc.to_le_bytes());
    for object in [bytes.to_vec(), framed] {
        let _ = refused(pages::decode(NAME, &object.into()));
    }
}

/// A canonical part's payload.
pub fn canonical(bytes: &[u8]) {
    if let Ok(payload) = Payload::decode(bytes) {
        assert!(Payload::decode(&payload.encode()).is_ok_and(|again| again == payload), "{payload:?}");
    }
}

/// A file of entries as it is; and a block of these bytes with its checksum right: 9 bytes say what it is.
pub fn entries(bytes: &[u8]) {
    let _ = check_header(bytes);
    let sealed =
        bytes.split_first_chunk::<9>().map(|([r0, r1, r2, r3, e0, e1, e2, e3, compression], stored)| {
            let (raw, entries) =
                (u32::from_le_bytes([*r0, *r1, *r2, *r3]), u32::from_le_bytes([*e0, *e1, *e2, *e3]));
            seal((raw, entries, *compression), stored)
        });
    for block in sealed.iter().map(Vec::as_slice).chain([bytes]) {
        if let Ok(Opened::Block(mut block)) = Block::open(block) {
            while let Ok(Some(_)) = block.next_entry() {}
        }
    }
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
