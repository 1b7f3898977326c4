//! What a request names: its method, its object, its query.
use alluvium_env::{Error, Result};
use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use url::form_urlencoded;

/// See the module.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The bucket and what is below it, without the first slash.
    pub(super) name: String,
    query: Vec<(String, String)>,
    parts: Parts,
}

impl Asked {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// `Invalid` for a name that is not UTF-8.
    pub(super) fn new(parts: Parts) -> Result<Self> {
        let name = name(&parts.uri)?;
        let query = parts.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { method: parts.method.clone(), name, query, parts })
    }

    /// The value of a parameter; empty where it has none.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A header's text.
    pub(super) fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.parts.headers.get(name.into())?.to_str().ok()
    }

    /// The object's name.
    ///
    /// # Errors
    /// `Invalid` where it cannot be one.
    pub(super) fn object(&self) -> Result<Path> {
        object(&self.name)
    }
}

/// A name as an object's.
///
/// # Errors
/// `Invalid` where it cannot be one.
pub(super) fn object(name: &str) -> Result<Path> {
    Path::parse(name).map_err(|e| Error::invalid(format!("{name} is no name of an object")).with_source(e))
}

fn name(uri: &Uri) -> Result<String> {
    let path = percent_decode_str(uri.path().trim_start_matches('/')).decode_utf8();
    let path = path.map_err(|e| Error::invalid("a name is not UTF-8").with_source(e))?;
    Ok(path.into_owned())
}
