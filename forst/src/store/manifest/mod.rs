//! The manifest: how a checkpoint describes one store; and the frame of a delta (`docs/formats/delta.md`).
pub(crate) mod page;
pub(crate) mod paging;
pub(crate) mod records;

use std::ops::Range;

use alluvium_env::{Error, Result};
use bytes::Bytes;

use super::deltas::Place;
use crate::coding::crc32c;
use crate::expiry::Ages;
use page::PageContent;

/// The version of a manifest with pages. One without is written as version 4, which builds that know no pages read.
const VERSION: u32 = 5;
const VERSION_WITHOUT_PAGES: u32 = 4;
/// Manifests of this version have no value files, and are read as well; those of 3 have no packs.
const OLDEST_VERSION: u32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Manifest {
    #[prost(uint32, tag = "1")]
    pub(super) version: u32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) tables: Vec<TableRecord>,
    /// Memtables that were not flushed, oldest first.
    #[prost(message, repeated, tag = "3")]
    pub(crate) memtables: Vec<MemtableRecord>,
    /// Each once.
    #[prost(message, repeated, tag = "4")]
    pub(crate) value_files: Vec<ValueFileRecord>,
    /// Where hotness hints are. Who overlooks them only starts colder.
    #[prost(message, repeated, tag = "8")]
    pub(crate) hints: Vec<DeltaRecord>,
    /// Objects that describe more tables.
    #[prost(message, repeated, tag = "5")]
    pub(crate) pages: Vec<PageRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PageRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) size_bytes: u64,
    /// The first key of its tables.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) start: Vec<u8>,
    /// Behind the last one; empty for no end.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) end: Vec<u8>,
    /// Where its tables stand, in their order.
    #[prost(message, repeated, tag = "5")]
    pub(crate) stretches: Vec<StretchRecord>,
}

/// Neighbours in a page that stand at one place.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct StretchRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) tables: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) level: u32,
    /// As a table's.
    #[prost(uint32, tag = "3")]
    pub(crate) run: u32,
    /// They are not of the state any more, and stand nowhere.
    #[prost(bool, tag = "4")]
    pub(crate) gone: bool,
}

impl PageRecord {
    /// All that it says, also of what is gone. Where its tables stand, [`PageRecord::places`] has.
    ///
    /// # Errors
    /// `Corruption` if it is no page, or not the one that this record means.
    pub(crate) fn content(&self, object: &[u8]) -> Result<PageContent> {
        let content = PageContent::decode(object).map_err(|e| e.context(self.name.clone()))?;
        let told: u64 = self.stretches.iter().map(|stretch| u64::from(stretch.tables)).sum();
        if told != content.tables.len() as u64 {
            let (name, there) = (&self.name, content.tables.len());
            return Err(Error::corruption(format!(
                "a manifest tells of {told} tables in page {name}, which has {there}"
            )));
        }
        Ok(content)
    }

