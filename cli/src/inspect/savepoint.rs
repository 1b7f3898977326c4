//! `alluvium savepoint create`, `restore` and `ls`.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_checkpoint::{
    RetainedCheckpoints, Savepoint, SavepointRequest, create_canonical_savepoint, create_savepoint,
};
use alluvium_env::{Entropy, Error, IoRuntime, Result};
use alluvium_host::storage::{LOCK, Storage, transfer};
use alluvium_state_api::{CANONICAL, CheckpointId, RestoredPart};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use serde::Serialize;

use super::any_entries::open_entries;
use super::output::Output;
use super::retained::{Head, ROWS};
use super::savepoint_args::{CreateArgs, RestoreArgs, SavepointLsArgs, located};
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

/// The summary of a restore.
#[derive(Serialize)]
struct Restored<'a> {
    from: &'a str,
    canonical: bool,
    #[serde(flatten)]
    summary: Summary<'a>,
}

/// Makes a savepoint.
///
/// # Errors
/// `Invalid` if there is anything in the target but what the same command has left there when it was interrupted; as
/// [`create_savepoint`], or what opening either root fails with.
pub(super) fn create(args: &CreateArgs, io: &IoRuntime) -> Result<()> {
    let from = state::open_read_only(&state::locate(args.location())?, io)?;
    let checkpoint = args.checkpoint.0.map(CheckpointId);
    // Before anything is made where it is to go.
    let total = total_bytes(&from, checkpoint, io)?;
    let to = state::open(Some(&state::locate(&args.to)?), "", io)?;
    refuse_others(&to, io)?;
    let made = copied((&from, &to), (checkpoint, total), |request| {
        let entropy = Entropy::from_os();
        if args.canonical {
            let open = |part: &RestoredPart| open_entries(part, &from.store, (io, &entropy));
            create_canonical_savepoint(request, &open, io, &entropy)
        } else {
            create_savepoint(request, io, &entropy)
        }
    });
    told(args, &to, &made?)
}

/// Makes a state of a savepoint: a root in which a job goes on as if it had always been there.
///
/// # Errors
/// `Invalid` if there is anything in the state's root but what the same command has left there when it was interrupted; as
/// [`create_savepoint`], or what opening either root fails with.
pub(super) fn restore(args: &RestoreArgs, io: &IoRuntime) -> Result<()> {
    let (location, id) = located(&args.savepoint);
    let from = state::open_read_only(&state::locate(location)?, io)?;
    let checkpoint = id.map(CheckpointId);
    let total = total_bytes(&from, checkpoint, io)?;
    let to = state::open(Some(&state::locate(args.location())?), "", io)?;
    refuse_others(&to, io)?;
    let made = copied((&from, &to), (checkpoint, total), |request| {
        create_savepoint(request, io, &Entropy::from_os())
    })?;
    let Savepoint { checkpoint, objects, bytes } = made;
    let is_canonical = checkpoint.subtasks.iter().any(|subtask| subtask.backend == CANONICAL);
    let (from, url, id, job) = (from.url(), to.url(), checkpoint.id.0, &checkpoint.job);
    let mut out = Output::new();
    if args.json {
        let summary = Summary { url, checkpoint: id, job, objects, bytes };
        out.json(&Restored { from, canonical: is_canonical, summary })?;
    } else {
        let (objects, bytes) = (grouped(objects), grouped(bytes));
        let read = if is_canonical { ", which it reads whole when it starts" } else { "" };
        out.line(&format!(
            "{url} is a state of job {job} now, of checkpoint {id} in {from}: {objects} objects of {bytes} bytes"
        ))?;
        out.line(&format!("The job goes on there with --restore latest{read}; the savepoint is as it was"))?;
    }
    out.finish()
}

/// Refuses a root with anything in it that no ledger speaks of; what a ledger says is compared where it is claimed.
fn refuse_others(to: &Storage, io: &IoRuntime) -> Result<()> {
    let listing = io.block_on(to.store.list_with_delimiter(None));
    let listing = listing
        .map_err(|e| Error::unavailable(format!("cannot list what is in {}", to.url())).with_source(e))?;
    let folders = listing.common_prefixes.iter().map(AsRef::as_ref);
    let objects = listing.objects.iter().map(|found| found.location.as_ref());
    let names: Vec<&str> = folders.chain(objects.filter(|name| *name != LOCK)).collect();
    match names.first() {
        Some(other) if !names.contains(&"ledger") => Err(Error::invalid(format!(
            "{} holds something else already, {other} for one; choose an empty folder or prefix",
            to.url()
        ))),
        _ => Ok(()),
    }
}

/// Has a checkpoint, of so many bytes, copied from one root to another; shows how far that is.
fn copied(
    (from, to): (&Storage, &Storage),
    (checkpoint, total): (Option<CheckpointId>, u64),
    create: impl FnOnce(&SavepointRequest<'_>) -> Result<Savepoint>,
) -> Result<Savepoint> {
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
    let made = create(&SavepointRequest { transfer: transfer(from, to), url, checkpoint, copied: &copied });
    drop(progress);
    made
}

fn total_bytes(from: &Storage, checkpoint: Option<CheckpointId>, io: &IoRuntime) -> Result<u64> {
    let retained = RetainedCheckpoints::read(Arc::clone(&from.store), io)?;
    let none = || Error::invalid(format!("there is no checkpoint in {}; give a job's state URL", from.url()));
    let chosen = match checkpoint {
        Some(id) => retained.checkpoint(id)?,
        None => retained.latest().ok_or_else(none)?,
    };
    Ok(chosen.totals().1)
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
