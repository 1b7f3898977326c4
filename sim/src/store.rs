//! The simulated object store as one process sees it.
//!
//! A call takes time before and after its effect, both drawn. The effect belongs to the store: it comes whatever becomes of
//! the process meanwhile. A call may fail before its effect, or after it, or with the effect still to come; it may be
//! slow; a conditional create may say that the name exists because its own first try has made it. A process that was
//! killed calls no more: its calls never return.
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::world::World;

/// Names in a page of a listing: few, so that listings see changes between their pages.
const PAGE: usize = 7;
/// Deletions under way at a time.
const DELETES_AT_ONCE: usize = 4;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    Slow,
    /// It fails and nothing happens.
    Before,
    /// It happens and fails.
    After,
    /// It fails, and happens later.
    Late,
    /// A create happens, and says that somebody else was earlier.
    Repeated,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct ProcessStore {
    pub(crate) world: Arc<World>,
    pub(crate) process: u64,
    pub(crate) alive: Arc<AtomicBool>,
}

fn injected(what: &str) -> Error {
    Error::Generic { store: "sim", source: format!("injected: {what}").into() }
}

impl ProcessStore {
    fn fate(&self) -> Fate {
        let random = &self.world.random;
        if !random.permille(self.world.faults.load(Ordering::SeqCst)) {
            return Fate::Done;
        }
        self.world.count(|report| report.faults += 1);
        match random.below(5) {
            0 => Fate::Slow,
            1 => Fate::Before,
            2 => Fate::After,
            3 => Fate::Late,
            _ => Fate::Repeated,
        }
    }

    /// Whoever is dead waits for ever.
    async fn live(&self) {
        if !self.alive.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        what: String,
        effect: impl Future<Output = Result<T>> + Send + 'static,
    ) -> (Fate, Result<T>) {
        self.live().await;
        let (fate, random) = (self.fate(), &self.world.random);
        let (mut before, after) = (random.millis(1, 12), random.millis(1, 6));
        if fate == Fate::Slow {
            before *= 20;
        }
        let process = self.process;
        self.world.trace(format_args!("{process} calls {what}: {fate:?}"));
        if fate == Fate::Before {
            sleep(before).await;
            self.live().await;
            return (fate, Err(injected("it was not done")));
        }
        let (answer, answered) = oneshot::channel();
        let delay = if fate == Fate::Late { before * 15 } else { before };
        let world = Arc::clone(&self.world);
        world.in_flight.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            sleep(delay).await;
            let result = effect.await;
            world.trace(format_args!(
                "{process} did {what}: {}",
                if result.is_ok() { "ok" } else { "refused" }
            ));
            world.in_flight.fetch_sub(1, Ordering::SeqCst);
            // The process may have died or given up.
            let _ = answer.send(result);
        });
        let result = if fate == Fate::Late {
            sleep(before + Duration::from_millis(1)).await;
            Err(injected("it comes later"))
        } else {
            let result = answered.await.unwrap_or_else(|_| Err(injected("the store is gone")));
            sleep(after).await;
            if fate == Fate::After { result.and(Err(injected("its answer was lost"))) } else { result }
        };
        self.live().await;
        (fate, result)
    }

    async fn page(&self, folder: Path, after: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let objects = Arc::clone(&self.world.objects);
        let what = format!("list {folder}");
        let effect = async move {
            let listed = match after {
                None => objects.list(Some(&folder)),
                Some(after) => objects.list_with_offset(Some(&folder), &after),
            };
            let mut all: Vec<ObjectMeta> = listed.try_collect().await?;
            all.sort_by(|a, b| a.location.cmp(&b.location));
            all.truncate(PAGE);
            Ok(all)
        };
        self.call(what, effect).await.1
    }

    fn pages(&self, folder: Option<&Path>, after: Option<Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, folder) = (self.clone(), folder.cloned().unwrap_or_default());
        let pages = stream::try_unfold(Some(after), move |next| {
            let (this, folder) = (this.clone(), folder.clone());
            async move {
                let Some(after) = next else { return Ok::<_, Error>(None) };
                let page = this.page(folder, after).await?;
                let next = page.last().filter(|_| page.len() == PAGE).map(|last| Some(last.location.clone()));
                Ok(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    async fn delete_one(&self, path: Path) -> Result<Path> {
        let (world, target) = (Arc::clone(&self.world), path.clone());
        let effect = async move {
            let result = world.objects.delete(&target).await;
            world.deleted(target.as_ref());
            result
        };
        self.call(format!("delete {path}"), effect).await.1?;
        Ok(path)
    }
}

impl fmt::Debug for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim")
    }
}

#[async_trait]
impl ObjectStore for ProcessStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (world, target, creates) = (Arc::clone(&self.world), to.clone(), options.mode == PutMode::Create);
        let effect = async move {
            let result = world.objects.put_opts(&target, payload, options).await;
            if result.is_ok() {
                world.written(target.as_ref());
            }
            result
        };
        let (fate, result) = self.call(format!("put {to}"), effect).await;
        if fate == Fate::Repeated && creates && result.is_ok() {
            let source = "its first try was earlier".into();
            return Err(Error::AlreadyExists { path: to.to_string(), source });
        }
        result
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(injected("nobody uploads in parts here"))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let (objects, source) = (Arc::clone(&self.world.objects), from.clone());
        let effect = async move { objects.get_opts(&source, options).await };
        self.call(format!("get {from}"), effect).await.1
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |path: Result<Path>| {
            let this = this.clone();
            async move { this.delete_one(path?).await }
        };
        paths.map(delete).buffered(DELETES_AT_ONCE).boxed()
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(folder, None)
    }

    fn list_with_offset(
        &self,
        folder: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(folder, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(injected("nobody lists folders here"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(injected("nobody copies here"))
    }
}
