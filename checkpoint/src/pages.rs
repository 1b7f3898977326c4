//! Manifest pages: objects that payloads name and that name files in turn (`docs/formats/page.md`, RFC 0006). Whoever has to
//! know every object that a checkpoint needs reads them; whoever restores one leaves that to its backends, which write them.
//!
//! **Failure**: a page that is missing or damaged is `Corruption` and named. Nothing is known then of what it names, so
//! nothing may be deleted for not being named.
use std::sync::Arc;

use alluvium_env::{Error, HashMap, HashSet, Result};
use alluvium_state_api::{FileRef, ManifestPage};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use prost::Message;

use crate::metadata::CheckpointMetadata;
use crate::objects::Objects;
use crate::wire::FileMessage;

/// Begins every page; the last byte is its version.
const MAGIC: [u8; 8] = *b"ALVMPAG\x01";
/// Pages that are read at a time.
pub(crate) const AT_ONCE: usize = 16;

/// A page as a checkpoint names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRef {
    /// Its object.
    pub object: FileRef,
    /// Objects that it names.
    pub files: u64,
    /// What they take.
    pub files_bytes: u64,
}

impl PageRef {
    pub(crate) fn of(page: &dyn ManifestPage) -> Self {
        let (files, files_bytes) = page.totals();
        Self { object: page.object(), files, files_bytes }
    }
}

/// What of a page is everybody's business; the rest is its backend's.
#[derive(Clone, PartialEq, Message)]
struct PageMessage {
    #[prost(message, repeated, tag = "1")]
    files: Vec<FileMessage>,
}

/// The object of a page that names these files, none of which is a page: for backends of one's own. `own` is what else of the
/// message only that backend reads, fields with other tags than 1 (`docs/formats/page.md`).
///
/// ```
/// use alluvium_checkpoint::encode_page;
/// use alluvium_state_api::FileRef;
///
/// let table = FileRef { name: "state/00000001/0000/1.sst".into(), size_bytes: 4096 };
/// assert!(encode_page(&[table], &[]).starts_with(b"ALVMPAG\x01"));
/// ```
pub fn encode_page(files: &[FileRef], own: &[u8]) -> Bytes {
    let file = |file: &FileRef| FileMessage { name: file.name.clone(), size_bytes: file.size_bytes };
    let message = PageMessage { files: files.iter().map(file).collect() };
    let mut object = MAGIC.to_vec();
    object.extend(message.encode_to_vec());
    object.extend_from_slice(own);
    let crc = crc_fast::crc32_iscsi(&object);
    object.extend_from_slice(&crc.to_le_bytes());
    object.into()
}

/// What a page names.
pub(crate) fn decode(name: &str, object: &Bytes) -> Result<Vec<FileRef>> {
    let damaged = |what: String| {
        Error::corruption(format!("{name} is damaged: {what}; use a checkpoint that does not need it"))
    };
    let (covered, crc) =
        object.split_last_chunk::<4>().ok_or_else(|| damaged(format!("it has {} bytes", object.len())))?;
    let (expected, got) = (u32::from_le_bytes(*crc), crc_fast::crc32_iscsi(covered));
    if expected != got {
        return Err(damaged(format!("expected checksum {expected:08x}, got {got:08x}")));
    }
    let body = covered.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not begin as pages do".into()))?;
    let PageMessage { files } =
        PageMessage::decode(body).map_err(|e| damaged("it is another message".into()).with_source(e))?;
    Ok(files.into_iter().map(|file| FileRef { name: file.name, size_bytes: file.size_bytes }).collect())
}

