//! Writes entries to files, which are cut between key groups.
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_state_api::{FileRef, KeyGroup, KeyGroupRange, StateEntries, state_key};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};

use super::block::{self, Filling};
use super::payload::{EntriesFile, Payload};
use crate::objects::Objects;

/// A block is finished once its entries take so much.
const BLOCK_BYTES: usize = 64 << 10;
/// A file ends with the key group in which it gets so large.
const FILE_BYTES: u64 = 64 << 20;
/// The part of a file that is in memory; stores take parts from 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Where files go: a root, and what begins their names.
pub(crate) struct Folder<'a> {
    pub(crate) store: &'a Arc<dyn ObjectStore>,
    pub(crate) io: &'a IoRuntime,
    pub(crate) prefix: &'a str,
    /// Files that there are.
    pub(crate) files: u64,
}

/// Writes all entries; `written` is told the bytes of each part of a file.
///
/// # Errors
/// What reading the entries fails with, `Corruption` if they are in no order; `Unavailable` or `Invalid` from the store.
pub(crate) fn write(
    entries: &mut dyn StateEntries,
    folder: &mut Folder<'_>,
    written: &dyn Fn(u64),
) -> Result<Payload> {
    let mut payload = Payload { states: entries.states().clone(), files: Vec::new() };
    let mut file: Option<File> = None;
    let mut last_key: Vec<u8> = Vec::new();
    while let Some(entry) = entries.next_entry()? {
        let group = state_key::split(entry.key)?.0;
        if !last_key.is_empty() && last_key.as_slice() >= entry.key {
            return Err(Error::corruption("a checkpoint gives its entries in no order"));
        }
        last_key.clear();
        last_key.extend_from_slice(entry.key);
        if let Some(full) = file.take_if(|file| file.size_bytes >= FILE_BYTES && file.last < group) {
            payload.files.push(full.finish(folder, written)?);
        }
        let file = match &mut file {
            Some(file) => file,
            None => file.insert(File::new(folder, group)),
        };
        file.push((group, entry.key, entry.values), folder, written)?;
    }
    if let Some(last) = file {
        payload.files.push(last.finish(folder, written)?);
    }
    Ok(payload)
}

/// A file that is being written.
struct File {
    name: String,
    first: KeyGroup,
    last: KeyGroup,
    entries: u64,
    size_bytes: u64,
    block: Filling,
    part: Vec<u8>,
    /// Of a file of several parts.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl File {
    fn new(folder: &mut Folder<'_>, first: KeyGroup) -> Self {
        folder.files += 1;
        let name = format!("{}/{:08}.entries", folder.prefix, folder.files);
        let part = block::header();
        let (last, size_bytes) = (first, part.len() as u64);
        Self { name, first, last, entries: 0, size_bytes, block: Filling::default(), part, upload: None }
    }

    fn push(
        &mut self,
        (group, key, values): (KeyGroup, &[u8], &[u8]),
        folder: &Folder<'_>,
        written: &dyn Fn(u64),
    ) -> Result<()> {
        self.last = group;
        self.entries += 1;
        self.block.push(key, values);
        if self.block.raw_bytes() >= BLOCK_BYTES {
            let block = self.block.finish();
            self.append(&block);
            if self.part.len() >= PART_BYTES {
                self.put_part(folder, written)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) {
        self.size_bytes += bytes.len() as u64;
        self.part.extend_from_slice(bytes);
    }

    fn put_part(&mut self, folder: &Folder<'_>, written: &dyn Fn(u64)) -> Result<()> {
        let part = std::mem::take(&mut self.part);
        written(part.len() as u64);
        let path = Path::from(self.name.as_str());
        let put = folder.io.block_on(async {
            let upload = match &mut self.upload {
                Some(upload) => upload,
                None => self.upload.insert(folder.store.put_multipart(&path).await?),
            };
            upload.put_part(part.into()).await
        });
        put.map_err(|cause| self.given_up(folder, &cause))
    }

    /// What a store keeps of parts that are never completed nobody could see, nor delete.
    #[cold]
    fn given_up(&mut self, folder: &Folder<'_>, cause: &object_store::Error) -> Error {
        if let Some(mut upload) = self.upload.take() {
            // The first error is the one to tell.
            let _ = folder.io.block_on(async { upload.abort().await });
        }
        Objects::new(Arc::clone(folder.store)).error(&format!("write {}", self.name), cause)
    }

    fn finish(mut self, folder: &Folder<'_>, written: &dyn Fn(u64)) -> Result<EntriesFile> {
        if self.block.raw_bytes() > 0 {
            let block = self.block.finish();
            self.append(&block);
        }
        let end = block::end(self.entries);
        self.append(&end);
        let path = Path::from(self.name.as_str());
        if self.upload.is_some() {
            self.put_part(folder, written)?;
        } else {
            written(self.part.len() as u64);
        }
        let put = folder.io.block_on(async {
            match &mut self.upload {
                Some(upload) => upload.complete().await,
                None => folder.store.put(&path, std::mem::take(&mut self.part).into()).await,
            }
        });
        put.map_err(|cause| self.given_up(folder, &cause))?;
        let file = FileRef { name: self.name, size_bytes: self.size_bytes };
        let key_groups = KeyGroupRange { start: self.first.0, end: self.last.0 + 1 };
        Ok(EntriesFile { file, key_groups, entries: self.entries })
    }
}
