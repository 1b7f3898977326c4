//! An object store of which one call, or every call from one on, goes wrong.
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, GetResultPayload, ObjectStore, PutOptions, PutPayload, PutResult, Result,
};

use crate::common::failures::{failed, missing};
use crate::common::layer::Layer;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A 503; nothing is read or written.
    Throttled,
    /// The answer is lost; what was asked for has happened.
    Lost,
    /// A read answers with a byte less; a write is as lost.
    Short,
    /// A read finds nothing; a write is as lost.
    Missing,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Throttled, Self::Lost, Self::Short, Self::Missing];
}

/// Which calls go wrong.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plan {
    None,
    /// The n-th, once.
    Once(u64, Fault),
    /// The n-th and all after it.
    From(u64, Fault),
}

/// Memory of which calls go wrong.
pub(crate) struct Failing {
    memory: InMemory,
    plan: Mutex<Plan>,
    calls: AtomicU64,
}

impl Failing {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { memory: InMemory::new(), plan: Mutex::new(plan), calls: AtomicU64::new(0) }
    }

    pub(crate) fn recover(&self) {
        *self.plan.lock().unwrap() = Plan::None;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    fn fault(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, SeqCst);
        match *self.plan.lock().unwrap() {
            Plan::Once(n, fault) if n == call => Some(fault),
            Plan::From(n, fault) if n <= call => Some(fault),
            _ => None,
        }
    }
}

#[async_trait]
impl Layer for Failing {
    fn memory(&self) -> &InMemory {
        &self.memory
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.fault();
        let pieces = self.memory.get_ranges(location, ranges).await?;
        match fault {
            None => Ok(pieces),
            Some(Fault::Throttled) => Err(failed("503 Slow Down")),
            Some(Fault::Lost) => Err(failed("connection reset")),
            Some(Fault::Missing) => Err(missing(location)),
            Some(Fault::Short) => Ok(pieces.iter().map(|piece| piece.slice(..piece.len() - 1)).collect()),
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.fault();
        let found = self.memory.get_opts(location, options).await?;
        match fault {
            None => Ok(found),
            Some(Fault::Throttled) => Err(failed("503 Slow Down")),
            Some(Fault::Lost) => Err(failed("connection reset")),
            Some(Fault::Missing) => Err(missing(location)),
            Some(Fault::Short) => {
                let (meta, range, attributes) =
                    (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let extensions = found.extensions.clone();
                let bytes = found.bytes().await?;
                let cut = bytes.slice(..bytes.len() - 1);
                let payload =
                    GetResultPayload::Stream(Box::pin(futures_util::stream::once(async { Ok(cut) })));
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
        }
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        match self.fault() {
            None => self.memory.put_opts(location, payload, options).await,
            Some(Fault::Throttled) => Err(failed("503 Slow Down")),
            Some(_) => {
                self.memory.put_opts(location, payload, options).await?;
                Err(failed("connection reset"))
            }
        }
    }
}
