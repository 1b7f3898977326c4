//! Opens a job's operator once before the state is taken over: whether its states are those of the checkpoint is known by then, and
//! a job that does not fit stops nobody.
//!
//! The operator is opened over the checkpoint's states without their entries, on a thread of its own, and dropped; its tasks open theirs
//! as ever, and look once more.
//!
//! **Failure**: what the tasks would say. A backend that cannot tell its states beforehand leaves it to them.
use std::sync::Arc;

use alluvium_checkpoint::CheckpointMetadata;
use alluvium_env::{Error, Result, spawn_thread};
use alluvium_state_api::{Codec, HeapBackend, KeyGroupRange, KeyedProcess, States, TaskContext};

use super::Job;
use crate::task::Operator;

/// Whether the operator opens what the checkpoint has.
///
/// # Errors
/// `Invalid` names all that differs; what `open` says.
pub(super) fn rehearse<S, P: KeyedProcess<In: Codec>>(
    job: &Job<S>,
    metadata: &CheckpointMetadata,
    open: &Arc<impl Fn(&States<'_>) -> Result<Operator<P>> + Send + Sync + 'static>,
) -> Result<()> {
    let settings = &job.settings;
    let place = || format!("cannot restore checkpoint {}", metadata.id);
    let parts = metadata.restore_for(KeyGroupRange::ALL).parts;
    let Some(states) = job.world.backend.stored_states(&parts).map_err(|e| e.context(place()))? else {
        return Ok(());
    };
    let operator_states =
        metadata.operator_states_for(0, settings.parallelism).map_err(|e| e.context(place()))?;
    let (open, clock, limit) =
        (Arc::clone(open), Arc::clone(&job.world.clock), settings.operator_state_bytes);
    let opening = spawn_thread("alluvium-rehearsal", move || {
        let task = TaskContext::<P::Out>::new(Box::new(HeapBackend::of_states(states)))
            .with_clock(clock)
            .with_operator_state_limit(limit)
            .with_operator_states(operator_states)
            .rehearsing();
        drop(open(&task.states())?);
        // What is dropped would be deleted by the key group; there is nothing to delete here.
        task.opened::<P>(KeyGroupRange { start: 0, end: 0 })
    })?;
    let who = || format!("operator {}", settings.job);
    let opened = opening.join().map_err(|_| Error::internal("it panicked while it was opened"));
    opened.flatten().map_err(|e| e.context(who()).context(place()))
}
