//! What sources and subtasks tell their coordinator: it may be lost, come twice, or come late.
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_checkpoint::SubtaskAck;
use alluvium_env::Result;
use alluvium_state_api::CheckpointId;
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use crate::world::World;

/// One acknowledgement.
pub(crate) enum Message {
    Source { id: CheckpointId, source: usize, positions: Bytes },
    Subtask { id: CheckpointId, subtask: usize, ack: Result<SubtaskAck> },
}

/// The way to one coordinator.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) world: Arc<World>,
    pub(crate) coordinator: UnboundedSender<Message>,
}

impl Network {
    /// Sends a message; `make` makes each copy of it.
    pub(crate) fn send(&self, make: impl Fn() -> Message) {
        let random = &self.world.random;
        let trouble = self.world.faults.load(Ordering::SeqCst);
        if random.permille(trouble / 2) {
            return;
        }
        let copies = if random.permille(trouble) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if random.permille(trouble) { random.millis(100, 500) } else { random.millis(0, 3) };
            let (message, coordinator) = (make(), self.coordinator.clone());
            tokio::task::spawn_local(async move {
                sleep(delay).await;
                // The coordinator may have ended.
                let _ = coordinator.send(message);
            });
        }
    }
}
