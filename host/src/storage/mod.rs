//! Storage: the object store behind a state URL, with a count of its requests and, for a folder, its lock.
//!
//! All names are relative to the URL's root, so that state can be copied elsewhere and opened there.
//!
//! **Failure**: a URL that cannot be used is `Invalid` and says what would be. Whether the store answers, has the
//! bucket and takes the keys is asked by the checkpoint store, whose first request tells.
mod clouds;
mod delayed;
mod folder;
#[cfg(feature = "hdfs")]
mod hdfs;
mod leftovers;
mod local_reads;
mod metered;
#[cfg(feature = "opendal")]
mod opendal;
mod overlay;
mod read_only;
mod timer;
mod transfer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alluvium_env::{Error, Result};
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, path::Path as ObjectPath};
use url::Url;

pub use delayed::{DelayedStore, Link, SlowTail};
use folder::FolderLock;
pub use folder::LOCK;
use local_reads::LocalReads;
pub use metered::{MeteredStore, StoreMetrics, StoreRequests};
pub use overlay::over;
use read_only::ReadOnlyStore;
pub use transfer::transfer;

const SUPPORTED: &str = "use file:///folder, memory:///, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix, or hdfs://, oss:// or \
     cos:// in a build with their features";

/// An opened state URL. Dropping it releases the folder's lock.
pub struct Storage {
    /// The store; names are relative to the URL's root.
    pub store: Arc<dyn ObjectStore>,
    /// Whether a request stays on this machine (a folder, memory) and costs microseconds, not a round trip.
    pub local: bool,
    /// What was asked of it.
    pub requests: Arc<StoreMetrics>,
    url: String,
    /// The store without its count.
    bare: Arc<dyn ObjectStore>,
    _lock: Option<FolderLock>,
}

impl Storage {
    fn new(bare: Arc<dyn ObjectStore>, url: String, lock: Option<FolderLock>) -> Self {
        let (store, requests) = MeteredStore::new(Arc::clone(&bare), url.as_str());
        let local = lock.is_some() || url.starts_with("memory:");
        Self { store: Arc::new(store), local, requests, url, bare, _lock: lock }
    }

    /// The same storage at the far end of a link: for measurements. Requests are counted from nothing, and a folder
    /// is no longer local.
    ///
    /// # Errors
    /// `Unavailable` if the thread that keeps the time cannot be started.
    pub fn behind(mut self, link: Link) -> Result<Self> {
        self.bare = Arc::new(DelayedStore::new(self.bare, link)?);
        let (store, requests) = MeteredStore::new(Arc::clone(&self.bare), self.url.as_str());
        Ok(Self { store: Arc::new(store), requests, local: false, ..self })
    }

    /// The URL for messages: without credentials and options.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Opens a state URL: `file:///folder` (created where missing, and locked), `memory:///` (new and empty each time),
/// `s3://bucket/prefix` with the feature `s3`, `gs://bucket/prefix` with `gcs`, `az://container/prefix` and
/// `abfss://container@account.dfs.core.windows.net/prefix` with `azure`, `hdfs://host:port/folder` with `hdfs`,
/// `oss://bucket/prefix` and `cos://bucket/prefix` with `opendal`.
///
/// ```
/// let storage = alluvium_host::storage::open("memory:///")?;
/// assert_eq!(storage.requests.snapshot().puts, 0);
/// assert!(alluvium_host::storage::open("ftp://host/state").is_err());
/// # Ok::<(), alluvium_env::Error>(())
/// ```
///
/// # Errors
/// `Invalid` if the URL cannot be used, or another job has the folder.
pub fn open(url: &str) -> Result<Storage> {
    let (parsed, shown) = parse(url)?;
    match parsed.scheme() {
        "file" => open_folder(&local_path(&parsed, &shown)?),
        "memory" => Ok(Storage::new(prefixed(InMemory::new(), &parsed, &shown)?, shown, None)),
        _ => Ok(Storage::new(remote(&parsed, &shown)?, shown, None)),
    }
}

/// Opens a URL as it is, to look into it: nothing is created, locked or claimed, and nothing can be written or deleted
/// through it. A job that owns the state goes on beside it. Memory has nothing that could be looked at from outside.
///
/// # Errors
/// `Invalid` if the URL cannot be used or its folder is not there.
pub fn open_read_only(url: &str) -> Result<Storage> {
    let (bare, local, shown) = as_it_is(url, folder::look)?;
    Ok(Storage { local, ..Storage::new(Arc::new(ReadOnlyStore::new(bare)), shown, None) })
}

/// Opens a URL as it is, to work for the job that owns it: as [`open_read_only`], but what is asked for is written.
///
/// # Errors
/// `Invalid` if the URL cannot be used or its folder is not there.
pub fn open_beside(url: &str) -> Result<Storage> {
    let (bare, local, shown) = as_it_is(url, folder::work)?;
    Ok(Storage { local, ..Storage::new(bare, shown, None) })
}

/// What a URL names, whether it is near, and how to call it.
fn as_it_is(
    url: &str,
    open_folder: fn(&Path) -> Result<LocalReads>,
) -> Result<(Arc<dyn ObjectStore>, bool, String)> {
    let (parsed, shown) = parse(url)?;
    match parsed.scheme() {
        "file" => Ok((Arc::new(open_folder(&local_path(&parsed, &shown)?)?), true, shown)),
        "memory" => {
            Err(Error::invalid(format!("{shown} ends with its process: there is nothing to look into")))
        }
        _ => Ok((remote(&parsed, &shown)?, false, shown)),
    }
}

fn parse(url: &str) -> Result<(Url, String)> {
    let parsed = Url::parse(url)
        .map_err(|e| Error::invalid(format!("{url} is not a state URL ({e}); {SUPPORTED}")))?;
    let shown = redacted(&parsed);
    Ok((parsed, shown))
}

fn local_path(url: &Url, shown: &str) -> Result<PathBuf> {
    url.to_file_path().map_err(|()| {
        Error::invalid(format!(
            "{shown} names no local folder; write file:/// and an absolute path, three slashes in all"
        ))
    })
}

/// A store that answers over a network.
fn remote(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    match url.scheme() {
        scheme if clouds::has(scheme) => prefixed(clouds::bucket(url, shown)?, url, shown),
        "hdfs" | "viewfs" => open_hdfs(url, shown),
        "oss" | "cos" => open_through_opendal(url, shown),
        "webhdfs" | "swebhdfs" => Err(Error::invalid(format!(
            "{shown} cannot hold state: WebHDFS overwrites what it is told to create, so two jobs could destroy each other's; \
             use hdfs://host:port/folder"
        ))),
        scheme => Err(Error::invalid(format!("{shown} has the unknown scheme {scheme}; {SUPPORTED}"))),
    }
}

/// Opens a local folder as a state URL's root; a relative path is one below the working directory.
///
/// # Errors
/// `Invalid` if it cannot be created, or another job has it.
pub fn open_folder(path: &Path) -> Result<Storage> {
    let (store, lock) = folder::open(path)?;
    let shown = Url::from_file_path(lock.root()).map_or_else(|()| path.display().to_string(), String::from);
    Ok(Storage::new(Arc::new(store), shown, Some(lock)))
}

#[cfg(feature = "hdfs")]
fn open_hdfs(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    hdfs::open(url, shown)
}

#[cfg(not(feature = "hdfs"))]
fn open_hdfs(_: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    Err(Error::invalid(format!(
        "cannot open {shown}: this build is without HDFS; build it with the feature hdfs"
    )))
}

#[cfg(feature = "opendal")]
fn open_through_opendal(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    opendal::open(url, shown)
}

#[cfg(not(feature = "opendal"))]
fn open_through_opendal(_: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    Err(Error::invalid(format!(
        "cannot open {shown}: this build is without OpenDAL; build it with the feature opendal"
    )))
}

fn prefixed(store: impl ObjectStore, url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    let prefix = ObjectPath::from_url_path(url.path()).map_err(|e| {
        Error::invalid(format!("{shown} has a path that cannot be used as a prefix")).with_source(e)
    })?;
    Ok(Arc::new(PrefixStore::new(store, prefix)))
}

/// The URL without what may be secret.
fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail on URLs that cannot have credentials: then there is nothing to hide.
    if !clouds::has_container_as_user(&url) {
        let _ = url.set_username("");
    }
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use alluvium_env::ErrorKind;

