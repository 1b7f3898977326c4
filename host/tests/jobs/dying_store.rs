//! A store as a process sees it that dies: from one call on nothing reaches it any more, and nothing is heard of it.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// How many calls a process makes, and whether the one that it dies in takes effect.
pub(crate) struct Life {
    calls: AtomicU64,
    last: u64,
    last_takes_effect: bool,
    /// While it lives, nothing may be deleted.
    deletes_nothing: bool,
    /// Called once the last call was made.
    died: Box<dyn Fn() + Send + Sync>,
}

impl Life {
    pub(crate) fn new(
        last: u64,
        last_takes_effect: bool,
        died: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (calls, died) = (AtomicU64::new(0), Box::new(died));
        Arc::new(Self { calls, last, last_takes_effect, deletes_nothing: false, died })
    }

    /// For ever, without the right to delete.
    pub(crate) fn that_deletes_nothing() -> Arc<Self> {
        let (calls, last, died) = (AtomicU64::new(0), u64::MAX, Box::new(|| ()));
        Arc::new(Self { calls, last, last_takes_effect: false, deletes_nothing: true, died })
    }

    /// Calls that were made, those of the dead included.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.calls() >= self.last
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        if number < self.last {
            return call.await;
        }
        if number == self.last {
            if self.last_takes_effect {
                // Nobody hears of it.
                let _ = call.await;
            }
            (self.died)();
        }
        Err(dead())
    }
}

/// An error that nobody tries again after.
fn dead() -> Error {
    Error::PermissionDenied { path: "any".to_owned(), source: "the process is dead".into() }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct DyingStore {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) life: Arc<Life>,
}

impl DyingStore {
    fn listing(
        &self,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let life = Arc::clone(&self.life);
        stream::once(async move { life.call(async { Ok(list) }).await }).try_flatten().boxed()
    }
}

impl fmt::Debug for DyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DyingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DyingStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for DyingStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.life.call(self.inner.put_opts(to, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.life.call(self.inner.put_multipart_opts(to, options)).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.life.call(self.inner.get_opts(from, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Result<Path>| {
            let this = this.clone();
            async move {
                if this.life.deletes_nothing {
                    return Err(dead());
                }
                let one = stream::once(async { path }).boxed();
                let deleted = async { this.inner.delete_stream(one).try_next().await?.ok_or_else(dead) };
                this.life.call(deleted).await
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list(folder))
    }

    fn list_with_offset(
        &self,
        folder: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(self.inner.list_with_offset(folder, offset))
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.life.call(self.inner.list_with_delimiter(folder)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.life.call(self.inner.copy_opts(from, to, options)).await
    }
}
