//! `alluvium savepoint create` and `ls`.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_checkpoint::{
    RetainedCheckpoints, Savepoint, SavepointRequest, create_canonical_savepoint, create_savepoint,
};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_host::storage::{Storage, transfer};
use alluvium_state_api::{CheckpointId, RestoredPart};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use serde::Serialize;

use super::any_entries::open_entries;
use super::output::Output;
use super::retained::{Head, ROWS};
use super::savepoint_args::{CreateArgs, SavepointLsArgs};
use crate::progress::{Pace, ProgressLine, Seen};
use crate::results::grouped;
use crate::state;

/// The summary.
#[derive(Serialize)]
struct Summary<'a> {
    url: &'a str,
    checkpoint: u64,
    job: &'a str,
    objects: u64,
    bytes: u64,
}

/// Makes a savepoint.
///
/// # Errors
/// As [`create_savepoint`], or what opening either root fails with.
pub(super) fn create(args: &CreateArgs, io: &IoRuntime) -> Result<()> {
    let from = state::open_read_only(&state::locate(args.location())?, io)?;
    let checkpoint = args.checkpoint.0.map(CheckpointId);
    // Before anything is made where it is to go.
    let total = total_bytes(&from, checkpoint, io)?;
    let to = state::open(Some(&state::locate(&args.to)?), "", io)?;
    let copied = Arc::new(AtomicU64::new(0));
    let (seen, mut pace) = (Arc::clone(&copied), Pace::default());
    let progress = ProgressLine::start(Some(total), move |now| {
        let position = seen.load(Ordering::Relaxed);
        let rate = pace.rate(position, now) >> 20;
        Seen { position, message: format!("{} MiB  {rate} MiB/s", grouped(position >> 20)) }
    })?;
    let copied = |bytes| {
        copied.fetch_add(bytes, Ordering::Relaxed);
    };
    let url = from.url().to_owned();
    let request = SavepointRequest { transfer: transfer(&from, &to), url, checkpoint, copied: &copied };
    let entropy = Entropy::from_os();
    let made = if args.canonical {
        let open = |part: &RestoredPart| open_entries(part, &from.store, (io, &entropy));
        create_canonical_savepoint(&request, &open, io, &entropy)
    } else {
        create_savepoint(&request, io, &entropy)
    };
    drop(progress);
    told(args, &to, &made?)
}

fn total_bytes(from: &Storage, checkpoint: Option<CheckpointId>, io: &IoRuntime) -> Result<u64> {
    let retained = RetainedCheckpoints::read(Arc::clone(&from.store), io)?;
    let none = || Error::invalid(format!("there is no checkpoint in {}; give a job's state URL", from.url()));
    let chosen = match checkpoint {
        Some(id) => retained.checkpoint(id)?,
        None => retained.latest().ok_or_else(none)?,
    };
    Ok(chosen.files().map(|file| file.size_bytes).sum())
}

fn told(args: &CreateArgs, to: &Storage, made: &Savepoint) -> Result<()> {
    let Savepoint { checkpoint, objects, bytes } = made;
    let mut out = Output::new();
    if args.json {
        let (checkpoint, job) = (checkpoint.id.0, &checkpoint.job);
        out.json(&Summary { url: to.url(), checkpoint, job, objects: *objects, bytes: *bytes })?;
    } else {
        let (id, url, objects, bytes) = (checkpoint.id, to.url(), grouped(*objects), grouped(*bytes));
        out.line(&format!("Checkpoint {id} is in {url}: {objects} objects of {bytes} bytes"))?;
    }
    out.finish()
}

/// Prints what there is in a folder: each root with checkpoints, itself or one level below.
///
/// # Errors
/// `Invalid` if there is none; what reading fails with.
pub(super) fn ls(args: &SavepointLsArgs, io: &IoRuntime) -> Result<()> {
    let storage = state::open_read_only(&state::locate(&args.url)?, io)?;
    let listing = io.block_on(storage.store.list_with_delimiter(None));
    let listing = listing.map_err(|e| {
        Error::unavailable(format!("cannot list what is in {}", storage.url())).with_source(e)
    })?;
    let mut roots = vec![(storage.url().to_owned(), Arc::clone(&storage.store))];
    for folder in listing.common_prefixes {
        let url = format!("{}/{folder}", storage.url().trim_end_matches('/'));
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&storage.store), folder));
        roots.push((url, store));
    }
    let (mut out, mut found) = (Output::new(), false);
    for (url, store) in roots {
        let has_ledger = io.block_on(store.list_with_delimiter(Some(&ObjectPath::from("ledger"))));
        if has_ledger.is_ok_and(|ledger| ledger.objects.is_empty()) {
            continue;
        }
        let retained = RetainedCheckpoints::read(store, io).map_err(|error| error.context(url.clone()))?;
        if !args.json && retained.latest().is_some() {
            out.line(&format!("{}{url}\n{ROWS}", if found { "\n" } else { "" }))?;
        }
        for checkpoint in retained.all() {
            found = true;
            let head = Head::of(&url, checkpoint);
            if args.json { head.json(&mut out)? } else { out.line(&head.row())? }
        }
    }
    out.finish()?;
    if found {
        return Ok(());
    }
    Err(Error::invalid(format!("there is no savepoint in {}, nor one level below", args.url)))
}
