//! Bytes of the objects of a compaction that is done elsewhere (`docs/formats/compaction.md`).
use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::coding::crc32c;
use crate::store::{TableRecord, ValueFileRecord};

/// Begins every object; the last byte is the version.
const MAGIC: [u8; 8] = *b"ALVMCMP\x01";
/// Bytes that are not message: magic, kind, checksum.
const FRAME_BYTES: usize = 13;
const _: () = assert!(FRAME_BYTES == MAGIC.len() + 1 + 4);

/// A message with an object of its own.
pub(super) trait Framed: prost::Message + Default {
    /// The byte behind the magic.
    const KIND: u8;
    /// As errors call it.
    const WHAT: &'static str;

    /// `magic · kind:u8 · message · crc32c:u32le` over all before.
    fn frame(&self) -> Bytes {
        let mut out = Vec::with_capacity(FRAME_BYTES + self.encoded_len());
        out.extend_from_slice(&MAGIC);
        out.push(Self::KIND);
        // A vector grows: there is always room.
        let _ = self.encode(&mut out);
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.into()
    }

    /// The message of an object.
    ///
    /// # Errors
    /// `Corruption` for what is none; `Invalid` for one of another version.
    fn unframe(bytes: &[u8]) -> Result<Self> {
        let what = Self::WHAT;
        let (covered, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or_else(|| Error::corruption(format!("a compaction's {what} is shorter than its frame")))?;
        let (expected, found) = (u32::from_le_bytes(*crc), crc32c(covered));
        if expected != found {
            return Err(Error::corruption(format!(
                "a compaction's {what}: expected checksum {expected:08x}, got {found:08x}"
            )));
        }
        let (version, name) = MAGIC.split_last().unwrap_or((&0, &[]));
        match covered.strip_prefix(name).and_then(|rest| rest.split_first_chunk::<2>()) {
            Some(([found, kind], message)) if found == version && *kind == Self::KIND => {
                Self::decode(message).map_err(|e| {
                    Error::corruption(format!("a compaction's {what} is not the message it should be"))
                        .with_source(e)
                })
            }
            Some(([found, _], _)) if found != version => Err(Error::invalid(format!(
                "a compaction's {what} of version {found}; this build knows version {version}: run compactors of the \
                 job's build"
            ))),
            _ => Err(Error::corruption(format!("a compaction's {what} has another magic"))),
        }
    }
}

/// All that a compaction needs to run anywhere.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Job {
    /// Newest first.
    #[prost(message, repeated, tag = "1")]
    pub(super) runs: Vec<RunRecord>,
    #[prost(message, repeated, tag = "2")]
    pub(super) value_files: Vec<ValueFileRecord>,
    /// Where the outputs go.
    #[prost(uint32, tag = "3")]
    pub(super) level: u32,
    /// Whether nothing older lies below.
    #[prost(bool, tag = "4")]
    pub(super) bottom: bool,
    #[prost(uint64, tag = "5")]
    pub(super) block_size_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(super) table_size_bytes: u64,
    /// As a section says it.
    #[prost(uint32, tag = "7")]
    pub(super) compression: u32,
    #[prost(uint64, tag = "8")]
    pub(super) value_threshold_bytes: u64,
    #[prost(uint64, tag = "9")]
    pub(super) value_file_bytes: u64,
    /// Value files that are left behind, by their place.
    #[prost(uint32, repeated, tag = "10")]
    pub(super) garbage: Vec<u32>,
    /// When entries are judged, if any expire.
    #[prost(message, optional, tag = "11")]
    pub(super) moment: Option<MomentRecord>,
    /// What the store's operators say of themselves.
    #[prost(bytes = "bytes", tag = "12")]
    pub(super) operators: Bytes,
    /// Names for the outputs.
    #[prost(string, repeated, tag = "13")]
    pub(super) table_names: Vec<String>,
    #[prost(string, repeated, tag = "14")]
    pub(super) value_names: Vec<String>,
    /// Of a compression that has levels.
    #[prost(int32, tag = "15")]
    pub(super) compression_level: i32,
}

/// Tables in key order.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RunRecord {
    #[prost(message, repeated, tag = "1")]
    pub(super) tables: Vec<TableRecord>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct MomentRecord {
    #[prost(uint64, tag = "1")]
    pub(super) now_millis: u64,
    #[prost(uint64, tag = "2")]
    pub(super) horizon_millis: u64,
}

/// Who has a job.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Claim {
    /// No two are the same.
    #[prost(fixed64, tag = "1")]
    pub(super) worker: u64,
}

/// A sign of life; each is another one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Beat {
    #[prost(fixed64, tag = "1")]
    pub(super) worker: u64,
    #[prost(uint64, tag = "2")]
    pub(super) number: u64,
}

/// What has come of a job.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct JobResult {
    /// The checksum of the job's object.
    #[prost(fixed32, tag = "1")]
    pub(super) job_crc: u32,
    /// In key order.
    #[prost(message, repeated, tag = "2")]
    pub(super) tables: Vec<TableRecord>,
    /// Those that the tables point into.
    #[prost(message, repeated, tag = "3")]
    pub(super) value_files: Vec<ValueFileRecord>,
    /// Why there are no tables.
    #[prost(string, optional, tag = "4")]
    pub(super) error: Option<String>,
    /// Whether another compactor might do it.
    #[prost(bool, tag = "5")]
    pub(super) given_back: bool,
}

impl Framed for Job {
    const KIND: u8 = 1;
    const WHAT: &'static str = "job";
}

impl Framed for Claim {
    const KIND: u8 = 2;
    const WHAT: &'static str = "claim";
}

impl Framed for Beat {
    const KIND: u8 = 3;
    const WHAT: &'static str = "beat";
}

impl Framed for JobResult {
    const KIND: u8 = 4;
    const WHAT: &'static str = "result";
}

/// The checksum that ends an object.
pub(super) fn crc_of(object: &[u8]) -> u32 {
    object.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc))
}
