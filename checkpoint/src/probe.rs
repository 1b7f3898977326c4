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
/// How often a probe is created once more.
const CREATES: usize = 4;

/// Creates a claim once more, byte for byte: a store that lets this pass has changed nothing, and is refused.
///
/// # Errors
/// `Invalid` if the store overwrites what it was told to create; `Unavailable` from the store.
pub(crate) async fn conditional_create(objects: &Objects, claim: &Entry) -> Result<()> {
    let name = name_of(claim.sequence);
    match objects.create(&name, wire::encode(claim)).await? {
        Creation::Exists => Ok(()),
        Creation::Created => Err(overwrites(objects, &name)),
    }
}

/// Finds out the same where nothing is to be claimed yet, and that the store can be written to at all.
///
/// # Errors
/// As [`conditional_create`]; `Invalid` if it may not be written to.
pub(crate) async fn before_a_claim(objects: &Objects, token: u64) -> Result<()> {
    let name = format!("{FOLDER}/{PREFIX}{token:016x}");
    objects.create(&name, Bytes::new()).await?;
    let probed = is_refused(objects, &name).await;
    // What is left is the next claimant's to delete.
    let _ = objects.delete(&name).await;
    probed
}

/// Whether a create of a name that is there is refused. A claimant may take the probe for left and delete it meanwhile, so one
/// that is done does not tell; no store that overwrites refuses any. (The simulation found that.)
async fn is_refused(objects: &Objects, name: &str) -> Result<()> {
    for _ in 0..CREATES {
        if objects.create(name, Bytes::new()).await? == Creation::Exists {
            return Ok(());
        }
    }
    Err(overwrites(objects, name))
}

/// Whether an object is what a probe has left.
pub(crate) fn is_one(name: &str) -> bool {
    let name = name.strip_prefix(FOLDER).and_then(|name| name.strip_prefix('/'));
    name.is_some_and(|name| name.starts_with(PREFIX))
}

#[cold]
fn overwrites(objects: &Objects, name: &str) -> Error {
    Error::invalid(format!(
        "{} overwrote {name} although told to create it: it has no conditional put, so two jobs could destroy \
         each other's state; use a store that honours If-None-Match",
        objects.store_name()
    ))
}
