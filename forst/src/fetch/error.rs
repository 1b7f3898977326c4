//! What an object store's error means: to the retries, and to the caller.
use alluvium_env::{Error, ErrorKind};
use object_store::Error as StoreError;

/// Why an attempt failed, which says whether another one makes sense.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Throttling, a reset, silence: it may work later.
    Again(Error),
    /// The object is not there. Some stores show a new object late, so it is asked for a few times.
    Missing(Error),
    /// The answer is not what was asked for. Bytes break on the way; what is broken at rest stays so.
    Wrong(Error),
    /// No attempt will do better.
    Final(Error),
}

/// Names the object and says what to do.
pub(crate) fn store_failure(name: &str, error: StoreError) -> Failure {
    let said = |kind, what| Error::new(kind, format!("object {name} {what}"));
    match &error {
        StoreError::NotFound { .. } => {
            let what = "is missing; restore an older checkpoint";
            Failure::Missing(said(ErrorKind::Corruption, what).with_source(error))
        }
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            let what = "cannot be accessed; check the store's credentials";
            Failure::Final(said(ErrorKind::Invalid, what).with_source(error))
        }
        StoreError::NotSupported { .. } | StoreError::NotImplemented { .. } => {
            let what = "needs an operation that this store does not offer";
            Failure::Final(said(ErrorKind::Invalid, what).with_source(error))
        }
        _ => {
            let what = "could not be read or written";
            Failure::Again(said(ErrorKind::Unavailable, what).with_source(error))
        }
    }
}

/// An answer of another length than was asked for.
pub(crate) fn wrong_length(name: &str, expected: u64, got: u64) -> Error {
    let truth = if got < expected { "is truncated" } else { "answers with too much" };
    Error::corruption(format!(
        "object {name} {truth}: expected {expected} bytes, got {got}; restore an older checkpoint"
    ))
}
