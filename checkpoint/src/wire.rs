//! Ledger entries as bytes: prost messages inside an envelope.
//!
//! Tags are never reused and new fields are optional; anything an old reader must not miss takes a new format
//! version. `docs/formats/checkpoint.md` is normative and its worked bytes are tested below.
use alluvium_env::{Error, Result};
use alluvium_state_api::{
    CheckpointId, FileRef, KeyGroupRange, MaxParallelism, OperatorStateKind, OperatorStatePart, StoredSchema,
};
use bytes::Bytes;
use prost::Message;

use crate::envelope::{self, PAYLOAD_AT, damaged};
use crate::ledger::{Entry, EntryKind, Writer, name_of};
use crate::metadata::{CheckpointMetadata, SubtaskMetadata};
use crate::origin::OriginRecord;
use crate::pages::PageRef;

#[derive(Clone, PartialEq, Message)]
struct EntryMessage {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    incarnation: u64,
    #[prost(fixed64, tag = "3")]
    writer_token: u64,
    #[prost(uint64, repeated, tag = "4")]
    retained: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    dropped: Vec<u64>,
    #[prost(oneof = "KindMessage", tags = "6, 7")]
    kind: Option<KindMessage>,
    #[prost(message, optional, tag = "10")]
    origin: Option<OriginMessage>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct OriginMessage {
    #[prost(string, tag = "1")]
    url: String,
    #[prost(uint64, tag = "2")]
    checkpoint: u64,
    #[prost(uint64, tag = "3")]
    incarnation: u64,
    #[prost(fixed64, tag = "4")]
    token: u64,
    #[prost(uint64, tag = "5")]
    last_incarnation: u64,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum KindMessage {
    #[prost(message, tag = "6")]
    Claim(ClaimMessage),
    #[prost(message, tag = "7")]
    Complete(CheckpointMessage),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct ClaimMessage {}

#[derive(Clone, PartialEq, Message)]
struct CheckpointMessage {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, tag = "2")]
    max_parallelism: u32,
    #[prost(bool, tag = "3")]
    finished: bool,
    #[prost(uint64, tag = "4")]
    completed_at_millis: u64,
    #[prost(string, tag = "5")]
    job: String,
    #[prost(bytes = "bytes", tag = "6")]
    source: Bytes,
    #[prost(message, repeated, tag = "7")]
    subtasks: Vec<SubtaskMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct SubtaskMessage {
    #[prost(uint32, tag = "1")]
    key_groups_start: u32,
    #[prost(uint32, tag = "2")]
    key_groups_end: u32,
    #[prost(string, tag = "3")]
    backend: String,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
    #[prost(message, repeated, tag = "5")]
    files: Vec<FileMessage>,
    #[prost(bytes = "bytes", tag = "6")]
    inputs: Bytes,
    #[prost(uint64, tag = "7")]
    inputs_count: u64,
    #[prost(message, repeated, tag = "8")]
    operator_states: Vec<OperatorStateMessage>,
    #[prost(message, repeated, tag = "10")]
    pages: Vec<PageRefMessage>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct PageRefMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    size_bytes: u64,
    #[prost(uint64, tag = "3")]
    files: u64,
    #[prost(uint64, tag = "4")]
    files_bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
struct OperatorStateMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(string, tag = "3")]
    codec: String,
    #[prost(uint32, repeated, tag = "4")]
    versions: Vec<u32>,
    #[prost(bytes = "bytes", repeated, tag = "5")]
    keys: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    elements: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub(crate) struct FileMessage {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) size_bytes: u64,
}

/// What builds write and read that know no pages. An entry without any is for them as well.
const VERSION_WITHOUT_PAGES: u32 = 2;

/// An entry as an object.
pub(crate) fn encode(entry: &Entry) -> Bytes {
    let kind = match &entry.kind {
        EntryKind::Claim => KindMessage::Claim(ClaimMessage {}),
        EntryKind::Complete(metadata) => KindMessage::Complete(checkpoint_message(metadata)),
    };
    let message = EntryMessage {
        sequence: entry.sequence,
        incarnation: entry.writer.incarnation,
        writer_token: entry.writer.token,
        retained: entry.retained.clone(),
        dropped: entry.dropped.clone(),
        kind: Some(kind),
        origin: entry.origin.as_ref().map(origin_message),
    };
    let has_pages = matches!(&entry.kind, EntryKind::Complete(metadata) if metadata.pages().next().is_some());
    let version = if has_pages { envelope::FORMAT_VERSION } else { VERSION_WITHOUT_PAGES };
    envelope::seal_as(version, &message.encode_to_vec())
}

/// The entry in the object with this number.
///
/// # Errors
/// `Corruption` or `Invalid`, see the envelope.
pub(crate) fn decode(sequence: u64, bytes: &Bytes) -> Result<Entry> {
    let object = name_of(sequence);
    let payload = envelope::open(&object, bytes)?;
    // The checksum held, so what is wrong from here on was written wrongly; the payload is all that can be named.
    let wrong = |expected: &str, got: String| damaged(&object, PAYLOAD_AT, expected, got);
    let message = EntryMessage::decode(payload).map_err(|e| wrong("a ledger entry", e.to_string()))?;
    if message.sequence != sequence {
        return Err(wrong(&format!("entry {sequence}"), format!("entry {}", message.sequence)));
    }
    let kind = match message.kind {
        None => return Err(wrong("a claim or a checkpoint", "neither".to_owned())),
        Some(KindMessage::Claim(ClaimMessage {})) => EntryKind::Claim,
        Some(KindMessage::Complete(checkpoint)) => {
            let metadata = checkpoint_metadata(checkpoint, message.incarnation)
                .map_err(|(expected, got)| wrong(&expected, got))?;
            EntryKind::Complete(Box::new(metadata))
        }
    };
    let writer = Writer { incarnation: message.incarnation, token: message.writer_token };
    let origin = message.origin.map(origin_record);
    Ok(Entry { sequence, writer, retained: message.retained, dropped: message.dropped, origin, kind })
}

fn origin_message(origin: &OriginRecord) -> OriginMessage {
    OriginMessage {
        url: origin.url.clone(),
        checkpoint: origin.checkpoint.0,
        incarnation: origin.incarnation,
        token: origin.token,
        last_incarnation: origin.last_incarnation,
    }
}

fn origin_record(message: OriginMessage) -> OriginRecord {
    OriginRecord {
        url: message.url,
        checkpoint: CheckpointId(message.checkpoint),
        incarnation: message.incarnation,
        token: message.token,
        last_incarnation: message.last_incarnation,
    }
}

/// The error for a claim where a checkpoint is retained.
pub(crate) fn not_a_checkpoint(sequence: u64) -> Error {
    damaged(&name_of(sequence), PAYLOAD_AT, "a completed checkpoint", "a claim")
}

fn checkpoint_message(metadata: &CheckpointMetadata) -> CheckpointMessage {
    CheckpointMessage {
        id: metadata.id.0,
        max_parallelism: u32::from(metadata.max_parallelism),
        finished: metadata.finished,
        completed_at_millis: metadata.completed_at_millis,
        job: metadata.job.clone(),
        source: metadata.source.clone(),
        subtasks: metadata.subtasks.iter().map(subtask_message).collect(),
    }
}

fn subtask_message(subtask: &SubtaskMetadata) -> SubtaskMessage {
    let file = |file: &FileRef| FileMessage { name: file.name.clone(), size_bytes: file.size_bytes };
    SubtaskMessage {
        key_groups_start: u32::from(subtask.key_groups.start),
        key_groups_end: u32::from(subtask.key_groups.end),
        backend: subtask.backend.clone(),
        payload: subtask.payload.clone(),
        files: subtask.files.iter().map(file).collect(),
        inputs: subtask.inputs.clone(),
        inputs_count: subtask.inputs_count,
        operator_states: subtask.operator_states.iter().map(operator_state_message).collect(),
        pages: subtask.pages.iter().map(page_message).collect(),
    }
}

fn page_message(page: &PageRef) -> PageRefMessage {
    let PageRef { object: FileRef { name, size_bytes }, files, files_bytes } = page.clone();
    PageRefMessage { name, size_bytes, files, files_bytes }
}

fn operator_state_message(part: &OperatorStatePart) -> OperatorStateMessage {
    OperatorStateMessage {
        name: part.name.clone(),
        kind: part.kind as u32,
        codec: part.schema.codec.clone(),
        versions: part.schema.versions.clone(),
        keys: part.keys.clone(),
        elements: part.elements.clone(),
    }
}

/// What a reader expected, and what it got instead.
type Mismatch = (String, String);

fn checkpoint_metadata(message: CheckpointMessage, incarnation: u64) -> Result<CheckpointMetadata, Mismatch> {
    let max = u16::try_from(message.max_parallelism).ok().and_then(|max| MaxParallelism::new(max).ok());
    let bad_max =
        || ("a max parallelism between 1 and 32768".to_owned(), message.max_parallelism.to_string());
    let metadata = CheckpointMetadata {
        id: CheckpointId(message.id),
        incarnation,
        max_parallelism: max.ok_or_else(bad_max)?.get(),
        finished: message.finished,
        completed_at_millis: message.completed_at_millis,
        job: message.job,
        source: message.source,
        subtasks: message.subtasks.into_iter().map(subtask_metadata).collect::<Result<_, _>>()?,
    };
    match metadata.uncovered() {
        None => Ok(metadata),
        Some(mismatch) => Err(mismatch),
    }
}

fn subtask_metadata(message: SubtaskMessage) -> Result<SubtaskMetadata, Mismatch> {
    let bound = |group: u32| {
        u16::try_from(group).map_err(|_| ("a key group up to 32768".to_owned(), group.to_string()))
    };
    let file = |file: FileMessage| FileRef { name: file.name, size_bytes: file.size_bytes };
    Ok(SubtaskMetadata {
        key_groups: KeyGroupRange {
            start: bound(message.key_groups_start)?,
            end: bound(message.key_groups_end)?,
        },
        backend: message.backend,
        payload: message.payload,
        files: message.files.into_iter().map(file).collect(),
        inputs: message.inputs,
        inputs_count: message.inputs_count,
        operator_states: message.operator_states.into_iter().map(operator_state).collect::<Result<_, _>>()?,
        pages: message.pages.into_iter().map(page_ref).collect(),
    })
}

fn page_ref(PageRefMessage { name, size_bytes, files, files_bytes }: PageRefMessage) -> PageRef {
    PageRef { object: FileRef { name, size_bytes }, files, files_bytes }
}

fn operator_state(message: OperatorStateMessage) -> Result<OperatorStatePart, Mismatch> {
    let OperatorStateMessage { name, kind: number, codec, versions, keys, elements } = message;
    let kind = u8::try_from(number).ok().and_then(OperatorStateKind::from_number);
    let kind = kind.ok_or_else(|| (format!("a kind of operator state {name}"), number.to_string()))?;
    let wanted = if kind == OperatorStateKind::Broadcast { elements.len() } else { 0 };
    if keys.len() != wanted {
        return Err((format!("{wanted} keys of operator state {name}"), keys.len().to_string()));
    }
    if !keys.is_sorted_by(|one, next| one < next) {
        return Err((format!("ascending keys of operator state {name}"), "others".to_owned()));
    }
    Ok(OperatorStatePart { name, kind, schema: StoredSchema { codec, versions }, keys, elements })
}

#[cfg(test)]
mod tests;
