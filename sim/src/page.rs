//! A manifest page of the modelled backend (`forst/src/store/manifest/paging.rs`): an object that names files, held as long as they are.
use std::sync::Arc;

use alluvium_checkpoint::{SharedFileRegistry, encode_page};
use alluvium_state_api::{FileRef, ManifestPage};
use bytes::Bytes;

use crate::backend::{DescribedPage, Held};

/// See the module.
pub(crate) struct Page {
    object: Held,
    size_bytes: u64,
    files: Vec<(Held, u64)>,
}

impl Page {
    /// A page that is to be written, and its content.
    pub(crate) fn of(
        registry: &Arc<SharedFileRegistry>,
        object: Held,
        files: &[FileRef],
    ) -> (Arc<Self>, Bytes) {
        let content = encode_page(files, &[]);
        let hold = |file: &FileRef| (Held::new(registry, file.name.clone()), file.size_bytes);
        let files = files.iter().map(hold).collect();
        (Arc::new(Self { object, size_bytes: content.len() as u64, files }), content)
    }

    /// One that an attempt before has written, as it is described.
    pub(crate) fn adopt(registry: &Arc<SharedFileRegistry>, described: DescribedPage) -> Arc<Self> {
        let DescribedPage { name, files } = described;
        Self::of(registry, Held::new(registry, name), &files).0
    }

    pub(crate) fn name(&self) -> &str {
        &self.object.name
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.files.iter().any(|(held, _)| held.name == name)
    }
}

impl ManifestPage for Page {
    fn object(&self) -> FileRef {
        FileRef { name: self.object.name.clone(), size_bytes: self.size_bytes }
    }

    fn totals(&self) -> (u64, u64) {
        (self.files.len() as u64, self.files.iter().map(|(_, size_bytes)| size_bytes).sum())
    }

    fn files(&self, each: &mut dyn FnMut(&str, u64)) {
        self.files.iter().for_each(|(held, size_bytes)| each(&held.name, *size_bytes));
    }
}
