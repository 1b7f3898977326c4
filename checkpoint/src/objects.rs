//! The store as this crate uses it: a few requests, and every failure as a sentence that names object and store.
//!
//! **Failure**: `Invalid` for what a person must fix (no such bucket, wrong keys, a store without conditional
//! put), `Unavailable` for the rest.
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use alluvium_env::{Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

/// Deletions in one bulk request: what S3 takes.
const BULK: usize = 1000;
/// A store's own message is cut here: some servers answer with a page.
const CAUSE_CHARS: usize = 300;

/// What a conditional create did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    Created,
    Exists,
}

/// An object of a listing.
pub(crate) struct StoredObject {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
}

/// What could not be deleted.
#[derive(Debug, Default)]
pub(crate) struct Undeleted {
    /// They may still be there.
    pub(crate) names: Vec<String>,
    /// What the store said last.
    pub(crate) why: Option<Error>,
}

impl Undeleted {
    fn fails(&mut self, name: String, why: Error) {
        self.names.push(name);
        self.why = Some(why);
    }
}

/// Whether it is the store's answer that this must not be done. A local folder's says so in what the operating system said.
fn is_refusal(cause: &object_store::Error) -> bool {
    use object_store::Error as Cause;
    if matches!(
        cause,
        Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } | Cause::NotSupported { .. }
    ) {
        return true;
    }
    let mut below: Option<&(dyn StdError + 'static)> = Some(cause);
    while let Some(error) = below {
        let said = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(said, Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)) {
            return true;
        }
        below = error.source();
    }
    false
}

/// The path of a name. As it is: a listing may show names that the store itself would write otherwise.
fn path_of(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

/// A shared handle on the store below the root of a state URL.
#[derive(Clone)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// The store as errors name it.
    pub(crate) fn store_name(&self) -> String {
        self.store.to_string()
    }

    /// Creates an object unless its name is taken.
    pub(crate) async fn create(&self, name: &str, bytes: Bytes) -> Result<Creation> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&path_of(name), bytes.into(), options).await {
            Ok(_) => Ok(Creation::Created),
            // Stores answer either; both say that the condition did not hold.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Creation::Exists)
            }
            Err(cause) => Err(self.error(&format!("create {name}"), &cause)),
        }
    }

    /// A whole object, `None` if there is none.
    pub(crate) async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let read = async { self.store.get(&path_of(name)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.error(&format!("read {name}"), &cause)),
        }
    }

    /// The names in a folder, in no order.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'static, Result<String>> {
        self.list_sized(folder).map_ok(|object| object.name).boxed()
    }

    /// The names in a folder with their sizes, in no order.
    pub(crate) fn list_sized(&self, folder: &str) -> BoxStream<'static, Result<StoredObject>> {
        self.objects(folder, self.store.list(Some(&Path::from(folder))))
    }

    /// The names in a folder that sort after `name`.
    pub(crate) fn list_after(&self, folder: &str, name: &str) -> BoxStream<'static, Result<String>> {
        let listing = self.store.list_with_offset(Some(&Path::from(folder)), &Path::from(name));
        self.objects(folder, listing).map_ok(|object| object.name).boxed()
    }

    fn objects(
        &self,
        folder: &str,
        listing: BoxStream<'static, object_store::Result<object_store::ObjectMeta>>,
    ) -> BoxStream<'static, Result<StoredObject>> {
        let (this, what) = (self.clone(), format!("list {folder}/"));
        listing
            .map_ok(|meta| StoredObject { name: meta.location.to_string(), size_bytes: meta.size })
            .map_err(move |cause| this.error(&what, &cause))
            .boxed()
    }

    /// Deletes one object; one that is gone already is deleted.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        let path = path_of(name);
        self.delete_one(&path).await.map_err(|cause| self.cannot_delete(&path, &cause))
    }

    /// Deletes objects in bulk, in any order. What a store refuses does not keep it from what it permits; one that does not answer
    /// ends it, since more would only wait.
    pub(crate) async fn delete_all(&self, names: Vec<String>) -> Undeleted {
        // In the order of names: the same requests for the same names.
        let mut left: BTreeMap<Path, String> = names.into_iter().map(|n| (path_of(&n), n)).collect();
        let paths: Vec<Path> = left.keys().cloned().collect();
        let mut undeleted = Undeleted::default();
        for bulk in paths.chunks(BULK) {
            let before = left.len();
            let mut answers = self.store.delete_stream(stream::iter(bulk.to_vec()).map(Ok).boxed());
            while let Some(answer) = answers.next().await {
                if let Ok(path) = answer {
                    left.remove(&path);
                }
            }
            // Of none it is said that it was deleted: all are gone already, or none can be. One that is asked for singly tells.
            let asked = bulk.first().filter(|_| left.len() == before);
            let Some((path, name)) = asked.and_then(|path| left.remove_entry(path)) else { continue };
            if let Err(cause) = self.delete_one(&path).await {
                undeleted.fails(name, self.cannot_delete(&path, &cause));
                if !is_refusal(&cause) {
                    undeleted.names.extend(left.into_values());
                    return undeleted;
                }
                undeleted.names.extend(bulk.iter().filter_map(|path| left.remove(path)));
            }
        }
        // A bulk request does not say which name it failed for, and calls a missing file a failure: ask singly, until one fails.
        let mut singly = left.into_iter();
        while let Some((path, name)) = singly.next() {
            if let Err(cause) = self.delete_one(&path).await {
                undeleted.fails(name, self.cannot_delete(&path, &cause));
                undeleted.names.extend(singly.map(|(_, name)| name));
                break;
            }
        }
        undeleted
    }

    /// Deletes one object; one that is gone already is deleted.
    async fn delete_one(&self, path: &Path) -> object_store::Result<()> {
        match self.store.delete(path).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    fn cannot_delete(&self, path: &Path, cause: &object_store::Error) -> Error {
        self.error(&format!("delete {path}"), cause)
    }

    /// What a request that failed means.
    pub(crate) fn error(&self, what: &str, cause: &object_store::Error) -> Error {
        use object_store::Error as Cause;
        let (kind, way_out) = match cause {
            Cause::NotFound { .. } => {
                (ErrorKind::Invalid, "; create the bucket or folder, or correct the URL")
            }
            Cause::PermissionDenied { .. } | Cause::Unauthenticated { .. } => {
                (ErrorKind::Invalid, "; check the keys and their rights")
            }
            Cause::NotImplemented { .. } | Cause::NotSupported { .. } => {
                (ErrorKind::Invalid, "; state needs a store with conditional put")
            }
            Cause::InvalidPath { .. } | Cause::UnknownConfigurationKey { .. } => (ErrorKind::Invalid, ""),
            _ => (ErrorKind::Unavailable, ""),
        };
        let (store, cause) = (&self.store, one_line(&cause.to_string()));
        Error::new(kind, format!("cannot {what} in {store}: {cause}{way_out}"))
    }
}

