//! Finds the objects of stores that a URL names: the one, or all below it.
use std::sync::Arc;

use alluvium_checkpoint::verify_entries;
use alluvium_env::{Error, HashSet, IoRuntime, Result};
use alluvium_forst::inspect::StoredObject;
use alluvium_host::storage::Storage;
use alluvium_state_api::FileRef;
use futures_util::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{Error as StoreError, ObjectMeta, ObjectStoreExt as _};

use super::named::NamedObjects;
use crate::state;

/// What an object of a store is, as its name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    ValueFile,
    Delta,
    /// Several deltas.
    Pack,
    /// A hotness hint.
    Hint,
    /// Of a manifest.
    Page,
    /// Of a canonical savepoint.
    Entries,
}

impl Kind {
    /// `None` for the name of anything else.
    fn of(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "sst" => Some(Self::Table),
            "val" => Some(Self::ValueFile),
            "delta" => Some(Self::Delta),
            "pack" => Some(Self::Pack),
            "hint" => Some(Self::Hint),
            "page" => Some(Self::Page),
            "entries" => Some(Self::Entries),
            _ => None,
        }
    }
}

/// An object of a store.
pub(super) struct Found {
    /// Its name below the root.
    pub(super) name: String,
    pub(super) size_bytes: u64,
    pub(super) kind: Kind,
}

/// Objects of one store.
pub(super) struct Objects {
    storage: Storage,
    io: IoRuntime,
    pub(super) found: Vec<Found>,
}

impl Objects {
    /// The table that a URL or a path names.
    ///
    /// # Errors
    /// `Invalid` if there is none.
    pub(super) fn one(location: &str, io: &IoRuntime) -> Result<Self> {
        let url = state::locate(location)?;
        let none = || Error::invalid(format!("{location} names no object; give the URL of one table"));
        Self::object(&url, io)?.ok_or_else(none)
    }

    /// The object that a URL or a path names, or all below it, together with what the checkpoints name that are retained
    /// there. Only a name that ends as those of objects do can be one: not every store tells at once whether a prefix is an
    /// object.
    ///
    /// # Errors
    /// `Invalid` if there is none, and none is named; `Corruption` if what checkpoints name cannot be read.
    pub(super) fn all(location: &str, io: &IoRuntime) -> Result<(Self, NamedObjects)> {
        let url = state::locate(location)?;
        if Kind::of(&url).is_some()
            && let Some(one) = Self::object(&url, io)?
        {
            return Ok((one, NamedObjects::default()));
        }
        let storage = state::open_read_only(&url, io)?;
        // Before the listing: what a checkpoint names is there before it is complete.
        let named = NamedObjects::read(&storage.store, io)?;
        let listing = storage.store.list(None).try_collect::<Vec<_>>();
        let listed = io.block_on(listing).map_err(|e| unreadable(location, e))?;
        let object = |object: ObjectMeta| {
            let (name, size_bytes) = (object.location.to_string(), object.size);
            Kind::of(&name).map(|kind| Found { name, size_bytes, kind })
        };
        let mut found: Vec<Found> = listed.into_iter().filter_map(object).collect();
        if found.is_empty() && named.is_empty() {
            return Err(Error::invalid(format!(
                "there is no table, value file, delta or anything else that checkpoints name (*.sst, *.val, *.delta, *.pack, \
                 *.page, *.hint, *.entries) below {location}; give a state's URL or one of its objects"
            )));
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok((Self { storage, io: io.clone(), found }, named))
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
                let name = path.to_string();
                // What is asked for by its name is taken for a table, whatever it is called.
                let kind = Kind::of(&name).unwrap_or(Kind::Table);
                let found = vec![Found { name, size_bytes: meta.size, kind }];
                Ok(Some(Self { storage, io: io.clone(), found }))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(unreadable(url, error)),
        }
    }

    /// An object's URL, without what may be secret.
    pub(super) fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.storage.url().trim_end_matches('/'))
    }

    /// Objects that checkpoints name and that are not there, as far as they are still needed; and how many are not.
    ///
    /// # Errors
    /// As [`Objects::all`].
    pub(super) fn missing(&self, named: &NamedObjects) -> Result<(Vec<String>, u64)> {
        let there: HashSet<&str> = self.found.iter().map(|object| object.name.as_str()).collect();
        let missing = named.iter().map(|(name, _)| name).filter(|name| !there.contains(name));
        let missing: Vec<String> = missing.map(str::to_owned).collect();
        let count = missing.len();
        let needed = NamedObjects::still_needed(missing, &self.storage.store, &self.io)?;
        let dropped = count - needed.len();
        Ok((needed, dropped as u64))
    }

    /// An object, to be read.
    pub(super) fn read(&self, object: &Found) -> StoredObject {
        let store = Arc::clone(&self.storage.store);
        StoredObject::new(store, self.io.clone(), object.name.clone(), object.size_bytes)
    }

    /// Checks a file of entries; returns how many there are.
    ///
    /// # Errors
    /// As [`verify_entries`].
    pub(super) fn verify_entries(&self, object: &Found) -> Result<u64> {
        let file = FileRef { name: object.name.clone(), size_bytes: object.size_bytes };
        verify_entries(&self.storage.store, &self.io, file)
    }

    /// Whether an object that could not be read is there no more: its job may have deleted it meanwhile.
    pub(super) fn is_gone(&self, object: &Found) -> bool {
        let path = ObjectPath::from(object.name.as_str());
        matches!(self.io.block_on(self.storage.store.head(&path)), Err(StoreError::NotFound { .. }))
    }
}

fn unreadable(location: &str, error: StoreError) -> Error {
    Error::unavailable(format!("cannot read {location}")).with_source(error)
}
