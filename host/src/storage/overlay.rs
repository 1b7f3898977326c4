//! A root that is begun from a checkpoint of another: what is not there yet is read there.
//!
//! **Invariants**: everything but reads goes to the own root, so the origin is never written, listed or deleted from.
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use alluvium_checkpoint::Origin;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// The store for the backends of a job that is begun from `origin`: `own`, with the origin's files before they are there.
pub fn over(own: &Arc<dyn ObjectStore>, origin: &Arc<Origin>) -> Arc<dyn ObjectStore> {
    Arc::new(OverlayStore { own: Arc::clone(own), origin: Arc::clone(origin) })
}

#[derive(Debug)]
struct OverlayStore {
    own: Arc<dyn ObjectStore>,
    origin: Arc<Origin>,
}

impl OverlayStore {
    /// Where an object is read.
    fn holder(&self, location: &Path) -> &Arc<dyn ObjectStore> {
        if self.origin.holds(location.as_ref()) { self.origin.store() } else { &self.own }
    }
}

impl fmt::Display for OverlayStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.own.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for OverlayStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.own.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.own.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.holder(from).get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.holder(from).get_ranges(from, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.own.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.own.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.own.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.own.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.own.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.own.rename_opts(from, to, options).await
    }
}
