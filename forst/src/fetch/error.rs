//! What an object store's error means to the caller.
use alluvium_env::{Error, ErrorKind};
use object_store::Error as StoreError;

/// Names the object and says what to do.
pub(crate) fn store_error(name: &str, error: StoreError) -> Error {
    let (kind, what) = match &error {
        StoreError::NotFound { .. } => (ErrorKind::Corruption, "is missing; restore an older checkpoint"),
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            (ErrorKind::Invalid, "cannot be accessed; check the store's credentials")
        }
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            (ErrorKind::Invalid, "needs an operation that this store does not offer")
        }
        _ => (ErrorKind::Unavailable, "could not be read or written"),
    };
    Error::new(kind, format!("object {name} {what}")).with_source(error)
}
