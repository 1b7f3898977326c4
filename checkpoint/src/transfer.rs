//! Objects on their way from one root to another, under the same names.
//!
//! Where one store holds both roots it copies by itself and no byte comes by here; elsewhere objects are streamed, a few at
//! a time and a part of each in memory.
//!
//! **Invariants**: a name that is copied into a root stands there for the same bytes, whoever copies it and how often: names
//! are given once in the life of a state, and [`crate::Origin`] and [`crate::savepoint`] copy into roots that were begun from
//! one checkpoint only. So a copy overwrites, or takes what is there for done, and what was interrupted is done again.
//!
//! **Failure**: an object that is not there, or not as long as its checkpoint says, is `Corruption` and named. An upload in parts
//! that fails is aborted.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use alluvium_state_api::FileRef;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};

use crate::objects::Objects;

/// Objects under way at a time.
const CONCURRENCY: usize = 8;
/// The part of an object that is in memory while it is streamed; stores take parts from 5 MiB.
const PART_BYTES: usize = 8 << 20;
/// What S3 copies in one request.
const MAX_SERVER_SIDE_BYTES: u64 = 5 << 30;

/// Two roots on one store.
#[derive(Clone, Debug)]
pub struct SharedStore {
    /// The store that holds both.
    pub store: Arc<dyn ObjectStore>,
    /// The root that is copied from.
    pub from: Path,
    /// The root that is copied to.
    pub to: Path,
}

impl SharedStore {
    /// Copies an object that is not there yet. One that is there, as long as it should be, has the same bytes; and a local folder
    /// must not copy it again: both are links to one file, which `rename(2)` leaves as they are, and the staged link with them.
    async fn copy(&self, file: &FileRef) -> object_store::Result<()> {
        let Self { store, from, to } = self;
        let (from, to) = (below(from, &file.name), below(to, &file.name));
        match store.copy_if_not_exists(&from, &to).await {
            Ok(()) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) if store.head(&to).await?.size == file.size_bytes => Ok(()),
            // Not every store has such a copy: S3 says so without a request.
            Err(_) => store.copy(&from, &to).await,
        }
    }
}

/// A way from one root to another.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The root that is copied from; it is only read.
    pub from: Arc<dyn ObjectStore>,
    /// The root that is copied to.
    pub to: Arc<dyn ObjectStore>,
    /// How the store can copy by itself, if it holds both.
    pub shared: Option<SharedStore>,
}

impl Transfer {
    /// Copies objects; `copied` is told the size of each.
    ///
    /// # Errors
    /// `Corruption` names an object that is missing or too short, `Unavailable` or `Invalid` is the store's. What was copied
    /// stays.
    pub(crate) async fn copy_all(
        &self,
        files: &[FileRef],
        copied: &(dyn Fn(&FileRef) + Send + Sync),
    ) -> Result<()> {
        let all = stream::iter(files.to_vec()).map(|file| async move {
            self.copy(&file).await?;
            copied(&file);
            Ok(())
        });
        all.buffer_unordered(CONCURRENCY).try_collect().await
    }

    async fn copy(&self, file: &FileRef) -> Result<()> {
        if file.size_bytes <= MAX_SERVER_SIDE_BYTES
            && let Some(shared) = &self.shared
            && shared.copy(file).await.is_ok()
        {
            // What it copied is as long as its original, which may be damaged.
            let head = self.to.head(&Path::from(file.name.as_str())).await;
            let meta = head.map_err(|cause| failed(&self.to, "look for", file, &cause))?;
            return whole(&self.from, file, meta.size);
        }
        // A store that cannot copy (from one disk to another, say), or that does not answer: the stream finds out.
        self.stream(file).await
    }

    async fn stream(&self, file: &FileRef) -> Result<()> {
        let path = Path::from(file.name.as_str());
        let got = self.from.get(&path).await.map_err(|cause| failed(&self.from, "read", file, &cause))?;
        whole(&self.from, file, got.meta.size)?;
        if file.size_bytes <= PART_BYTES as u64 {
            let bytes = got.bytes().await.map_err(|cause| failed(&self.from, "read", file, &cause))?;
            let put = self.to.put(&path, bytes.into()).await;
            return put.map(|_| ()).map_err(|cause| failed(&self.to, "write", file, &cause));
        }
        let mut upload =
            self.to.put_multipart(&path).await.map_err(|c| failed(&self.to, "write", file, &c))?;
        let put = self.stream_parts(upload.as_mut(), file, got.into_stream()).await;
        if put.is_err() {
            // What a store keeps of parts that are never completed nobody could see, nor delete. The first error is the one
            // to tell.
            let _ = upload.abort().await;
        }
        put
    }

    async fn stream_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &FileRef,
        mut chunks: BoxStream<'static, object_store::Result<Bytes>>,
    ) -> Result<()> {
        let mut part = Vec::new();
        let mut part_bytes = 0;
        loop {
            let chunk = chunks.try_next().await.map_err(|cause| failed(&self.from, "read", file, &cause))?;
            let over = chunk.is_none();
            if let Some(chunk) = chunk {
                part_bytes += chunk.len();
                part.push(chunk);
            }
            if part_bytes >= PART_BYTES || (over && part_bytes > 0) {
                let payload: PutPayload = std::mem::take(&mut part).into_iter().collect();
                part_bytes = 0;
                upload.put_part(payload).await.map_err(|cause| failed(&self.to, "write", file, &cause))?;
            }
            if over {
                break;
            }
        }
        upload.complete().await.map(|_| ()).map_err(|cause| failed(&self.to, "write", file, &cause))
    }
}

