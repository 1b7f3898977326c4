//! Finds the tables that a URL names: the one, or all below it.
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use alluvium_forst::inspect::StoredObject;
use alluvium_host::storage::Storage;
use futures_util::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectStoreExt as _};

use crate::state;

/// Ends the name of every table.
const TABLE_SUFFIX: &str = ".sst";

/// A table on a store.
pub(super) struct Table {
    /// Its name below the root.
    pub(super) name: String,
    pub(super) size_bytes: u64,
}

/// Tables of one store.
pub(super) struct Tables {
    storage: Storage,
    io: IoRuntime,
    pub(super) found: Vec<Table>,
}

impl Tables {
    /// The table that a URL or a path names.
    ///
    /// # Errors
    /// `Invalid` if there is none.
    pub(super) fn one(location: &str, io: &IoRuntime) -> Result<Self> {
        let url = state::locate(location)?;
        let none = || Error::invalid(format!("{location} names no object; give the URL of one table"));
        Self::object(&url, io)?.ok_or_else(none)
    }

    /// The table that a URL or a path names, or all below it. Only a name that ends as tables do can be one: not every
    /// store tells at once whether a prefix is an object.
    ///
    /// # Errors
    /// `Invalid` if there is none.
    pub(super) fn all(location: &str, io: &IoRuntime) -> Result<Self> {
        let url = state::locate(location)?;
        if url.ends_with(TABLE_SUFFIX)
            && let Some(one) = Self::object(&url, io)?
        {
            return Ok(one);
        }
        let storage = state::open_read_only(&url, io)?;
        let listing = storage.store.list(None).try_collect::<Vec<_>>();
        let listed = io.block_on(listing).map_err(|e| unreadable(location, e))?;
        let mut found: Vec<Table> = listed
            .into_iter()
            .filter(|object| object.location.as_ref().ends_with(TABLE_SUFFIX))
            .map(|object| Table { name: object.location.to_string(), size_bytes: object.size })
            .collect();
        if found.is_empty() {
            return Err(Error::invalid(format!("there is no table (*{TABLE_SUFFIX}) below {location}")));
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { storage, io: io.clone(), found })
    }

    /// The object of a URL, `None` if there is no such object.
    fn object(url: &str, io: &IoRuntime) -> Result<Option<Self>> {
        let Some((folder, name)) = url.trim_end_matches('/').rsplit_once('/') else { return Ok(None) };
        // A bucket by itself has no folder above it.
        if url.ends_with('/') || folder.ends_with('/') || folder.ends_with(':') {
            return Ok(None);
        }
        let storage = state::open_read_only(folder, io)?;
        let path = ObjectPath::from_url_path(name)
            .map_err(|e| Error::invalid(format!("{url} cannot be the name of an object")).with_source(e))?;
        match io.block_on(storage.store.head(&path)) {
            Ok(meta) => {
                let found = vec![Table { name: path.to_string(), size_bytes: meta.size }];
                Ok(Some(Self { storage, io: io.clone(), found }))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(url, error)),
        }
    }

    /// A table's URL, without what may be secret.
    pub(super) fn url(&self, table: &Table) -> String {
        format!("{}/{}", self.storage.url().trim_end_matches('/'), table.name)
    }

    /// A table, to be read.
    pub(super) fn read(&self, table: &Table) -> StoredObject {
        let store = Arc::clone(&self.storage.store);
        StoredObject::new(store, self.io.clone(), table.name.clone(), table.size_bytes)
    }

    /// Whether a table that could not be read is there no more: its job may have deleted it meanwhile.
    pub(super) fn is_gone(&self, table: &Table) -> bool {
        let path = ObjectPath::from(table.name.as_str());
        matches!(self.io.block_on(self.storage.store.head(&path)), Err(StoreError::NotFound { .. }))
    }
}

fn unreadable(location: &str, error: StoreError) -> Error {
    Error::unavailable(format!("cannot read {location}")).with_source(error)
}