    /// Level and run of each of its tables, in their order; `None` for what is gone.
    pub(crate) fn places(&self) -> impl Iterator<Item = Option<(u32, u32)>> + '_ {
        let place = |stretch: &StretchRecord| (!stretch.gone).then_some((stretch.level, stretch.run));
        self.stretches
            .iter()
            .flat_map(move |stretch| std::iter::repeat_n(place(stretch), stretch.tables as usize))
    }

    /// Its tables as they stand, those that are gone left out, and the value files that they point to.
    ///
    /// # Errors
    /// As [`PageRecord::content`].
    pub(crate) fn read(&self, object: &[u8]) -> Result<PageContent> {
        let PageContent { tables, value_files } = self.content(object)?;
        let standing = |(table, place): (TableRecord, Option<(u32, u32)>)| {
            place.map(|(level, run)| TableRecord { level, run, ..table })
        };
        let tables = tables.into_iter().zip(self.places()).filter_map(standing).collect();
        Ok(PageContent { tables, value_files })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TableRecord {
    #[prost(uint32, tag = "1")]
    pub(crate) level: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(uint64, tag = "3")]
    pub(crate) size_bytes: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) tail_bytes: u64,
    /// The first key.
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) start: Vec<u8>,
    /// Behind the last key; empty for no end.
    #[prost(bytes = "vec", tag = "11")]
    pub(crate) end: Vec<u8>,
    #[prost(uint64, tag = "7")]
    pub(crate) entries: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) deletes: u64,
    #[prost(bytes = "vec", tag = "9")]
    pub(crate) clip_start: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    pub(crate) clip_end: Vec<u8>,
    /// Of level 0: how many runs are newer.
    #[prost(uint32, tag = "12")]
    pub(crate) run: u32,
    #[prost(fixed64, tag = "13")]
    pub(crate) content_hash: u64,
    #[prost(uint64, tag = "14")]
    pub(crate) deleted_ranges: u64,
    /// Of entries that expire, if there are any.
    #[prost(message, optional, tag = "15")]
    pub(crate) ages: Option<Ages>,
    /// What its pointers take of each value file, in the order in which they name the files.
    #[prost(message, repeated, tag = "16")]
    pub(crate) values: Vec<ValueShareRecord>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ValueShareRecord {
    /// Its place in the manifest's list.
    #[prost(uint32, tag = "1")]
    pub(crate) file: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) values: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) bytes: u64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ValueFileRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) size_bytes: u64,
    /// Its records.
    #[prost(uint64, tag = "3")]
    pub(crate) data_bytes: u64,
    #[prost(fixed64, tag = "4")]
    pub(crate) content_hash: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemtableRecord {
    #[prost(message, repeated, tag = "1")]
    pub(crate) deltas: Vec<DeltaRecord>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DeltaRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(uint64, tag = "2")]
    pub(crate) size_bytes: u64,
    /// Where it begins in a pack.
    #[prost(uint64, tag = "3")]
    pub(crate) offset: u64,
    /// What the pack has; 0 for an object of its own.
    #[prost(uint64, tag = "4")]
    pub(crate) pack_bytes: u64,
}

impl DeltaRecord {
    pub(super) fn of(size_bytes: u64, place: &Place) -> Self {
        let pack_bytes = if place.object_bytes == size_bytes { 0 } else { place.object_bytes };
        Self { name: place.object.name().to_owned(), size_bytes, offset: place.offset, pack_bytes }
    }

    /// What the object has that it is in.
    pub(crate) fn object_bytes(&self) -> u64 {
        if self.pack_bytes == 0 { self.size_bytes } else { self.pack_bytes }
    }

    /// Its bytes within that; `None` if it cannot be there.
    pub(super) fn range(&self) -> Option<Range<u64>> {
        let end = self.offset.checked_add(self.size_bytes)?;
        (end <= self.object_bytes()).then_some(self.offset..end)
    }
}

impl Manifest {
    pub(super) fn encode(
        tables: Vec<TableRecord>,
        memtables: Vec<MemtableRecord>,
        value_files: Vec<ValueFileRecord>,
        hints: Vec<DeltaRecord>,
        pages: Vec<PageRecord>,
    ) -> Bytes {
        let version = if pages.is_empty() { VERSION_WITHOUT_PAGES } else { VERSION };
        prost::Message::encode_to_vec(&Self { version, tables, memtables, value_files, hints, pages }).into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let manifest: Self = prost::Message::decode(bytes).map_err(|e| {
            Error::corruption("a store's manifest is not the message it should be").with_source(e)
        })?;
        if !(OLDEST_VERSION..=VERSION).contains(&manifest.version) {
            let version = manifest.version;
            return Err(Error::invalid(format!(
                "a store's manifest of version {version}; this build reads versions {OLDEST_VERSION} to \
                 {VERSION}: use the build that wrote it"
            )));
        }
        Ok(manifest)
    }
}

/// Begins every delta; the last byte is its version.
pub(crate) const DELTA_MAGIC: [u8; 8] = *b"ALVMDLT\x03";
/// Begins a delta of the version before, which has no continuations.
const DELTA_MAGIC_2: [u8; 8] = *b"ALVMDLT\x02";
/// Bytes of a delta that are not log: magic and checksum.
pub(super) const DELTA_FRAME_BYTES: u64 = 12;

/// A log as an object: `magic · log · crc32c:u32le` over both.
pub(crate) fn frame_delta(log: Vec<Bytes>) -> Vec<Bytes> {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&DELTA_MAGIC);
    for chunk in &log {
        digest.update(chunk);
    }
    let crc = digest.finalize() as u32;
    let head = Bytes::from_static(&DELTA_MAGIC);
    std::iter::once(head).chain(log).chain([Bytes::copy_from_slice(&crc.to_le_bytes())]).collect()
}

