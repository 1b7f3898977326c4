//! The tail of a table: filter, index, properties, deleted ranges and footer, read in one request and kept while the table lives.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::filter::Filter;
use super::index::Index;
use super::top::{IndexBlock, Top};
use crate::coding::{crc32c, put_section, read_section};
use crate::compression::Compression;
use crate::deleted::DeletedRanges;
use crate::expiry::Ages;

/// Ends every table.
const MAGIC: [u8; 8] = *b"ALVMSST\0";
/// The version that is written; `docs/formats/sst.md` holds the ladder.
const VERSION: u16 = 5;
/// Tables of these versions have less in them, and are read as well: their index is one section below 5, no Zstandard below 4,
/// no pointers below 3.
const OLDEST_VERSION: u16 = 2;
/// From this one on the index lies in blocks.
const INDEX_BLOCKS_VERSION: u16 = 5;
/// CRC-32C.
const CHECKSUM_ID: u8 = 1;
/// `filter_len:u32 · index_len:u32 · properties_len:u32 · deleted_len:u32 · version:u16 · checksum:u8 · reserved:u8 ·
/// crc32c:u32 · magic`.
pub(crate) const FOOTER_BYTES: usize = 32;
const _: () = assert!(FOOTER_BYTES == 4 * 4 + 2 + 1 + 1 + 4 + MAGIC.len());

/// What a table says of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Properties {
    #[prost(uint64, tag = "1")]
    pub(crate) entries: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) deletes: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) merges: u64,
    /// Bytes of keys and values before compression.
    #[prost(uint64, tag = "4")]
    pub(crate) raw_bytes: u64,
    /// The key groups inside, ascending: design D8's directory.
    #[prost(message, repeated, tag = "5")]
    pub(crate) key_groups: Vec<KeyGroupEntry>,
    /// Of entries that expire, if there are any.
    #[prost(message, optional, tag = "6")]
    pub(crate) ages: Option<Ages>,
    /// The value files that pointers lead to; a pointer says which by its place here.
    #[prost(string, repeated, tag = "7")]
    pub(crate) value_files: Vec<String>,
    /// The blocks of the index, in order.
    #[prost(message, repeated, tag = "8")]
    pub(crate) index_blocks: Vec<IndexBlock>,
    /// How many data blocks they are about.
    #[prost(uint32, tag = "9")]
    pub(crate) blocks: u32,
}

/// One key group of a table.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct KeyGroupEntry {
    #[prost(uint32, tag = "1")]
    pub(crate) group: u32,
    /// The block its first key is in.
    #[prost(uint32, tag = "2")]
    pub(crate) first_block: u32,
    #[prost(uint64, tag = "3")]
    pub(crate) entries: u64,
}

/// Filter, index and properties of one table. All but the filter is shared with the tail that has given up its filter.
#[derive(Clone, Debug)]
pub(crate) struct TableTail {
    pub(crate) filter: Filter,
    pub(crate) index: Arc<Index>,
    /// Without what they say of index blocks, which is the top.
    pub(crate) properties: Arc<Properties>,
    pub(crate) deleted: Arc<DeletedRanges>,
    pub(crate) top: Arc<Top>,
}

impl TableTail {
    /// Whether a block whose first key this is can be the one of its number.
    pub(crate) fn may_begin(&self, number: usize, first: &[u8]) -> bool {
        let (index, next) = (&self.index, number + 1);
        if number >= index.blocks() {
            return self.top.may_begin(number, first);
        }
        index.separator(number) <= first && (next == index.blocks() || first < index.separator(next))
    }

