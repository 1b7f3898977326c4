//! One process's way to the store that all share: a test can watch it, hold it up, and let the process die.
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What becomes of a put.
pub(crate) enum Fate {
    Goes,
    /// The process dies before it.
    DiesBefore,
    /// The process dies after it.
    DiesAfter,
    /// Other bytes arrive.
    Becomes(Vec<u8>),
}

/// Whether an object is of a kind.
pub(crate) fn is_of(name: &str, kind: &str) -> bool {
    name.ends_with(kind)
}

type Plan = Box<dyn Fn(&str, &PutPayload) -> Fate + Send + Sync>;

/// See the module.
pub(crate) struct Process {
    inner: Arc<InMemory>,
    plan: Mutex<Arc<Plan>>,
    dead: AtomicBool,
    /// Names that were written over.
    pub(crate) overwritten: Mutex<Vec<String>>,
}

impl Process {
    pub(crate) fn new(inner: &Arc<InMemory>) -> Arc<Self> {
        Self::with(inner, |_, _| Fate::Goes)
    }

    pub(crate) fn with(
        inner: &Arc<InMemory>,
        plan: impl Fn(&str, &PutPayload) -> Fate + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            plan: Mutex::new(Arc::new(Box::new(plan))),
            dead: AtomicBool::new(false),
            overwritten: Mutex::default(),
        })
    }

    fn alive(&self) -> Result<()> {
        if self.dead.load(SeqCst) {
            return Err(Error::Generic { store: "process", source: "this process is dead".into() });
        }
        Ok(())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process")
    }
}

#[async_trait]
impl ObjectStore for Process {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.alive()?;
        let plan = Arc::clone(&self.plan.lock().unwrap());
        let fate = plan(to.as_ref(), &payload);
        if options.mode == PutMode::Overwrite && self.inner.head(to).await.is_ok() {
            self.overwritten.lock().unwrap().push(to.to_string());
        }
        match fate {
            Fate::Goes => self.inner.put_opts(to, payload, options).await,
            Fate::Becomes(other) => self.inner.put_opts(to, other.into(), options).await,
            Fate::DiesBefore => {
                self.dead.store(true, SeqCst);
                self.alive().map(|()| unreachable!())
            }
            Fate::DiesAfter => {
                self.inner.put_opts(to, payload, options).await?;
                self.dead.store(true, SeqCst);
                self.alive().map(|()| unreachable!())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.alive()?;
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.alive() {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
