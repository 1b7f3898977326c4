//! A store whose compactions go out, an owner that deletes what is released, compactors to do them, and a clock.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use alluvium_env::{Background, Entropy, Error, IoRuntime, ManualClock, Result, SystemClock};
use alluvium_forst::{
    Compactor, CompactorOptions, CompactorSettings, DescribedOperators, Expiry, Fate, FetchSettings,
    ForstMetrics, ForstSettings, MergeOperator, MergeOperators, Moment, Ownership, RemoteCompactionSettings,
    Restored, Stamp, Store, StoreOptions,
};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::common::bell::Bell;
use crate::common::changes::Model;
use crate::common::layer::Layered;
use crate::common::reaper::Reaper;
use crate::common::scan::scan_all;
use crate::common::sum::Sum;
use crate::process::Process;

/// Keys that begin with `s` are sums; values of keys that begin with `t` begin with the millisecond of their update and
/// live for [`LIFE_MILLIS`].
#[derive(Default)]
pub(crate) struct Kinds {
    pub(crate) now_millis: AtomicU64,
}

pub(crate) const LIFE_MILLIS: u64 = 200;

impl MergeOperator for Kinds {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        Sum.merge(acc, operand)
    }
}

impl MergeOperators for Kinds {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        Sum.operator(key).map(|_| self as _)
    }
    fn expiry(&self) -> Option<&dyn Expiry> {
        Some(self)
    }
    fn describe(&self) -> Option<Bytes> {
        Some(Bytes::from_static(b"kinds"))
    }
}

pub(crate) fn updated_millis(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

impl Expiry for Kinds {
    fn now_millis(&self) -> u64 {
        self.now_millis.load(SeqCst)
    }
    fn longest_millis(&self) -> u64 {
        LIFE_MILLIS
    }
    fn judge(&self, key: &[u8], value: &mut Vec<u8>, moment: Moment) -> Result<Fate> {
        if !key.starts_with(b"t") {
            return Ok(Fate::Lasts);
        }
        Ok(self.judge_class(1, updated_millis(value), moment))
    }
    fn judge_class(&self, class: u16, updated_millis: u64, moment: Moment) -> Fate {
        if updated_millis + LIFE_MILLIS > moment.now_millis {
            return Fate::Lives(Stamp { class, since_millis: updated_millis, updated_millis });
        }
        Fate::Expired { hides_older: false }
    }
    fn expires_at_millis(&self, _: u16, updated_millis: u64) -> Option<u64> {
        Some(updated_millis + LIFE_MILLIS)
    }
}

/// Knows them by their description, in another process whose clock says something else.
pub(crate) struct Known;

impl DescribedOperators for Known {
    fn operators(&self, description: &[u8]) -> Result<Arc<dyn MergeOperators>> {
        if description == b"kinds" {
            return Ok(Arc::new(Kinds::default()));
        }
        Err(Error::invalid("other operators"))
    }
}

pub(crate) struct World {
    pub(crate) memory: Arc<InMemory>,
    pub(crate) io: IoRuntime,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) owner: Arc<Layered<Process>>,
    pub(crate) kinds: Arc<Kinds>,
    background: Arc<Background>,
    reaper: Arc<Reaper>,
    bell: Bell,
    registry: Registry,
    metrics: Arc<ForstMetrics>,
    value_threshold_bytes: usize,
    pub(crate) memory_bytes: u64,
    /// Smaller compactions stay at home.
    pub(crate) min_input_bytes: u64,
}

impl World {
    pub(crate) fn new(value_threshold_bytes: usize) -> Self {
        let (memory, io) = (Arc::new(InMemory::new()), IoRuntime::new(2).unwrap());
        let clock = Arc::new(ManualClock::default());
        let (metrics, mut registry) = (ForstMetrics::new(clock.clone()), Registry::default());
        metrics.register(&mut registry);
        Self {
            owner: Process::new(&memory),
            reaper: Reaper::new(&memory, &io),
            memory,
            io,
            clock,
            kinds: Arc::default(),
            background: Arc::new(Background::new(1).unwrap()),
            bell: Bell::default(),
            registry,
            metrics,
            value_threshold_bytes,
            memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
            min_input_bytes: 400_000,
        }
    }

