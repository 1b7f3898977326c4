//! A second job in a root of its own, begun from a checkpoint of the first (FLIP-193: claim, no-claim).
use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_checkpoint::{Origin, RestoreMode, Transfer};
use alluvium_state_api::CheckpointId;

use crate::store::ProcessStore;
use crate::world::World;

/// What its attempts have in common.
#[derive(Clone)]
pub(crate) struct Fork {
    /// The root that it is begun from.
    pub(crate) from: Arc<World>,
    /// Its own root.
    pub(crate) world: Arc<World>,
    pub(crate) mode: RestoreMode,
    /// The one that it is begun from.
    checkpoint: CheckpointId,
    /// What that names, itself and by its pages.
    pub(crate) needs: Arc<BTreeSet<String>>,
}

impl Fork {
    /// Draws whether there is one, which there can be once the first job has a checkpoint.
    pub(crate) fn draw(from: &Arc<World>) -> Option<Self> {
        let mode = match from.random.below(8) {
            0 => RestoreMode::Claim,
            1 => RestoreMode::NoClaim,
            _ => return None,
        };
        let retained = from.retained().ok()?;
        let latest = retained.latest()?;
        let (checkpoint, needs) = (latest.id, Arc::new(from.needed(std::slice::from_ref(latest))));
        from.trace(format_args!("a fork of checkpoint {checkpoint} begins: {mode:?}"));
        from.count(|report| report.forks += 1);
        Some(Self { from: Arc::clone(from), world: from.beside(), mode, checkpoint, needs })
    }

    /// Whether it can go on: from a checkpoint of its own, or from the other's as long as that is retained.
    pub(crate) fn is_possible(&self) -> bool {
        let retained = self.from.retained();
        self.has_own() || retained.is_ok_and(|retained| retained.checkpoint(self.checkpoint).is_ok())
    }

    pub(crate) fn has_own(&self) -> bool {
        self.world.retained().is_ok_and(|own| own.latest().is_some())
    }

    /// What an attempt begins from: nothing, once the own root has a checkpoint. Says in whose root that is, too.
    pub(crate) fn origin(&self, own: &ProcessStore) -> Option<(Arc<Origin>, Arc<World>)> {
        if self.has_own() {
            return None;
        }
        let from = Arc::new(ProcessStore { world: Arc::clone(&self.from), ..own.clone() });
        let transfer = Transfer { from, to: Arc::new(own.clone()), shared: None };
        let origin = Origin::new(transfer, "the first root", Some(self.checkpoint), self.mode);
        Some((Arc::new(origin), Arc::clone(&self.from)))
    }
}