/// A cause that fits into a sentence. What a URL asks for is left out: keys may be in it.
fn one_line(text: &str) -> String {
    let shown = |word: &'_ str| match word.split_once('?') {
        Some((url, _)) if url.contains("://") => format!("{url}?…"),
        _ => word.to_owned(),
    };
    let words = text.split_whitespace().map(shown).collect::<Vec<_>>().join(" ");
    words.trim_end_matches('.').chars().take(CAUSE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_page_becomes_one_line() {
        assert_eq!(one_line("404 Not Found:\n  <Error>\n</Error>."), "404 Not Found: <Error> </Error>");
        assert_eq!(one_line(&"x".repeat(1000)).len(), CAUSE_CHARS);
        assert_eq!(one_line("GET https://a/b?sig=secret failed, why?"), "GET https://a/b?… failed, why?");
    }

    #[test]
    fn what_a_person_must_fix_is_invalid_and_names_the_store() {
        let objects = Objects::new(Arc::new(object_store::memory::InMemory::new()));
        let denied = object_store::Error::PermissionDenied { path: "x".into(), source: "no".into() };
        let error = objects.error("read x", &denied);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with("cannot read x in InMemory: "), "{error}");
        assert!(error.to_string().ends_with("; check the keys and their rights"), "{error}");
    }

    #[test]
    fn a_refusal_is_told_from_a_store_that_does_not_answer() {
        let generic = |source| object_store::Error::Generic { store: "any", source };
        let by_folder = io::Error::from(io::ErrorKind::PermissionDenied);
        let by_network = io::Error::from(io::ErrorKind::TimedOut);
        let (path, source) = ("x".to_owned(), "no".into());
        assert!(is_refusal(&object_store::Error::PermissionDenied { path, source }));
        assert!(is_refusal(&generic(Box::new(by_folder))));
        assert!(!is_refusal(&generic(Box::new(by_network))) && !is_refusal(&generic("503".into())));
    }

    #[test]
    fn what_is_gone_already_counts_as_deleted_also_where_the_store_calls_it_an_error() {
        let (folder, io) = (tempfile::tempdir().unwrap(), alluvium_env::IoRuntime::new(1).unwrap());
        let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let objects = Objects::new(Arc::new(local));
        io.block_on(async {
            objects.create("state/1", "x".into()).await.unwrap();
            let left = objects.delete_all(vec!["state/0".into(), "state/1".into(), "state/2".into()]).await;
            assert!(left.names.is_empty() && left.why.is_none(), "{left:?}");
            assert!(objects.read("state/1").await.unwrap().is_none());
        });
    }
}
