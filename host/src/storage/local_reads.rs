//! A local folder whose objects are read from files that stay open, on the thread that asks where that cannot block.
//!
//! `LocalFileSystem` opens the file and changes threads for every call. Objects are immutable, so one open file serves
//! all reads of its object, and what the page cache holds is copied without a change of threads
//! ([`alluvium_env::read_ranges`]); `benches/local_reads.rs` has the figures. Everything but `get_ranges` is forwarded;
//! to the owner of the folder, leftovers of writes that were cut off are objects as well ([`leftovers`]).
//!
//! **Invariants**: a name that is deleted or written again is forgotten once that is done, so a later read opens it
//! anew.
//!
//! **Failure**: whatever goes wrong here is asked again of the inner store, whose error the caller sees.
use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use alluvium_env::{OpenFiles, read_ranges};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tokio::task::spawn_blocking;

use super::leftovers;

/// Half of what a process may have open by default.
const MAX_OPEN: usize = 512;
/// Deletions under way at a time: as many as the inner store has.
const DELETES_AT_ONCE: usize = 10;

/// Forwards to a local folder; reads ranges itself.
#[derive(Debug)]
pub(super) struct LocalReads {
    inner: LocalFileSystem,
    open: Arc<OpenFiles<Path>>,
    /// The folder, if this is its owner's.
    owned: Option<PathBuf>,
}

impl LocalReads {
    pub(super) fn new(inner: LocalFileSystem) -> Self {
        Self { inner, open: Arc::new(OpenFiles::new(MAX_OPEN)), owned: None }
    }

    /// For the owner of `root`: it sees what writes that were cut off have left.
    pub(super) fn owning(self, root: PathBuf) -> Self {
        Self { owned: Some(root), ..self }
    }

    async fn read(&self, location: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        let file = match self.open.get(location) {
            Ok(file) => file,
            Err(era) => self.open(location, era).await?,
        };
        read_ranges(&file, ranges).await.ok()
    }

    async fn open(&self, location: &Path, era: u64) -> Option<Arc<File>> {
        let path = self.inner.path_to_filesystem(location).ok()?;
        let file = Arc::new(spawn_blocking(move || File::open(path)).await.ok()?.ok()?);
        self.open.keep(era, location, &file);
        Some(file)
    }
}

