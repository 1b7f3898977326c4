//! The page and the code agree, entries survive the round trip, and what the checksum cannot see is seen.
use alluvium_env::ErrorKind;

use super::*;

const PAGE: &str = include_str!("../../../docs/formats/checkpoint.md");

/// The bytes of the page's fenced block with this info string.
fn worked_bytes(info: &str) -> Bytes {
    let block = PAGE.split(&format!("```hex {info}\n")).nth(1).unwrap().split("```").next().unwrap();
    let columns = block.lines().map(|line| line.split("  ").nth(1).unwrap());
    let byte = |hex: &str| u8::from_str_radix(hex, 16).unwrap();
    columns.flat_map(str::split_whitespace).map(byte).collect::<Vec<_>>().into()
}

fn claim() -> Entry {
    let writer = Writer { incarnation: 2, token: 0x0123_4567_89AB_CDEF };
    Entry {
        sequence: 3,
        writer,
        retained: vec![2],
        dropped: Vec::new(),
        origin: None,
        kind: EntryKind::Claim,
    }
}

fn begun() -> Entry {
    let origin = OriginRecord {
        url: "file:///a".into(),
        checkpoint: CheckpointId(5),
        incarnation: 1,
        token: 0xFEDC_BA98_7654_3210,
        last_incarnation: 1,
    };
    Entry { sequence: 1, retained: Vec::new(), origin: Some(origin), ..claim() }
}

fn checkpoint() -> CheckpointMetadata {
    let subtask = |start, end, payload, files, inputs, inputs_count| SubtaskMetadata {
        key_groups: KeyGroupRange { start, end },
        backend: "forst".into(),
        payload: Bytes::from_static(payload),
        files,
        inputs: Bytes::from_static(inputs),
        inputs_count,
        operator_states: Vec::new(),
        pages: Vec::new(),
    };
    let file = FileRef { name: "state/00000002/0/1.sst".into(), size_bytes: 4096 };
    CheckpointMetadata {
        id: CheckpointId(2),
        incarnation: 2,
        max_parallelism: 128,
        finished: false,
        completed_at_millis: 1_700_000_000_000,
        job: "wordcount".into(),
        source: Bytes::from_static(b"line 7"),
        subtasks: vec![
            subtask(0, 64, b"v1", vec![file], b"", 0),
            subtask(64, 128, b"v2", Vec::new(), b"\x03\0\0\0\x08\0\0\0a\0\0\x07\0\0\0\0\0\0\0", 1),
        ],
    }
}

/// The same with operator states.
fn with_operator_states() -> CheckpointMetadata {
    let part = |name: &str, kind, codec: &str, keys: &[&'static [u8]], elements: &[&'static [u8]]| {
        let bytes = |all: &[&'static [u8]]| all.iter().copied().map(Bytes::from_static).collect();
        OperatorStatePart {
            name: name.to_owned(),
            kind,
            schema: StoredSchema { codec: codec.to_owned(), versions: vec![1] },
            keys: bytes(keys),
            elements: bytes(elements),
        }
    };
    let mut metadata = checkpoint();
    let offsets = |elements| part("offsets", OperatorStateKind::List, "u16", &[], elements);
    metadata.subtasks[0].operator_states = vec![
        offsets(&[b"\x07\0", b"\x09\0"]),
        part("rules", OperatorStateKind::Broadcast, "u8 by string", &[b"a\0\0"], &[b"\x05"]),
    ];
    metadata.subtasks[1].operator_states = vec![offsets(&[b"\x08\0"])];
    metadata
}

/// The same with a page.
fn with_pages() -> CheckpointMetadata {
    let object = FileRef { name: "state/00000002/0/2.page".into(), size_bytes: 300 };
    let mut metadata = checkpoint();
    metadata.subtasks[0].pages = vec![PageRef { object, files: 20, files_bytes: 81_920 }];
    metadata
}

fn complete(metadata: CheckpointMetadata) -> Entry {
    Entry {
        sequence: 4,
        retained: vec![4],
        dropped: vec![2],
        kind: EntryKind::Complete(Box::new(metadata)),
        ..claim()
    }
}

#[test]
fn the_worked_bytes_of_the_page_decode_and_encode_to_themselves() {
    let written = [
        ("claim", claim()),
        ("begun", begun()),
        ("complete", complete(checkpoint())),
        ("operator states", complete(with_operator_states())),
        ("pages", complete(with_pages())),
    ];
    for (info, entry) in written {
        let bytes = worked_bytes(info);
        assert_eq!(decode(entry.sequence, &bytes).unwrap(), entry, "{info}");
        assert_eq!(encode(&entry), bytes, "{info}");
    }
}

#[test]
fn what_version_1_wrote_is_read() {
    for (info, entry) in [("claim of version 1", claim()), ("complete of version 1", complete(checkpoint()))]
    {
        let bytes = worked_bytes(info);
        assert_eq!(decode(entry.sequence, &bytes).unwrap(), entry, "{info}");
        assert_ne!(encode(&entry), bytes, "{info}");
    }
}

#[test]
fn an_entry_under_another_number_is_corruption() {
    let error = decode(5, &encode(&claim())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.message().contains("ledger/00000000000000000005"), "{error}");
    assert!(error.message().contains("expected entry 5, got entry 3"), "{error}");
}

#[test]
fn what_was_written_wrongly_is_corruption_although_its_checksum_holds() {
    let mut gap = checkpoint();
    gap.subtasks[1].key_groups.start = 65;
    let mut none = checkpoint();
    none.max_parallelism = 0;
    let wrong_state = |spoil: fn(&mut OperatorStateMessage)| {
        let mut message = checkpoint_message(&with_operator_states());
        spoil(&mut message.subtasks[0].operator_states[1]);
        let kind = Some(KindMessage::Complete(message));
        envelope::seal_as(
            envelope::FORMAT_VERSION,
            &EntryMessage { sequence: 4, kind, ..EntryMessage::default() }.encode_to_vec(),
        )
    };
    let no_kind = EntryMessage { sequence: 4, ..EntryMessage::default() };
    let nonsense = [
        encode(&complete(gap)),
        encode(&complete(none)),
        envelope::seal_as(envelope::FORMAT_VERSION, &no_kind.encode_to_vec()),
        envelope::seal_as(envelope::FORMAT_VERSION, b"\xFF\xFF"),
        wrong_state(|state| state.kind = 0),
        wrong_state(|state| state.kind = 257),
        wrong_state(|state| state.kind = 1),
        wrong_state(|state| state.keys.clear()),
        wrong_state(|state| {
            state.keys.push(Bytes::from_static(b"a\0\0"));
            state.elements.push(Bytes::new());
        }),
    ];
    assert!(decode(4, &wrong_state(|_| ())).is_ok());
    for bytes in nonsense {
        let error = decode(4, &bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert!(error.message().contains("is damaged at offset 20: expected "), "{error}");
    }
}