fn below(root: &Path, name: &str) -> Path {
    root.parts().chain(Path::from(name).parts()).collect()
}

fn whole(store: &Arc<dyn ObjectStore>, file: &FileRef, found: u64) -> Result<()> {
    let FileRef { name, size_bytes } = file;
    if *size_bytes == found {
        return Ok(());
    }
    Err(Error::corruption(format!(
        "{name} in {store} is damaged: expected {size_bytes} bytes, as its checkpoint has it, got {found}; use a \
         checkpoint that does not need it"
    )))
}

#[cold]
fn failed(store: &Arc<dyn ObjectStore>, what: &str, file: &FileRef, cause: &StoreError) -> Error {
    let name = &file.name;
    if matches!(cause, StoreError::NotFound { .. }) {
        return Error::corruption(format!(
            "{name} is missing in {store} and a checkpoint needs it: its job may have dropped the checkpoint; take one that \
             is still retained, or a savepoint, which nobody drops"
        ));
    }
    Objects::new(Arc::clone(store)).error(&format!("{what} {name}"), cause)
}

#[cfg(test)]
mod tests {
    use alluvium_env::{ErrorKind, IoRuntime};
    use object_store::local::LocalFileSystem;
    use object_store::memory::InMemory;
    use object_store::prefix::PrefixStore;

    use super::*;

    fn file(name: &str, size_bytes: u64) -> FileRef {
        FileRef { name: name.into(), size_bytes }
    }

    /// Two roots on one store: copied by the store, and streamed.
    fn ways() -> [Transfer; 2] {
        [true, false].map(|is_shared| {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            let root =
                |name: &str| -> Arc<dyn ObjectStore> { Arc::new(PrefixStore::new(Arc::clone(&store), name)) };
            let (from, to) = (root("a"), root("b"));
            let shared =
                SharedStore { store: Arc::clone(&store), from: Path::from("a"), to: Path::from("b") };
            Transfer { from, to, shared: is_shared.then_some(shared) }
        })
    }

    #[test]
    fn an_object_of_any_size_arrives_whole_either_way() {
        let io = IoRuntime::new(1).unwrap();
        for way in ways() {
            let sizes = [0, 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 3];
            let files: Vec<FileRef> =
                sizes.iter().map(|size| file(&format!("state/00000001/{size}"), *size as u64)).collect();
            io.block_on(async {
                for (name, size) in files.iter().map(|file| &file.name).zip(sizes) {
                    let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                    way.from.put(&Path::from(name.as_str()), bytes.into()).await.unwrap();
                }
                way.copy_all(&files, &|_| ()).await.unwrap();
                for name in files.iter().map(|file| Path::from(file.name.as_str())) {
                    let [a, b] = [&way.from, &way.to];
                    let (a, b) = (a.get(&name).await.unwrap(), b.get(&name).await.unwrap());
                    assert!(a.bytes().await.unwrap() == b.bytes().await.unwrap(), "{name}");
                }
            });
        }
    }

    #[test]
    fn copies_that_are_repeated_on_one_disk_leave_nothing_beside_them_and_mend_what_is_too_short() {
        let (folder, io) = (tempfile::tempdir().unwrap(), IoRuntime::new(1).unwrap());
        let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        let root =
            |name: &str| -> Arc<dyn ObjectStore> { Arc::new(PrefixStore::new(Arc::clone(&store), name)) };
        let shared = SharedStore { store: Arc::clone(&store), from: Path::from("a"), to: Path::from("b") };
        let way = Transfer { from: root("a"), to: root("b"), shared: Some(shared) };
        let names = || {
            let entries = std::fs::read_dir(folder.path().join("b")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        let copy = || io.block_on(way.copy_all(&[file("1", 3)], &|_| ())).unwrap();
        io.block_on(way.from.put(&Path::from("1"), "abc".into())).unwrap();
        (0..3).for_each(|_| copy());
        assert_eq!(names(), ["1"]);
        io.block_on(way.to.put(&Path::from("1"), "a".into())).unwrap();
        copy();
        assert_eq!(std::fs::read(folder.path().join("b/1")).unwrap(), b"abc");
        assert_eq!(names(), ["1"]);
    }

    #[test]
    fn an_object_that_is_missing_or_too_short_is_named() {
        let io = IoRuntime::new(1).unwrap();
        for way in ways() {
            let name = Path::from("state/00000001/1.sst");
            let copied = |size| {
                let all = [file(name.as_ref(), size)];
                io.block_on(way.copy_all(&all, &|_| ())).unwrap_err()
            };
            let missing = copied(3);
            assert_eq!(missing.kind(), ErrorKind::Corruption);
            assert!(missing.to_string().starts_with("state/00000001/1.sst is missing in "), "{missing}");
            io.block_on(way.from.put(&name, "xy".into())).unwrap();
            let short = copied(3);
            assert_eq!(short.kind(), ErrorKind::Corruption);
            assert!(
                short.to_string().contains("expected 3 bytes, as its checkpoint has it, got 2"),
                "{short}"
            );
        }
    }
}