/// Ends every pack; the last byte is its version.
const PACK_MAGIC: [u8; 8] = *b"ALVMPCK\x01";

/// What follows the deltas of a pack: `length:u64le* · count:u32le · crc32c:u32le · magic`, the checksum over what is before it.
pub(crate) fn pack_directory(sizes: &[u64]) -> Bytes {
    let mut directory: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    directory.extend_from_slice(&(sizes.len() as u32).to_le_bytes());
    let crc = crc32c(&directory);
    directory.extend_from_slice(&crc.to_le_bytes());
    directory.extend_from_slice(&PACK_MAGIC);
    directory.into()
}

/// Where the deltas of a pack are.
///
/// # Errors
/// `Corruption` says what is not as it should be.
pub(crate) fn pack_ranges(object: &[u8]) -> Result<Vec<Range<u64>>> {
    let wrong =
        |what: &str| Error::corruption(format!("expected the directory of a pack at its end, got {what}"));
    let body = object.strip_suffix(&PACK_MAGIC).ok_or_else(|| wrong("no magic"))?;
    let (covered, crc) = body.split_last_chunk::<4>().ok_or_else(|| wrong("too few bytes"))?;
    let (lengths, count) = covered.split_last_chunk::<4>().ok_or_else(|| wrong("too few bytes"))?;
    let count = u32::from_le_bytes(*count) as usize;
    let start = count.checked_mul(8).and_then(|bytes| lengths.len().checked_sub(bytes));
    let start = start.ok_or_else(|| wrong(&format!("{count} lengths")))?;
    let directory = covered.get(start..).unwrap_or_default();
    let (expected, found) = (u32::from_le_bytes(*crc), crc32c(directory));
    if expected != found {
        return Err(wrong(&format!("checksum {found:08x} where it says {expected:08x}")));
    }
    let mut ranges = Vec::with_capacity(count);
    let mut at = 0_u64;
    for length in lengths.get(start..).unwrap_or_default().as_chunks::<8>().0 {
        let end = at.checked_add(u64::from_le_bytes(*length)).filter(|end| *end <= start as u64);
        let end = end.ok_or_else(|| wrong("deltas longer than the pack"))?;
        ranges.push(at..end);
        at = end;
    }
    if at == start as u64 {
        Ok(ranges)
    } else {
        Err(wrong(&format!("{at} bytes of deltas where there are {start}")))
    }
}

/// What is between the magic and the checksum of a delta, which has been checked.
pub(crate) fn strip_frame(object: &[u8]) -> Result<&[u8]> {
    strip_magic(object.split_last_chunk::<4>().map_or(&[][..], |(covered, _)| covered))
}

/// What is behind the magic of a delta.
pub(super) fn strip_magic(covered: &[u8]) -> Result<&[u8]> {
    let log = covered.strip_prefix(&DELTA_MAGIC).or_else(|| covered.strip_prefix(&DELTA_MAGIC_2));
    log.ok_or_else(|| {
        Error::corruption(format!(
            "expected a log behind the magic {}, got {}",
            DELTA_MAGIC.escape_ascii(),
            covered.get(..covered.len().min(DELTA_MAGIC.len())).unwrap_or_default().escape_ascii()
        ))
    })
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    #[test]
    fn deltas_of_version_2_and_3_are_read_and_one_of_another_version_is_refused() {
        for version in 0..6 {
            let delta = [&b"ALVMDLT"[..], &[version], b"log", b"crc!"].concat();
            match version {
                2 | 3 => assert_eq!(strip_frame(&delta).unwrap(), b"log"),
                _ => assert_eq!(strip_frame(&delta).unwrap_err().kind(), ErrorKind::Corruption),
            }
        }
    }

    #[test]
    fn manifests_of_version_2_to_5_are_read_and_one_of_another_version_is_refused() {
        for version in 0..7 {
            let manifest = Manifest { version, ..Manifest::default() };
            let read = Manifest::decode(&prost::Message::encode_to_vec(&manifest));
            match version {
                2..=5 => assert_eq!(read.unwrap(), manifest),
                _ => assert_eq!(read.unwrap_err().kind(), ErrorKind::Invalid),
            }
        }
    }
}
