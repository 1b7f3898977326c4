//! Where the bytes of an inspected object come from.
use std::ops::Range;
use std::sync::Arc;

use alluvium_env::{Error, IoRuntime, Result};
use bytes::Bytes;
use object_store::ObjectStore;

use crate::fetch::Fetcher;
use crate::settings::ForstSettings;

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

/// An object on a store, read with the store's patience. It waits, so it is not for a runtime's own threads.
pub struct StoredObject {
    fetcher: Arc<Fetcher>,
    name: String,
    size_bytes: u64,
}

impl StoredObject {
    /// An object whose size is known.
    pub fn new(store: Arc<dyn ObjectStore>, io: IoRuntime, name: impl Into<String>, size_bytes: u64) -> Self {
        let name = name.into();
        Self { fetcher: Fetcher::new(store, io, None, &ForstSettings::default(), &name), name, size_bytes }
    }
}

impl ReadAt for StoredObject {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.start > range.end || range.end > self.size_bytes {
            return Err(outside(&range, self.size_bytes));
        }
        self.fetcher.io().block_on(self.fetcher.read(&self.name, range))
    }
}

fn outside(range: &Range<u64>, size_bytes: u64) -> Error {
    Error::corruption(format!("bytes {} to {} of an object of {size_bytes}", range.start, range.end))
}