    /// Memory it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.filter.size_bytes()
            + self.index.size_bytes()
            + self.properties.key_groups.len() * size_of::<KeyGroupEntry>()
            + self.deleted.size_bytes()
            + self.top.size_bytes()
    }

    /// Whether an entry of the key with this [`super::filter_hash`] may be in the table.
    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        self.filter.may_contain(hash) && self.index.blocks() > 0
    }

    /// Reads a tail whose first byte is at `data_bytes` of its file.
    pub(crate) fn decode(tail: &[u8], data_bytes: u64) -> Result<Arc<Self>> {
        let Footer { sections, lengths, version } = footer(tail)?;
        let mut rest = sections;
        let mut section = |what: &'static str, length: u32| {
            let (head, behind) = rest.split_at_checked(length as usize).ok_or_else(|| {
                Error::corruption(format!(
                    "the footer claims {length} bytes for {what}, more than the tail has"
                ))
            })?;
            rest = behind;
            Ok::<_, Error>(head)
        };
        let [filter_len, index_len, properties_len, deleted_len] = lengths;
        let filter = section("the filter", filter_len)?;
        let stored_index = section("the index", index_len)?;
        let properties = section("the properties", properties_len)?;
        let deleted = section("the deleted ranges", deleted_len)?;
        let filter = Filter::decode(&read_section("the filter", filter)?)?;
        let mut properties = Properties::read(properties)?;
        let deleted = DeletedRanges::read(deleted)?;
        let (index, top) = if version < INDEX_BLOCKS_VERSION {
            (Index::decode(&read_section("the index", stored_index)?)?, Top::default())
        } else {
            let start = data_bytes + u64::from(filter_len);
            let top = properties.take_top(data_bytes, start..start + u64::from(index_len))?;
            (Index::read(&top, stored_index)?.0, top)
        };
        if !rest.is_empty() || index.data_bytes() != data_bytes {
            let found = index.data_bytes();
            return Err(Error::corruption(format!(
                "the index ends at offset {found}, the data blocks at {data_bytes}, {} bytes are left over",
                rest.len()
            )));
        }
        let (index, properties) = (Arc::new(index), Arc::new(properties));
        let (deleted, top) = (Arc::new(deleted), Arc::new(top));
        Ok(Arc::new(Self { filter, index, properties, deleted, top }))
    }
}

impl Properties {
    /// Reads their section.
    pub(crate) fn read(stored: &[u8]) -> Result<Self> {
        let content = read_section("the properties", stored)?;
        prost::Message::decode(content.as_slice()).map_err(|e| {
            Error::corruption("the properties are not the message they should be").with_source(e)
        })
    }

    /// Takes what they say of the index blocks, which lie at `stored`.
    pub(crate) fn take_top(&mut self, data_bytes: u64, stored: Range<u64>) -> Result<Top> {
        let (parts, blocks) = (std::mem::take(&mut self.index_blocks), std::mem::take(&mut self.blocks));
        Top::of(&parts, blocks, data_bytes, stored)
    }
}

/// A tail that has been built.
pub(super) struct BuiltTail {
    pub(super) tail: TableTail,
    /// As it is stored behind the data blocks.
    pub(super) stored: Vec<u8>,
}

