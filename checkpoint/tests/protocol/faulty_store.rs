//! A store that fails chosen calls, before or after performing them, counts listings, ignores conditions, or has something happen
//! before a page is read.
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Nothing happens in the store.
    Before,
    /// The store does as told, and only the answer is lost.
    After,
}

/// Which calls fail.
#[derive(Default)]
pub(crate) struct Plan {
    calls: AtomicUsize,
    first: AtomicUsize,
    burst: AtomicUsize,
    after: AtomicBool,
    lists: AtomicUsize,
    uploads: AtomicUsize,
    ignores_conditions: AtomicBool,
    refuses_deletes: AtomicBool,
    refuses_deletes_below: OnceLock<&'static str>,
    deletes: AtomicUsize,
    hangs_in_sweeps: AtomicBool,
    hangs_in_deletes: AtomicBool,
    before_pages: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Plan {
    /// Whether nothing may be deleted from now on.
    pub(crate) fn refuse_deletes(&self, refuse: bool) {
        self.refuses_deletes.store(refuse, SeqCst);
    }

    /// From now on nothing with such a name may be deleted.
    pub(crate) fn refuse_deletes_below(&self, folder: &'static str) {
        self.refuses_deletes_below.get_or_init(|| folder);
    }

    fn refuses_to_delete(&self, path: &Path) -> bool {
        let below = self.refuses_deletes_below.get().is_some_and(|folder| path.as_ref().starts_with(folder));
        below || self.refuses_deletes.load(SeqCst)
    }

    /// Names so far that were asked to be deleted.
    pub(crate) fn deletes(&self) -> usize {
        self.deletes.load(SeqCst)
    }

    /// From now on no listing of a sweep is answered.
    pub(crate) fn hang_in_sweeps(&self) {
        self.hangs_in_sweeps.store(true, SeqCst);
    }

    /// From now on no delete is answered.
    pub(crate) fn hang_in_deletes(&self) {
        self.hangs_in_deletes.store(true, SeqCst);
    }

    /// From now on this happens before a page is read.
    pub(crate) fn before_pages(&self, happens: impl Fn() + Send + Sync + 'static) {
        self.before_pages.get_or_init(|| Box::new(happens));
    }

    /// After `skip` more calls, `burst` calls fail.
    pub(crate) fn arm(&self, skip: usize, burst: usize, when: When) {
        self.first.store(self.calls.load(SeqCst) + skip, SeqCst);
        self.after.store(when == When::After, SeqCst);
        self.burst.store(burst, SeqCst);
    }

    /// Whether a call was failed at all.
    pub(crate) fn was_reached(&self) -> bool {
        self.calls.load(SeqCst) > self.first.load(SeqCst)
    }

    /// Listings so far.
    pub(crate) fn lists(&self) -> usize {
        self.lists.load(SeqCst)
    }

    /// Uploads in parts that were neither completed nor given up.
    pub(crate) fn open_uploads(&self) -> usize {
        self.uploads.load(SeqCst)
    }

    /// From now on a create overwrites.
    pub(crate) fn ignore_conditions(&self) {
        self.ignores_conditions.store(true, SeqCst);
    }

    fn verdict(&self) -> Option<When> {
        let (call, first) = (self.calls.fetch_add(1, SeqCst), self.first.load(SeqCst));
        let fails = (first..first + self.burst.load(SeqCst)).contains(&call);
        fails.then(|| if self.after.load(SeqCst) { When::After } else { When::Before })
    }
}

fn injected() -> Error {
    Error::Generic { store: "FaultyStore", source: "injected fault".into() }
}

/// See the module.
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, plan: Arc<Plan>) -> Self {
        Self { inner, plan }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        match self.plan.verdict() {
            None => call.await,
            Some(When::Before) => Err(injected()),
            Some(When::After) => call.await.and(Err(injected())),
        }
    }

    fn listing(
        &self,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.plan.lists.fetch_add(1, SeqCst);
        let failure = stream::once(async { Err(injected()) });
        match self.plan.verdict() {
            None => list,
            Some(When::Before) => failure.boxed(),
            Some(When::After) => list.chain(failure).boxed(),
        }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({})", self.inner)
    }
}

/// An upload in parts, each of which may fail, and its end as well.
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    store: FaultyStore,
}

impl fmt::Debug for FaultyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyUpload({})", self.store.inner)
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let put = self.inner.put_part(payload);
        let verdict = self.store.plan.verdict();
        Box::pin(async move {
            match verdict {
                None => put.await,
                Some(When::Before) => Err(injected()),
                Some(When::After) => put.await.and(Err(injected())),
            }
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.store.call(self.inner.complete()).await?;
        self.store.plan.uploads.fetch_sub(1, SeqCst);
        Ok(completed)
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.plan.uploads.fetch_sub(1, SeqCst);
        self.inner.abort().await
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.plan.ignores_conditions.load(SeqCst) {
            options.mode = PutMode::Overwrite;
        }
        self.call(self.inner.put_opts(to, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.call(self.inner.put_multipart_opts(to, options)).await?;
        let store = Self { inner: Arc::clone(&self.inner), plan: Arc::clone(&self.plan) };
        self.plan.uploads.fetch_add(1, SeqCst);
        Ok(Box::new(FaultyUpload { inner, store }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        if let Some(happens) = self.plan.before_pages.get().filter(|_| from.extension() == Some("page")) {
            happens();
        }
        self.call(self.inner.get_opts(from, options)).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = Self { inner: Arc::clone(&self.inner), plan: Arc::clone(&self.plan) };
        let this = Arc::new(this);
        let delete = move |path: Path| {
            let this = Arc::clone(&this);
            async move {
                this.plan.deletes.fetch_add(1, SeqCst);
                if this.plan.hangs_in_deletes.load(SeqCst) {
                    std::future::pending::<()>().await;
                }
                if this.plan.refuses_to_delete(&path) {
                    let path = path.to_string();
                    return Err(Error::PermissionDenied { path, source: "no right to delete".into() });
                }
                let one = stream::once(async move { Ok(path) }).boxed();
                let mut deleted = this.inner.delete_stream(one);
                this.call(async { deleted.try_next().await?.ok_or_else(injected) }).await
            }
        };
        // Like S3 in bulk: one name that fails does not stop the others.
        paths
            .then(move |path| {
                let delete = delete.clone();
                async move { delete(path?).await }
            })
            .boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.plan.hangs_in_sweeps.load(SeqCst) && folder.is_some_and(|folder| folder.as_ref() != "ledger")
        {
            return stream::pending().boxed();
        }
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
        self.call(self.inner.list_with_delimiter(folder)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.call(self.inner.copy_opts(from, to, options)).await
    }
}
