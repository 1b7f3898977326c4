//! What a job that was begun from another root's checkpoint owes it: files are brought home before a checkpoint names them,
//! and an origin that was claimed goes once there is a checkpoint in its place.
//!
//! **Threads**: the coordinator's; the requests are made on the I/O runtime.
//!
//! **Failure**: an origin that cannot be deleted is tried again after the next checkpoint, and told at the end.
use std::sync::Arc;

use alluvium_checkpoint::{Origin, SubtaskAck};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use object_store::ObjectStore;
use tokio::task::JoinHandle;

use super::{Restore, World};
use crate::storage::over;

/// See the module.
pub(super) struct Succession {
    pub(super) origin: Arc<Origin>,
    io: IoRuntime,
    entropy: Arc<Entropy>,
    retiring: Option<JoinHandle<Result<()>>>,
}

impl Succession {
    /// Of a job that begins so.
    pub(super) fn of(restore: &Restore, world: &World) -> Option<Self> {
        let Restore::From(origin) = restore else { return None };
        let (io, entropy) = (world.io.clone(), Arc::clone(&world.entropy));
        Some(Self { origin: Arc::clone(origin), io, entropy, retiring: None })
    }

    /// Where the job reads: its own root, with the origin's files before they are there.
    pub(super) fn store(succession: Option<&Self>, world: &World) -> Arc<dyn ObjectStore> {
        succession.map_or_else(|| Arc::clone(&world.store), |one| over(&world.store, &one.origin))
    }

    /// A checkpoint is complete: the origin is needed no more.
    pub(super) fn completed(&mut self) {
        if self.retiring.as_ref().is_none_or(JoinHandle::is_finished) {
            let (origin, token) = (Arc::clone(&self.origin), self.entropy.next_u64());
            self.retiring = Some(self.io.spawn(async move { origin.retire(token).await }));
        }
    }

    /// Waits for what was begun; returns what is to be said of it.
    pub(super) fn end(&mut self) -> Option<String> {
        let retired = self.io.block_on(self.retiring.take()?);
        let retired =
            retired.unwrap_or_else(|e| Err(Error::internal("a takeover did not end").with_source(e)));
        retired.err().map(|error| error.to_string())
    }
}

/// Brings home what a subtask's part of a checkpoint names elsewhere; counts as uploaded.
pub(super) async fn bring_home(origin: Option<Arc<Origin>>, mut ack: SubtaskAck) -> Result<SubtaskAck> {
    if let Some(origin) = origin {
        ack.snapshot.uploaded_bytes += origin.bring(&ack.snapshot.files, &ack.snapshot.pages).await?;
    }
    Ok(ack)
}
