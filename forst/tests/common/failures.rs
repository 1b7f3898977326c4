//! Errors as stores make them.
use object_store::Error;
use object_store::path::Path;

/// A request that comes to nothing.
pub(crate) fn failed(what: &str) -> Error {
    Error::Generic { store: "failing", source: what.to_owned().into() }
}

/// An object that is not found, though it may be there.
pub(crate) fn missing(location: &Path) -> Error {
    Error::NotFound { path: location.to_string(), source: "not listed".into() }
}
