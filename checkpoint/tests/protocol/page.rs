//! A manifest page of the toy job: an object that names some of its files, all of which are held as long as the page is.
use std::sync::Arc;

use alluvium_checkpoint::{SharedFileRegistry, encode_page};
use alluvium_env::{Error, Result};
use alluvium_state_api::{FileOwnership, FileRef, ManifestPage};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The object of a page. What is the toy's own of it, nobody else reads: a field of one byte.
pub(crate) fn encode(files: &[FileRef]) -> Bytes {
    encode_page(files, &[0x10, 7])
}

/// See the module.
pub(crate) struct Page {
    registry: Arc<SharedFileRegistry>,
    object: FileRef,
    files: Vec<FileRef>,
}

impl Page {
    /// Writes one that names these files.
    pub(crate) async fn write(
        registry: &Arc<SharedFileRegistry>,
        store: &Arc<dyn ObjectStore>,
        name: String,
        files: Vec<FileRef>,
    ) -> Result<Self> {
        let bytes = encode(&files);
        let object = FileRef { name, size_bytes: bytes.len() as u64 };
        let page = Self::adopt(registry, object, files);
        let put = store.put(&Path::from(page.object.name.as_str()), bytes.into()).await;
        put.map_err(|error| Error::unavailable("a page was not written").with_source(error))?;
        Ok(page)
    }

    /// One that a former attempt wrote.
    pub(crate) fn adopt(registry: &Arc<SharedFileRegistry>, object: FileRef, files: Vec<FileRef>) -> Self {
        let page = Self { registry: Arc::clone(registry), object, files };
        page.all().for_each(|name| registry.hold(name));
        page
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.object).chain(&self.files).map(|file| file.name.as_str())
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.files.iter().any(|file| file.name == name)
    }
}

impl ManifestPage for Page {
    fn object(&self) -> FileRef {
        self.object.clone()
    }

    fn totals(&self) -> (u64, u64) {
        (self.files.len() as u64, self.files.iter().map(|file| file.size_bytes).sum())
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) {
        self.files.iter().for_each(|file| each(&file.name, file.size_bytes));
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.all().for_each(|name| self.registry.release(name));
    }
}