impl fmt::Display for LocalReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for LocalReads {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let result = self.inner.put_opts(location, payload, options).await;
        self.open.forget(location);
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(ForgettingUpload { inner, location: location.clone(), open: Arc::clone(&self.open) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if let Some(pieces) = self.read(location, ranges).await {
            return Ok(pieces);
        }
        self.open.forget(location);
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (open, inner) = (Arc::clone(&self.open), self.inner.clone());
        if let Some(root) = self.owned.clone() {
            // One by one: the inner store has no bulk request, and refuses the names of leftovers.
            let delete = move |location: Result<Path>| {
                let (root, inner, open) = (root.clone(), inner.clone(), Arc::clone(&open));
                async move {
                    let location = location?;
                    if leftovers::is_leftover(&location) {
                        leftovers::delete(&root, &location)?;
                    } else {
                        inner.delete(&location).await?;
                        open.forget(&location);
                    }
                    Ok(location)
                }
            };
            return locations.map(delete).buffered(DELETES_AT_ONCE).boxed();
        }
        let deleted = self.inner.delete_stream(locations).inspect(move |deleted| {
            if let Ok(location) = deleted {
                open.forget(location);
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        let Some(root) = self.owned.clone() else { return listed };
        let prefix = prefix.cloned().unwrap_or_default();
        let leftovers =
            stream::once(async move { spawn_blocking(move || leftovers::list(&root, &prefix)).await });
        listed.chain(leftovers.map(|left| stream::iter(left.unwrap_or_default())).flatten()).boxed()
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let result = self.inner.copy_opts(from, to, options).await;
        self.open.forget(to);
        result
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let result = self.inner.rename_opts(from, to, options).await;
        self.open.forget(from);
        self.open.forget(to);
        result
    }
}

/// A multipart upload that ends with its name forgotten.
#[derive(Debug)]
struct ForgettingUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    open: Arc<OpenFiles<Path>>,
}

#[async_trait]
impl MultipartUpload for ForgettingUpload {
    fn put_part(&mut self, data: PutPayload) -> object_store::UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await;
        self.open.forget(&self.location);
        result
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use futures_util::TryStreamExt;

    use super::*;

    struct World {
        io: IoRuntime,
        folder: tempfile::TempDir,
        store: LocalReads,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = LocalReads::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
            Self { io: IoRuntime::new(1).unwrap(), folder, store }
        }

        fn write(&self, path: &Path, bytes: &'static [u8]) {
            self.io.block_on(self.store.put(path, PutPayload::from_static(bytes))).unwrap();
        }

        fn read(&self, path: &Path, range: Range<u64>) -> Result<Vec<Bytes>> {
            self.io.block_on(self.store.get_ranges(path, &[range.clone(), range]))
        }
    }

    #[test]
    fn a_name_that_is_written_again_or_renamed_reads_as_what_it_is_now() {
        let (world, a, b) = (World::new(), Path::from("x/a"), Path::from("x/b"));
        world.write(&a, b"first");
        assert_eq!(world.read(&a, 3..5).unwrap(), ["st", "st"]);
        world.write(&a, b"other");
        assert_eq!(world.read(&a, 0..5).unwrap(), ["other", "other"]);
        world.write(&b, b"third");
        assert_eq!(world.read(&b, 0..5).unwrap(), ["third", "third"]);
        world.io.block_on(world.store.rename(&b, &a)).unwrap();
        assert_eq!(world.read(&a, 0..5).unwrap(), ["third", "third"]);
        assert!(world.read(&b, 0..5).is_err());
        let upload = async {
            let mut upload = world.store.put_multipart(&a).await?;
            upload.put_part(PutPayload::from_static(b"parts")).await?;
            upload.complete().await
        };
        world.io.block_on(upload).unwrap();
        assert_eq!(world.read(&a, 0..5).unwrap(), ["parts", "parts"]);
    }

    #[test]
    fn a_deleted_object_is_not_found_and_its_file_is_closed() {
        let (world, a) = (World::new(), Path::from("a"));
        world.write(&a, b"content");
        world.read(&a, 0..7).unwrap();
        assert!(world.store.open.get(&a).is_ok(), "it stays open for the next read");
        world.io.block_on(world.store.delete(&a)).unwrap();
        assert!(world.store.open.get(&a).is_err(), "an open file would keep the disk's space");
        let error = world.read(&a, 0..7).unwrap_err();
        assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
    }

    #[test]
    fn a_truncated_object_reads_as_the_inner_store_reads_it() {
        let (world, a) = (World::new(), Path::from("a"));
        world.write(&a, b"content");
        world.read(&a, 0..7).unwrap();
        std::fs::write(world.folder.path().join("a"), b"con").unwrap();
        for range in [0..7, 5..7] {
            let own = world.read(&a, range.clone());
            let inner = world.io.block_on(world.store.inner.get_ranges(&a, &[range.clone(), range]));
            assert_eq!(own.map_err(|e| e.to_string()), inner.map_err(|e| e.to_string()));
        }
    }

    #[test]
    fn the_owner_of_a_folder_sees_and_deletes_what_a_write_that_was_cut_off_left() {
        let (world, a) = (World::new(), Path::from("state/00000001/0/1.sst"));
        world.write(&a, b"content");
        let left = world.folder.path().join("state/00000001/0/2.sst#12");
        std::fs::write(&left, b"half").unwrap();
        let list = |store: &LocalReads| {
            let listed =
                store.list(Some(&Path::from("state"))).map_ok(|meta| (meta.location.to_string(), meta.size));
            world.io.block_on(async { listed.try_collect::<Vec<_>>().await }).unwrap()
        };
        assert_eq!(list(&world.store), [(a.to_string(), 7)], "nobody else does");
        let owner = LocalReads::new(LocalFileSystem::new_with_prefix(world.folder.path()).unwrap())
            .owning(world.folder.path().to_owned());
        assert_eq!(list(&owner), [(a.to_string(), 7), ("state/00000001/0/2.sst#12".to_owned(), 4)]);
        let leftover = Path::parse("state/00000001/0/2.sst#12").unwrap();
        world.io.block_on(owner.delete(&leftover)).unwrap();
        assert!(!left.exists());
        let gone = world.io.block_on(owner.delete(&leftover)).unwrap_err();
        assert!(matches!(gone, object_store::Error::NotFound { .. }), "{gone}");
        world.io.block_on(owner.delete(&a)).unwrap();
        assert_eq!(list(&owner), []);
        assert!(
            world
                .io
                .block_on(owner.list(Some(&Path::from("none"))).try_collect::<Vec<_>>())
                .unwrap()
                .is_empty()
        );
    }
}
