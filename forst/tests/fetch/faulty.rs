//! An object store that answers reads as a test wants: late, not at all, wrongly, or with an error.
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, Result};

use crate::common::failures::{failed, missing};
use crate::common::layer::{Layer, Layered};

/// How one read is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Right,
    After(Duration),
    Never,
    Throttled,
    Reset,
    Missing,
    Denied,
    DeniedAfter(Duration),
    Short,
    Long,
    Empty,
    /// As long as it should be, with a bit that is not, unless a bit of it was broken before: who reads again, be it another
    /// piece around that bit, is answered.
    GarbledOnce,
}

/// Decides by the object's name and how often this very range was asked for before.
type Plan = Box<dyn Fn(&str, u64) -> Answer + Send + Sync>;

/// Memory behind a plan.
pub struct FaultyStore {
    memory: InMemory,
    plan: Mutex<Arc<Plan>>,
    asked: Mutex<BTreeMap<(String, u64), u64>>,
    /// The bytes that were answered with a broken bit.
    broken: Mutex<BTreeSet<(String, u64)>>,
    in_flight: AtomicUsize,
    pub most_in_flight: AtomicUsize,
    pub requests: AtomicU64,
}

impl FaultyStore {
    pub fn new() -> Arc<Layered<Self>> {
        Arc::new(Layered(Self {
            memory: InMemory::new(),
            plan: Mutex::new(Arc::new(Box::new(|_, _| Answer::Right))),
            asked: Mutex::default(),
            broken: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
        }))
    }

    /// From now on reads are answered so; counts begin anew.
    pub fn plan(&self, plan: impl Fn(&str, u64) -> Answer + Send + Sync + 'static) {
        *self.plan.lock().unwrap() = Arc::new(Box::new(plan));
        self.asked.lock().unwrap().clear();
        self.broken.lock().unwrap().clear();
        self.requests.store(0, Ordering::SeqCst);
        self.most_in_flight.store(0, Ordering::SeqCst);
    }

    /// Reads that were answered with a broken bit.
    pub fn broken(&self) -> usize {
        self.broken.lock().unwrap().len()
    }

    /// Reads that are not answered.
    pub fn under_way(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn next(&self, location: &Path, start: u64) -> Answer {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry((location.to_string(), start)).or_default();
            *count += 1;
            *count - 1
        };
        let plan = Arc::clone(&self.plan.lock().unwrap());
        plan(location.as_ref(), before)
    }

    fn garbled_once(&self, location: &Path, range: &Range<u64>, whole: Bytes) -> Bytes {
        let byte_of = |offset: u64| (location.to_string(), offset);
        let mut broken = self.broken.lock().unwrap();
        if broken.range(byte_of(range.start)..byte_of(range.end)).next().is_some() {
            return whole;
        }
        let middle = whole.len() / 2;
        broken.insert(byte_of(range.start + middle as u64));
        let mut bytes = whole.to_vec();
        bytes[middle] ^= 1;
        bytes.into()
    }

    async fn read(&self, location: &Path, range: &Range<u64>) -> Result<Bytes> {
        let _guard = InFlight::enter(self);
        let answer = self.next(location, range.start);
        match answer {
            Answer::After(delay) => tokio::time::sleep(delay).await,
            Answer::Never => std::future::pending().await,
            Answer::Throttled => return Err(failed("503 Slow Down")),
            Answer::Reset => return Err(failed("connection reset")),
            Answer::Missing => return Err(missing(location)),
            Answer::DeniedAfter(delay) => {
                tokio::time::sleep(delay).await;
                return denied(location);
            }
            Answer::Denied => return denied(location),
            Answer::Right | Answer::Short | Answer::Long | Answer::Empty | Answer::GarbledOnce => {}
        }
        let whole = self.memory.get_ranges(location, std::slice::from_ref(range)).await?.remove(0);
        Ok(match answer {
            Answer::Short => whole.slice(..whole.len() - 1),
            Answer::Long => [whole, Bytes::from_static(b"x")].concat().into(),
            Answer::Empty => Bytes::new(),
            Answer::GarbledOnce => self.garbled_once(location, range, whole),
            _ => whole,
        })
    }
}

fn denied(location: &Path) -> Result<Bytes> {
    Err(Error::PermissionDenied { path: location.to_string(), source: "403".into() })
}

struct InFlight<'a>(&'a FaultyStore);

impl<'a> InFlight<'a> {
    fn enter(store: &'a FaultyStore) -> Self {
        let now = store.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        store.most_in_flight.fetch_max(now, Ordering::SeqCst);
        Self(store)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Layer for FaultyStore {
    fn memory(&self) -> &InMemory {
        &self.memory
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let mut pieces = Vec::new();
        for range in ranges {
            pieces.push(self.read(location, range).await?);
        }
        Ok(pieces)
    }
}
