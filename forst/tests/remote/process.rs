//! One process's way to the store that all share: a test can watch it, hold it up, and let the process die.
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::time::sleep;

use crate::common::layer::{Layer, Layered};

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
    memory: Arc<InMemory>,
    plan: Mutex<Arc<Plan>>,
    dead: AtomicBool,
    /// How long a deletion takes.
    deleting: Duration,
    /// Reads are not answered; set by the first.
    unanswered: Option<Arc<AtomicBool>>,
    /// Names that were written over.
    pub(crate) overwritten: Mutex<Vec<String>>,
}

impl Process {
    pub(crate) fn new(memory: &Arc<InMemory>) -> Arc<Layered<Self>> {
        Self::with(memory, |_, _| Fate::Goes)
    }

    pub(crate) fn with(
        memory: &Arc<InMemory>,
        plan: impl Fn(&str, &PutPayload) -> Fate + Send + Sync + 'static,
    ) -> Arc<Layered<Self>> {
        Arc::new(Layered(Self::planned(memory, plan)))
    }

    /// One whose deletions take long.
    pub(crate) fn slow_to_delete(memory: &Arc<InMemory>, deleting: Duration) -> Arc<Layered<Self>> {
        Arc::new(Layered(Self { deleting, ..Self::planned(memory, |_, _| Fate::Goes) }))
    }

    /// One whose reads are never answered, and which says when it was asked for one.
    pub(crate) fn without_reads(memory: &Arc<InMemory>, asked: Arc<AtomicBool>) -> Arc<Layered<Self>> {
        Arc::new(Layered(Self { unanswered: Some(asked), ..Self::planned(memory, |_, _| Fate::Goes) }))
    }

    fn planned(
        memory: &Arc<InMemory>,
        plan: impl Fn(&str, &PutPayload) -> Fate + Send + Sync + 'static,
    ) -> Self {
        Self {
            memory: Arc::clone(memory),
            plan: Mutex::new(Arc::new(Box::new(plan))),
            dead: AtomicBool::new(false),
            deleting: Duration::ZERO,
            unanswered: None,
            overwritten: Mutex::default(),
        }
    }

    fn alive(&self) -> Result<()> {
        if self.dead.load(SeqCst) {
            return Err(Error::Generic { store: "process", source: "this process is dead".into() });
        }
        Ok(())
    }
}

#[async_trait]
impl Layer for Process {
    fn memory(&self) -> &InMemory {
        &self.memory
    }

    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.alive()?;
        let plan = Arc::clone(&self.plan.lock().unwrap());
        let fate = plan(to.as_ref(), &payload);
        if options.mode == PutMode::Overwrite && self.memory.head(to).await.is_ok() {
            self.overwritten.lock().unwrap().push(to.to_string());
        }
        match fate {
            Fate::Goes => self.memory.put_opts(to, payload, options).await,
            Fate::Becomes(other) => self.memory.put_opts(to, other.into(), options).await,
            Fate::DiesBefore => {
                self.dead.store(true, SeqCst);
                self.alive().map(|()| unreachable!())
            }
            Fate::DiesAfter => {
                self.memory.put_opts(to, payload, options).await?;
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
        self.memory.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.alive()?;
        if let Some(asked) = &self.unanswered {
            asked.store(true, SeqCst);
            pending::<()>().await;
        }
        self.memory.get_opts(from, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.alive() {
            Ok(()) => {
                let deleting = self.deleting;
                let late = paths.then(move |path| sleep(deleting).map(|()| path));
                self.memory.delete_stream(late.boxed())
            }
            Err(error) => futures_util::stream::iter([Err(error)]).boxed(),
        }
    }
}
