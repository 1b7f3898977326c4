//! A page of a manifest as an object: tables that are described once for many checkpoints (`docs/formats/page.md`, RFC 0006).
//!
//! The names stand in front of what else there is to say, so that whoever counts references reads no more than them.
use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::coding::crc32c;
use crate::store::manifest::{TableRecord, ValueFileRecord};

/// Begins every page; the last byte is its version.
const MAGIC: [u8; 8] = *b"ALVMPAG\x01";

#[derive(Clone, PartialEq, prost::Message)]
struct PageMessage {
    /// Of the tables, then of the value files.
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileMessage>,
    /// Without name, size, level and run.
    #[prost(message, repeated, tag = "2")]
    tables: Vec<TableRecord>,
    /// Without name and size.
    #[prost(message, repeated, tag = "3")]
    value_files: Vec<ValueFileRecord>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct FileMessage {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    size_bytes: u64,
}

/// A message as an object.
pub(crate) fn frame_page(message: &[u8]) -> Bytes {
    let mut object = [&MAGIC, message].concat();
    let crc = crc32c(&object);
    object.extend_from_slice(&crc.to_le_bytes());
    object.into()
}

/// What a page says. Where its tables stand now, at which level and in which run, a manifest says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PageContent {
    pub(crate) tables: Vec<TableRecord>,
    /// Each once; what the tables point to.
    pub(crate) value_files: Vec<ValueFileRecord>,
}

impl PageContent {
    /// Every object that it names, with its size.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, u64)> {
        let tables = self.tables.iter().map(|table| (table.name.as_str(), table.size_bytes));
        tables.chain(self.value_files.iter().map(|file| (file.name.as_str(), file.size_bytes)))
    }

    /// The object.
    pub(crate) fn encode(mut self) -> Bytes {
        let taken = |name: &mut String, size_bytes: &mut u64| FileMessage {
            name: std::mem::take(name),
            size_bytes: std::mem::take(size_bytes),
        };
        let mut files = Vec::with_capacity(self.tables.len() + self.value_files.len());
        for table in &mut self.tables {
            (table.level, table.run) = (0, 0);
            files.push(taken(&mut table.name, &mut table.size_bytes));
        }
        for file in &mut self.value_files {
            files.push(taken(&mut file.name, &mut file.size_bytes));
        }
        let message = PageMessage { files, tables: self.tables, value_files: self.value_files };
        frame_page(&prost::Message::encode_to_vec(&message))
    }

    /// What an object says.
    ///
    /// # Errors
    /// `Corruption` if it is no page; the caller adds its name.
    pub(crate) fn decode(object: &[u8]) -> Result<Self> {
        let wrong = |what: String| Error::corruption(format!("expected a page of a manifest, got {what}"));
        let (covered, crc) =
            object.split_last_chunk::<4>().ok_or_else(|| wrong(format!("{} bytes", object.len())))?;
        let (expected, found) = (u32::from_le_bytes(*crc), crc32c(covered));
        if expected != found {
            return Err(wrong(format!("checksum {found:08x} where it says {expected:08x}")));
        }
        let body = covered
            .strip_prefix(&MAGIC)
            .ok_or_else(|| wrong(format!("magic {}", covered.get(..8).unwrap_or(covered).escape_ascii())))?;
        let PageMessage { files, mut tables, mut value_files } =
            prost::Message::decode(body).map_err(|e| wrong("another message".to_owned()).with_source(e))?;
        let described = tables.len() + value_files.len();
        if files.len() != described {
            return Err(wrong(format!("{} names of {described} files", files.len())));
        }
        let places = tables
            .iter_mut()
            .map(|table| (&mut table.name, &mut table.size_bytes))
            .chain(value_files.iter_mut().map(|file| (&mut file.name, &mut file.size_bytes)));
        for ((name, size_bytes), file) in places.zip(files) {
            (*name, *size_bytes) = (file.name, file.size_bytes);
        }
        Ok(Self { tables, value_files })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::manifest::ValueShareRecord;

    fn content() -> PageContent {
        let table = |number: u8| TableRecord {
            name: format!("{number}.sst"),
            size_bytes: 1000 + u64::from(number),
            tail_bytes: 100,
            start: vec![number],
            end: vec![number, 9],
            entries: 7,
            values: vec![ValueShareRecord { file: 0, values: 1, bytes: 5000 }],
            ..TableRecord::default()
        };
        let value_file =
            ValueFileRecord { name: "1.val".into(), size_bytes: 6000, data_bytes: 5000, content_hash: 3 };
        PageContent { tables: (1..4).map(table).collect(), value_files: vec![value_file] }
    }

    #[test]
    fn what_was_written_is_read_and_every_flipped_bit_and_every_cut_is_corruption() {
        let object = content().encode();
        assert_eq!(PageContent::decode(&object).unwrap(), content());
        for at in 0..object.len() {
            assert!(PageContent::decode(&object[..at]).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut broken = object.to_vec();
                broken[at] ^= 1 << bit;
                let error = PageContent::decode(&broken).unwrap_err();
                assert_eq!(error.kind(), alluvium_env::ErrorKind::Corruption, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_page_with_a_name_too_few_is_corruption() {
        let mut message: PageMessage = {
            let object = content().encode();
            prost::Message::decode(&object[8..object.len() - 4]).unwrap()
        };
        message.files.pop();
        let object = frame_page(&prost::Message::encode_to_vec(&message));
        let error = PageContent::decode(&object).unwrap_err();
        assert!(error.to_string().contains("3 names of 4 files"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_a_page(bytes: Vec<u8>) {
            let object = frame_page(&bytes);
            for object in [&bytes[..], &object] {
                if let Ok(page) = PageContent::decode(object) {
                    prop_assert_eq!(PageContent::decode(&page.clone().encode()).unwrap(), page);
                }
            }
        }
    }
}