impl BuiltTail {
    /// Puts a tail together. Its index is cut into blocks of about a size; `end_key` is above every key.
    pub(super) fn new(
        (filter, index, mut properties, deleted): (Filter, Index, Properties, DeletedRanges),
        block_size_bytes: usize,
        end_key: &[u8],
    ) -> Self {
        let (stored_index, parts) = index.encode(block_size_bytes, end_key);
        properties.index_blocks = parts;
        properties.blocks = index.blocks() as u32;
        let (mut out, mut content, mut lengths) = (Vec::new(), Vec::new(), [0_u32; 4]);
        let mut start = 0;
        for (part, length) in lengths.iter_mut().enumerate() {
            content.clear();
            match part {
                // Fingerprints are noise to a compressor.
                0 => {
                    filter.encode(&mut content);
                    put_section(&mut out, &content, Compression::None);
                }
                1 => out.extend_from_slice(&stored_index),
                2 => {
                    put_section(&mut out, &prost::Message::encode_to_vec(&properties), Compression::Lz4);
                }
                _ if deleted.is_empty() => {}
                _ => {
                    deleted.encode(&mut content);
                    put_section(&mut out, &content, Compression::Lz4);
                }
            }
            *length = (out.len() - start) as u32;
            start = out.len();
        }
        let footer = out.len();
        for length in lengths {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[CHECKSUM_ID, 0]);
        let crc = crc32c(out.get(footer..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        let data_bytes = index.data_bytes();
        let stored_at = data_bytes + u64::from(lengths[0]);
        let top = Top::built(&properties.index_blocks, properties.blocks, data_bytes, stored_at);
        (properties.index_blocks, properties.blocks) = (Vec::new(), 0);
        let (index, properties) = (Arc::new(index), Arc::new(properties));
        let (deleted, top) = (Arc::new(deleted), Arc::new(top));
        let tail = TableTail { filter, index, properties, deleted, top };
        Self { tail, stored: out }
    }
}

/// Where the sections of a tail lie in their table; empty if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TailLayout {
    /// Whether the index lies in blocks.
    pub(crate) has_index_blocks: bool,
    pub(crate) filter: Range<u64>,
    pub(crate) index: Range<u64>,
    pub(crate) properties: Range<u64>,
    pub(crate) deleted: Range<u64>,
}

impl TailLayout {
    /// Reads it from the last [`FOOTER_BYTES`] of a table of so many bytes: for who has no manifest that says how
    /// long the tail is.
    pub(crate) fn of(table_bytes: u64, last_bytes: &[u8]) -> Result<Self> {
        let Footer { lengths, version, .. } = footer(last_bytes)?;
        let sections: u64 = lengths.iter().map(|length| u64::from(*length)).sum();
        let start = table_bytes.checked_sub(sections + FOOTER_BYTES as u64).ok_or_else(|| {
            Error::corruption(format!(
                "the footer claims {sections} bytes for the tail, more than the table of {table_bytes} bytes has"
            ))
        })?;
        let mut next = start;
        let [filter, index, properties, deleted] = lengths.map(|length| {
            let section = next..next + u64::from(length);
            next = section.end;
            section
        });
        let has_index_blocks = version >= INDEX_BLOCKS_VERSION;
        Ok(Self { has_index_blocks, filter, index, properties, deleted })
    }

    /// Bytes of the data blocks, which end where the tail begins.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.filter.start
    }
}

/// What the last bytes of a table say.
struct Footer<'a> {
    /// What is before it.
    sections: &'a [u8],
    lengths: [u32; 4],
    version: u16,
}

/// Checks the footer.
fn footer(tail: &[u8]) -> Result<Footer<'_>> {
    let short =
        || Error::corruption(format!("a table's tail of {} bytes is shorter than its footer", tail.len()));
    let (sections, footer) = tail.split_last_chunk::<FOOTER_BYTES>().ok_or_else(short)?;
    let (rest, magic) = footer.split_last_chunk::<8>().ok_or_else(short)?;
    if *magic != MAGIC {
        return Err(Error::corruption(format!(
            "expected the magic {MAGIC:02x?} at the end of a table, got {magic:02x?}"
        )));
    }
    let (covered, crc) = rest.split_last_chunk::<4>().ok_or_else(short)?;
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c(covered));
    if expected != found {
        return Err(Error::corruption(format!(
            "a table's footer: expected checksum {expected:08x}, got {found:08x}"
        )));
    }
    let word = |at: usize| {
        covered.get(at..at + 4).and_then(|b| b.first_chunk().copied()).map_or(0, u32::from_le_bytes)
    };
    let [low, high, checksum, _] = word(16).to_le_bytes();
    let version = u16::from_le_bytes([low, high]);
    if !(OLDEST_VERSION..=VERSION).contains(&version) || checksum != CHECKSUM_ID {
        return Err(Error::invalid(format!(
            "a table of format version {version} with checksum {checksum}; this build reads versions {OLDEST_VERSION} \
             to {VERSION} with checksum {CHECKSUM_ID}: use the build that wrote it"
        )));
    }
    Ok(Footer { sections, lengths: [word(0), word(4), word(8), word(12)], version })
}
