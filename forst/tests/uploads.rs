//! A checkpoint waits for the uploads it pins and for no others: not for the tables of a flush that is under way.
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime};
use alluvium_forst::{FetchSettings, ForstSettings, KeepAll, NoMerges, Store, StoreOptions};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store to which tables never get, and everything else does.
#[derive(Debug)]
struct NoTables {
    inner: InMemory,
    /// Told when one is on its way.
    begun: SyncSender<()>,
}

impl NoTables {
    fn new() -> (Self, Receiver<()>) {
        let (begun, begins) = sync_channel(1);
        (Self { inner: InMemory::new(), begun }, begins)
    }

    async fn hold(&self, name: &Path) {
        if name.extension() == Some("sst") {
            // One word is enough.
            let _ = self.begun.try_send(());
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Display for NoTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoTables")
    }
}

#[async_trait]
impl ObjectStore for NoTables {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.hold(to).await;
        self.inner.put_opts(to, payload, options).await
    }
    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.hold(to).await;
        self.inner.put_multipart_opts(to, options).await
    }
    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(from, options).await
    }
    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(folder)
    }
    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(folder).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn a_checkpoint_waits_for_no_table_of_a_flush_that_is_under_way() {
    let (tables_never, begins) = NoTables::new();
    let io = IoRuntime::new(1).unwrap();
    let mut store = Store::open(StoreOptions {
        settings: ForstSettings {
            memory_bytes: 16 << 20,
            // Longer than the test, but for the store's end.
            fetch: FetchSettings {
                deadline: Duration::from_secs(4),
                attempt_timeout: Duration::from_secs(2),
                ..FetchSettings::default()
            },
            ..ForstSettings::default()
        },
        store: Arc::new(tables_never),
        io: io.clone(),
        background: Arc::new(Background::new(1).unwrap()),
        disk: None,
        operators: Arc::new(NoMerges),
        ownership: Arc::new(KeepAll),
        notify: Arc::new(|| ()),
        prefix: "state".to_owned(),
        restored: Vec::new(),
    })
    .unwrap();
    let mut written = 0_u64;
    while begins.try_recv() == Err(TryRecvError::Empty) {
        if store.admits() {
            store.put(&written.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(), &[b'v'; 100]).unwrap();
            written += 1;
        }
        store.poll(&mut |_, _| ()).unwrap();
    }
    let mut snapshot = store.snapshot();
    let uploaded = io.block_on(snapshot.upload()).unwrap();
    assert!(uploaded > written * 100, "all of it is in the logs of the memtables");
    let files = snapshot.files();
    assert!(
        !files.is_empty()
            && files.iter().all(|file| Path::from(file.name.as_str()).extension() == Some("delta")),
        "{files:?}"
    );
    assert_eq!(store.counters().flushes, 0, "the table is still on its way");
}

#[test]
fn a_restore_reads_no_more_log_where_there_is_much_memory() {
    let io = IoRuntime::new(1).unwrap();
    let (rung, bell) = sync_channel(1);
    let mut store = Store::open(StoreOptions {
        settings: ForstSettings { memory_bytes: 1 << 30, ..ForstSettings::default() },
        store: Arc::new(InMemory::new()),
        io: io.clone(),
        background: Arc::new(Background::new(1).unwrap()),
        disk: None,
        operators: Arc::new(NoMerges),
        ownership: Arc::new(KeepAll),
        notify: Arc::new(move || {
            let _ = rung.try_send(());
        }),
        prefix: "state".to_owned(),
        restored: Vec::new(),
    })
    .unwrap();
    let mut most = 0;
    for checkpoint in 0..10 {
        for key in 0..6000_u64 {
            // Not in order, or order would have it flushed.
            let key = (checkpoint * 6000 + key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            store.put(&key.to_be_bytes(), &[b'v'; 2000]).unwrap();
        }
        store.poll(&mut |_, _| ()).unwrap();
        let mut snapshot = store.snapshot();
        io.block_on(snapshot.upload()).unwrap();
        let is_log = |name: &str| Path::from(name).extension() == Some("delta");
        let logs =
            snapshot.files().iter().filter(|file| is_log(&file.name)).map(|file| file.size_bytes).sum();
        most = most.max(logs);
        // Six checkpoints fill a log; its flush has as long as it may take.
        while store.counters().flushes < checkpoint / 6 && bell.recv_timeout(Duration::from_secs(10)).is_ok()
        {
            store.poll(&mut |_, _| ()).unwrap();
        }
    }
    assert!((64 << 20..90 << 20).contains(&most), "logs of {most} bytes, of 120 MB that were written");
}