    use super::*;

    fn message(url: &str) -> String {
        let error = open(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    }

    #[test]
    fn what_cannot_be_opened_is_refused_with_the_way_out() {
        assert!(message("ftp://x/y").contains("unknown scheme ftp; use file:///folder"));
        assert!(message("state").contains("not a state URL"));
        assert!(message("file://state/here").contains("three slashes"));
        assert!(!message("ftp://me:secret@x/y?token=hidden").contains("hidden"));
        assert!(!message("ftp://me:secret@x/y").contains("secret"));
        let azure = redacted(&Url::parse("abfss://container:secret@account/y?token=hidden").unwrap());
        assert_eq!(azure, "abfss://container@account/y");
    }

    #[test]
    fn a_folder_has_one_job_at_a_time_and_a_dropped_one_leaves_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b");
        let first = open_folder(&path).unwrap();
        assert_eq!(first.store.to_string(), first.url(), "errors of the store name the URL");
        assert!(first.url().starts_with("file:///") && first.url().ends_with("a%20b"));
        let refused = open(first.url()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(refused.to_string().contains("another job is running on"), "{refused}");
        let url = first.url().to_owned();
        drop(first);
        open(&url).unwrap();
    }

    #[test]
    fn a_folder_can_be_looked_into_beside_its_job_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let job = open_folder(&folder.path().join("state")).unwrap();
        let looked = open_read_only(job.url()).unwrap();
        assert!(looked.local);
        let worker = open_beside(job.url()).unwrap();
        assert!(worker.local);
        let missing = format!("{}-not", job.url());
        assert!(open_beside(&missing).is_err());
        assert!(open_read_only(&missing).unwrap_err().to_string().contains("state-not"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(open_read_only("memory:///").unwrap_err().to_string().contains("nothing to look into"));
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = open_folder(file.path()).unwrap_err();
        assert!(error.to_string().contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn webhdfs_is_refused_with_the_way_out() {
        assert!(message("webhdfs://namenode:9870/state").contains("use hdfs://"));
    }

    #[cfg(not(any(feature = "hdfs", feature = "opendal")))]
    #[test]
    fn a_build_without_hdfs_and_opendal_says_so() {
        assert!(message("hdfs://namenode:8020/state").contains("feature hdfs"));
        for url in ["oss://bucket/state", "cos://bucket/state"] {
            assert!(message(url).contains("feature opendal"));
        }
    }

    #[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
    #[test]
    fn a_build_without_clouds_says_so() {
        for (url, feature) in [("s3://bucket/a", "s3"), ("gs://bucket/a", "gcs"), ("abfss://a@b/c", "azure")]
        {
            assert!(message(url).ends_with(&format!("feature {feature}")));
        }
    }
}
