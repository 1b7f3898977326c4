//! Where the bytes of an inspected object come from.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::fetch::store_error;

/// An object any part of which can be read.
pub trait ReadAt {
    /// How long it is.
    fn size_bytes(&self) -> u64;

    /// Reads exactly these bytes; a range that ends behind the object is an error.
    ///
    /// # Errors
    /// `Unavailable` if they cannot be read now, `Corruption` if they are not there.
    fn read(&self, range: Range<u64>) -> Result<Bytes>;
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn size_bytes(&self) -> u64 {
        (**self).size_bytes()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        (**self).read(range)
    }
}

impl ReadAt for Bytes {
    fn size_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.size_bytes() {
            return Err(outside(&range, self.size_bytes()));
        }
        Ok(self.slice(range.start as usize..range.end as usize))
    }
}

/// An object on a store. It waits for the store, so it is not for a runtime's own threads.
pub struct StoredObject {
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    name: String,
    size_bytes: u64,
}

impl StoredObject {
    /// An object whose size is known.
    pub fn new(store: Arc<dyn ObjectStore>, io: IoRuntime, name: impl Into<String>, size_bytes: u64) -> Self {
        Self { store, io, name: name.into(), size_bytes }
    }
}

impl ReadAt for StoredObject {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let path = Path::from(self.name.as_str());
        let bytes = self.io.block_on(async { self.store.get_range(&path, range.clone()).await });
        let bytes = bytes.map_err(|error| store_error(&self.name, error))?;
        let (wanted, got) = (range.end.saturating_sub(range.start), bytes.len());
        if wanted != got as u64 {
            let name = &self.name;
            return Err(Error::corruption(format!(
                "{name}: expected {wanted} bytes at offset {}, got {got}",
                range.start
            )));
        }
        Ok(bytes)
    }
}

fn outside(range: &Range<u64>, size_bytes: u64) -> Error {
    Error::corruption(format!("bytes {} to {} of an object of {size_bytes}", range.start, range.end))
}
