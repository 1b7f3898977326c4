//! The probe at the start: does the store do what the ledger stands on (design D10)?
//!
//! Some S3-compatible servers ignore `If-None-Match` and overwrite. On such a store two jobs would both believe
//! that they own the state, so a job that finds one refuses to start.
use alluvium_env::{Error, Result};
use bytes::Bytes;

use crate::ledger::{Entry, FOLDER, name_of};
use crate::objects::{Creation, Objects};
use crate::wire;

/// Begins the names of objects that are none of the ledger's, and are there for a moment.
const PREFIX: &str = "probe-";

/// Creates a claim once more, byte for byte: a store that lets this pass has changed nothing, and is refused.
///
/// # Errors
/// `Invalid` if the store overwrites what it was told to create; `Unavailable` from the store.
pub(crate) async fn conditional_create(objects: &Objects, claim: &Entry) -> Result<()> {
    refuses_a_second(objects, &name_of(claim.sequence), wire::encode(claim)).await
}

/// Finds out the same where nothing is to be claimed yet, and that the store can be written to at all.
///
/// # Errors
/// As [`conditional_create`]; `Invalid` if it may not be written to.
pub(crate) async fn before_a_claim(objects: &Objects, token: u64) -> Result<()> {
    let name = format!("{FOLDER}/{PREFIX}{token:016x}");
    objects.create(&name, Bytes::new()).await?;
    let probed = refuses_a_second(objects, &name, Bytes::new()).await;
    // What is left is the next claimant's to delete.
    let _ = objects.delete(&name).await;
    probed
}

/// Whether an object is what a probe has left.
pub(crate) fn is_one(name: &str) -> bool {
    let name = name.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
    name.is_some_and(|name| name.starts_with(PREFIX))
}

async fn refuses_a_second(objects: &Objects, name: &str, bytes: Bytes) -> Result<()> {
    match objects.create(name, bytes).await? {
        Creation::Exists => Ok(()),
        Creation::Created => Err(Error::invalid(format!(
            "{} overwrote {name} although told to create it: it has no conditional put, so two jobs could destroy \
             each other's state; use a store that honours If-None-Match",
            objects.store_name()
        ))),
    }
}
