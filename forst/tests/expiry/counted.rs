//! A layer that counts what is asked of the store; deletions, which are the owner's business, are not counted.
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, MultipartUpload, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::common::layer::Layer;

/// See the module.
#[derive(Default)]
pub(crate) struct Counted {
    memory: InMemory,
    requests: AtomicUsize,
}

impl Counted {
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    fn count(&self) {
        self.requests.fetch_add(1, SeqCst);
    }
}

#[async_trait]
impl Layer for Counted {
    fn memory(&self) -> &InMemory {
        &self.memory
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.count();
        self.memory.get_opts(from, options).await
    }

    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.count();
        self.memory.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.count();
        self.memory.put_multipart_opts(to, options).await
    }
}
