//! The probe at the start: does the store do what the ledger stands on (design D10)?
//!
//! Some S3-compatible servers ignore `If-None-Match` and overwrite. On such a store two jobs would both believe
//! that they own the state, so a job that finds one refuses to start.
use alluvium_env::{Error, Result};

use crate::ledger::{Entry, name_of};
use crate::objects::{Creation, Objects};
use crate::wire;

/// Creates a claim once more, byte for byte: a store that lets this pass has changed nothing, and is refused.
///
/// # Errors
/// `Invalid` if the store overwrites what it was told to create; `Unavailable` from the store.
pub(crate) async fn conditional_create(objects: &Objects, claim: &Entry) -> Result<()> {
    let name = name_of(claim.sequence);
    match objects.create(&name, wire::encode(claim)).await? {
        Creation::Exists => Ok(()),
        Creation::Created => Err(Error::invalid(format!(
            "{} overwrote {name} although told to create it: it has no conditional put, so two jobs could destroy \
             each other's state; use a store that honours If-None-Match",
            objects.store_name()
        ))),
    }
}