/// Reads what a page names.
///
/// # Errors
/// `Corruption` if it is missing or damaged, `Unavailable` or `Invalid` from the store.
pub(crate) async fn read(objects: &Objects, page: &FileRef) -> Result<Vec<FileRef>> {
    let FileRef { name, size_bytes } = page;
    let object = objects.read(name).await?.ok_or_else(|| {
        let store = objects.store_name();
        Error::corruption(format!(
            "{name} is missing in {store} and a checkpoint needs it: its job may have dropped the checkpoint"
        ))
    })?;
    if object.len() as u64 != *size_bytes {
        let got = object.len();
        return Err(Error::corruption(format!("{name} is damaged: expected {size_bytes} bytes, got {got}")));
    }
    decode(name, &object)
}

/// Follows the pages of checkpoints, each of which is read once.
pub struct PageReader {
    objects: Objects,
    known: HashMap<String, Arc<Vec<FileRef>>>,
}

impl PageReader {
    /// One that reads below the root of `store`.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self::over(&Objects::new(store))
    }

    pub(crate) fn over(objects: &Objects) -> Self {
        Self { objects: objects.clone(), known: HashMap::default() }
    }

    /// Every object that a checkpoint needs, once, pages included.
    ///
    /// # Errors
    /// `Corruption` names a page that is missing or damaged; `Unavailable` or `Invalid` from the store.
    pub async fn objects_of(&mut self, checkpoint: &CheckpointMetadata) -> Result<Vec<FileRef>> {
        let mut seen: HashSet<&str> = HashSet::default();
        let pages: Vec<&PageRef> =
            checkpoint.pages().filter(|page| seen.insert(page.object.name.as_str())).collect();
        let (objects, known) = (&self.objects, &self.known);
        let unknown = pages.iter().filter(|page| !known.contains_key(&page.object.name));
        let reads = unknown.map(|page| page.object.clone()).map(|page| async move {
            let files = read(objects, &page).await?;
            Ok::<_, Error>((page.name, Arc::new(files)))
        });
        let reads: Vec<_> = reads.collect();
        let read: Vec<_> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        self.known.extend(read);
        let named = pages.iter().filter_map(|page| self.known.get(&page.object.name)).map(Arc::clone);
        let named: Vec<_> = named.collect();
        let mut seen: HashSet<&str> = HashSet::default();
        let all = checkpoint.files().chain(named.iter().flat_map(|files| files.iter()));
        Ok(all.filter(|file| seen.insert(file.name.as_str())).cloned().collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    /// The worked bytes of the format's page.
    pub(crate) fn worked() -> Bytes {
        const PAGE: &str = include_str!("../../docs/formats/page.md");
        let block = PAGE.split("```worked page\n").nth(1).unwrap().split("```").next().unwrap();
        let hex: String = block.lines().filter_map(|line| line.split('│').next()).collect();
        let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>().into()
    }

    #[test]
    fn of_the_worked_page_the_names_are_read_and_every_flipped_bit_and_every_cut_is_corruption() {
        let bytes = worked();
        let files = decode("1.page", &bytes).unwrap();
        let read: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.size_bytes)).collect();
        assert_eq!(
            read,
            [
                ("state/00000002/0003/000000000001.sst", 4096),
                ("state/00000002/0003/000000000002.sst", 3000),
                ("state/00000002/0003/000000000003.val", 5200)
            ]
        );
        for at in 0..bytes.len() {
            let cut = decode("1.page", &bytes.slice(..at)).unwrap_err();
            assert_eq!(cut.kind(), ErrorKind::Corruption, "cut at {at}");
            for bit in 0..8 {
                let mut broken = bytes.to_vec();
                broken[at] ^= 1 << bit;
                let error = decode("1.page", &broken.into()).unwrap_err();
                assert!(error.to_string().contains("1.page is damaged"), "bit {bit} of byte {at}: {error}");
            }
        }
    }

    #[test]
    fn of_names_and_what_is_its_backends_the_worked_page_is_written_again() {
        let bytes = worked();
        let files = decode("1.page", &bytes).unwrap();
        // Where the page's tables begin, behind three names.
        let own = &bytes[137..bytes.len() - 4];
        assert_eq!(encode_page(&files, own), bytes);
    }
}
