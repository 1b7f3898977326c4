//! Opens the state URL, to own it or to look into it, and asks a remote store one question before the job starts.
//!
//! The question is a read of a name that is never used, because its answer is typed: what a person must fix (the keys,
//! the bucket, the endpoint) is told apart here by kinds, not by the words of a server's page.
use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_host::storage::{self, Storage};
use futures_util::StreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStoreExt as _};
use url::Url;

/// Ledger entries have twenty digits; this is none.
const UNUSED_NAME: &str = "ledger/0";

/// Opens what `--state` names, or the folder `default`.
///
/// # Errors
/// `Invalid` if it cannot be used; `Unavailable` if it does not answer.
pub(crate) fn open(url: Option<&str>, default: &str, io: &IoRuntime) -> Result<Storage> {
    let Some(url) = url else { return storage::open_folder(Path::new(default)) };
    let storage = storage::open(url)?;
    if local_folder(Some(url), default).is_none() && !is_in_memory(url) {
        io.block_on(ask(&storage))?;
    }
    Ok(storage)
}

/// The local folder that a state URL names, or `default` if none is given.
pub(crate) fn local_folder(url: Option<&str>, default: &str) -> Option<PathBuf> {
    match url {
        None => Some(PathBuf::from(default)),
        Some(url) => url.strip_prefix("file://").map(PathBuf::from),
    }
}

/// The URL of what a person names: a URL as it is, anything else is a path.
///
/// # Errors
/// `Invalid` for a path that cannot be one.
pub(crate) fn locate(location: &str) -> Result<String> {
    if location.contains(':') {
        return Ok(location.to_owned());
    }
    let unusable = || Error::invalid(format!("{location:?} is neither a URL nor a path"));
    let path = std::path::absolute(location).map_err(|e| unusable().with_source(e))?;
    Url::from_file_path(path).map(String::from).map_err(|()| unusable())
}

/// Opens a URL to look into it, beside whoever owns it.
///
/// # Errors
/// `Invalid` if it cannot be used or is not there; `Unavailable` if it does not answer.
pub(crate) fn open_read_only(url: &str, io: &IoRuntime) -> Result<Storage> {
    let storage = storage::open_read_only(url)?;
    if !storage.local {
        io.block_on(ask(&storage))?;
    }
    Ok(storage)
}

/// Opens a URL to work for the job that owns it, beside it.
///
/// # Errors
/// `Invalid` if it cannot be used or is not there; `Unavailable` if it does not answer.
pub(crate) fn open_beside(url: &str, io: &IoRuntime) -> Result<Storage> {
    let storage = storage::open_beside(url)?;
    if !storage.local {
        io.block_on(ask(&storage))?;
    }
    Ok(storage)
}

/// Whether the state ends with the process.
pub(crate) fn is_in_memory(url: &str) -> bool {
    url.starts_with("memory:")
}

async fn ask(storage: &Storage) -> Result<()> {
    let url = storage.url();
    match storage.store.get(&ObjectPath::from(UNUSED_NAME)).await {
        Ok(_) => Ok(()),
        Err(StoreError::NotFound { .. }) => {
            // A missing name and a missing bucket read alike, but only a bucket can be listed.
            match storage.store.list(Some(&ObjectPath::from("ledger"))).next().await {
                None | Some(Ok(_)) => Ok(()),
                Some(Err(_)) => Err(Error::invalid(format!(
                    "the bucket of {url} is not there; create it or correct the URL"
                ))),
            }
        }
        Err(StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. }) => {
            Err(Error::invalid(format!("the store refuses the keys for {url}; check {}", to_check(url).0)))
        }
        Err(other) => Err(Error::unavailable(format!(
            "{url} does not answer ({}); check {}",
            innermost(&other),
            to_check(url).1
        ))),
    }
}

/// What a person can put right where keys are refused, and where nothing answers.
fn to_check(url: &str) -> (&'static str, &'static str) {
    match url.split_once(':').map_or("", |(scheme, _)| scheme) {
        "hdfs" | "viewfs" => {
            ("the user's rights and login", "host and port, or HADOOP_CONF_DIR, and the network")
        }
        "oss" => (
            "OPENDAL_OSS_ACCESS_KEY_ID, OPENDAL_OSS_ACCESS_KEY_SECRET and their rights",
            "OPENDAL_OSS_ENDPOINT, the keys and the network",
        ),
        "cos" => (
            "OPENDAL_COS_SECRET_ID, OPENDAL_COS_SECRET_KEY and their rights",
            "OPENDAL_COS_ENDPOINT, the keys and the network",
        ),
        _ => (
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their rights",
            "AWS_ENDPOINT_URL, AWS_REGION, the keys and the network",
        ),
    }
}

/// The cause below all causes: what the operating system or the server said, without the layers that passed it on.
fn innermost(error: &StoreError) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string().chars().take(200).collect()
}
