//! `ForSt` as a keyed state backend: the only place of this crate that knows `state-api`.
mod entries;
mod factory;
mod keyed;
mod operands;
mod operators;
mod reader;

pub use entries::SubtaskEntries;
pub use factory::ForstBackendFactory;
pub use operands::Operands;
pub use operators::StateOperators;
pub use reader::{StateSize, SubtaskReader, claimed_objects};

/// The manifest in a subtask's payload.
#[cfg(fuzzing)]
pub(crate) fn manifest_of(payload: &[u8]) -> alluvium_env::Result<bytes::Bytes> {
    let part = alluvium_state_api::RestoredPart {
        key_groups: alluvium_state_api::KeyGroupRange::ALL,
        backend: factory::NAME.to_owned(),
        payload: bytes::Bytes::copy_from_slice(payload),
    };
    let mut states = alluvium_state_api::StateTable::default();
    let payload = factory::payload(&part)?;
    for state in &payload.states {
        state.restore(&mut states)?;
    }
    Ok(factory::clipped(&part, payload).manifest)
}