    pub(crate) fn open(&self, attempt: u64, restored: Vec<Restored>) -> Store {
        let mut store = Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: self.memory_bytes,
                block_size_bytes: 1024,
                value_threshold_bytes: self.value_threshold_bytes,
                remote_compaction: Some(RemoteCompactionSettings {
                    min_input_bytes: self.min_input_bytes,
                    ..RemoteCompactionSettings::default()
                }),
                ..ForstSettings::default()
            },
            store: Arc::clone(&self.owner) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::clone(&self.kinds) as Arc<dyn MergeOperators>,
            ownership: Arc::clone(&self.reaper) as Arc<dyn Ownership>,
            notify: self.bell.ringer(),
            prefix: format!("state/{attempt:08}/0000"),
            restored,
        })
        .unwrap();
        store.use_clock(self.clock.clone());
        store.report_to(&self.metrics);
        store
    }

    /// A compactor with a way of its own to the store.
    pub(crate) fn compactor(process: &Arc<Layered<Process>>) -> Compactor {
        Self::compactor_with(process, Arc::new(Known), 256 << 20)
    }

    /// The same that knows these operators, and has this memory.
    pub(crate) fn compactor_with(
        process: &Arc<Layered<Process>>,
        operators: Arc<dyn DescribedOperators>,
        memory_bytes: u64,
    ) -> Compactor {
        let quick = FetchSettings {
            deadline: Duration::from_millis(500),
            attempt_timeout: Duration::from_millis(500),
            ..FetchSettings::default()
        };
        // A process that a test holds up holds up no other.
        let io = IoRuntime::new(2).unwrap();
        Compactor::new(CompactorOptions {
            store: Arc::clone(process) as Arc<dyn ObjectStore>,
            io,
            settings: CompactorSettings {
                memory_bytes,
                beat: Duration::from_millis(20),
                fetch: quick,
                ..CompactorSettings::default()
            },
            operators,
            clock: Arc::new(SystemClock::new()),
            entropy: Entropy::from_os(),
        })
        .unwrap()
    }

    /// Lets others go on for a moment.
    pub(crate) fn moment(&self) {
        // Whether anything rang or not: what is waited for may be another process's.
        let _ = self.bell.wait(Duration::from_millis(5));
    }

    pub(crate) fn poll(store: &mut Store) {
        store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
    }

    /// Polls until something has happened, a minute at most.
    pub(crate) fn until(&self, what: &str, store: &mut Store, mut happened: impl FnMut(&mut Store) -> bool) {
        for _ in 0..12_000 {
            Self::poll(store);
            if happened(store) {
                return;
            }
            self.moment();
        }
        panic!("waited a minute for {what}");
    }

    pub(crate) fn settle(&self, store: &mut Store) {
        Self::poll(store);
        while !store.admits() {
            self.moment();
            Self::poll(store);
        }
    }

    pub(crate) fn list(&self, folder: &str) -> BTreeSet<String> {
        let listing = self.memory.list(Some(&Path::from(folder)));
        let names: Vec<String> =
            self.io.block_on(listing.map_ok(|object| object.location.to_string()).try_collect()).unwrap();
        names.into_iter().collect()
    }

    /// Objects below `compaction/` of a kind.
    pub(crate) fn objects(&self, kind: &str) -> Vec<String> {
        self.list("compaction").into_iter().filter(|name| name.ends_with(kind)).collect()
    }

    /// Looks until nothing is left in a folder, a minute at most: releases delete in the background.
    pub(crate) fn until_empty(&self, folder: &str) {
        for _ in 0..12_000 {
            if self.list(folder).is_empty() {
                return;
            }
            self.moment();
        }
        panic!("left in {folder}/: {:?}", self.list(folder));
    }

    /// What is held of objects.
    pub(crate) fn held(&self) -> Vec<String> {
        self.reaper.names.lock().unwrap().0.keys().cloned().collect()
    }

    /// How many trips ended so.
    pub(crate) fn trips(&self, outcome: &str) -> u64 {
        self.metric(&format!("forst_remote_compactions_total{{outcome=\"{outcome}\"}} "))
    }

    /// What compactions at home have borrowed for what they read ahead.
    pub(crate) fn borrowed_bytes(&self) -> u64 {
        self.metric("forst_memory_bytes{reservation=\"borrowed\"} ")
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    }

    /// Writes until a job is out.
    pub(crate) fn until_posted(&self, store: &mut Store, model: &mut Model) {
        self.write_until(store, model, || !self.objects(".job").is_empty());
    }

    pub(crate) fn write_until(&self, store: &mut Store, model: &mut Model, happened: impl Fn() -> bool) {
        let random = Entropy::from_seed(model.len() as u64);
        for step in 0_u64.. {
            assert!(step < 1_000_000, "no compaction is due");
            let key = format!("v{:06}", random.next_u64() % 60_000).into_bytes();
            let value = vec![step as u8; 60];
            store.put(&key, &value).unwrap();
            model.insert(key, value);
            if step % 64 == 0 {
                self.settle(store);
                if happened() {
                    return;
                }
            }
        }
    }

    /// Uploads a snapshot and makes it the one the reaper spares.
    pub(crate) fn snapshot(&self, store: &mut Store) -> (Restored, BTreeSet<String>) {
        self.reaper.snapshot(store)
    }

    /// Everything is there, and what the store named is all that is left of it.
    pub(crate) fn assert_whole(&self, mut store: Store, model: &Model) {
        assert!(scan_all(&mut store).unwrap().into_iter().eq(model.clone()), "the content differs");
        let (_, named) = self.snapshot(&mut store);
        drop(store);
        self.until_empty("compaction");
        for _ in 0..12_000 {
            if self.list("state") == named {
                break;
            }
            self.moment();
        }
        assert_eq!(self.list("state"), named, "objects that nobody names");
        assert!(self.owner.overwritten.lock().unwrap().is_empty());
    }
}
