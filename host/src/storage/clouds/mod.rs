//! The object stores of the clouds: S3 and what speaks its protocol, Google's and Azure's. Each is told by the environment
//! variables that its own tools read; all have the patience of a job that waits for reads.
#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_env::{Error, Result};
use object_store::ObjectStore;
use url::Url;

/// Whether a URL with this scheme is for [`bucket`].
pub(super) fn has(scheme: &str) -> bool {
    feature_of(scheme).is_some()
}

/// Whether what stands before an `@` in a URL names a container, and not who asks.
pub(super) fn has_container_as_user(url: &Url) -> bool {
    feature_of(url.scheme()) == Some("azure")
}

/// The feature that a build needs for a scheme.
fn feature_of(scheme: &str) -> Option<&'static str> {
    match scheme {
        "s3" | "s3a" => Some("s3"),
        "gs" => Some("gcs"),
        "az" | "azure" | "adl" | "abfs" | "abfss" => Some("azure"),
        _ => None,
    }
}

/// The whole of the bucket or container that a URL names, whatever its path.
///
/// # Errors
/// `Invalid` if it names none, this build cannot reach it, or the environment lacks what is needed.
pub(super) fn bucket(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    let feature = feature_of(url.scheme()).unwrap_or("opendal");
    #[cfg(feature = "s3")]
    if feature == "s3" {
        return Ok(Arc::new(s3::open(url, shown)?));
    }
    #[cfg(feature = "gcs")]
    if feature == "gcs" {
        return Ok(Arc::new(gcs::open(url, shown)?));
    }
    #[cfg(feature = "azure")]
    if feature == "azure" {
        return Ok(Arc::new(azure::open(url, shown)?));
    }
    Err(Error::invalid(format!(
        "cannot open {shown}: this build is without that store; build it with the feature {feature}"
    )))
}

/// Some tries within half a minute. The library's own patience is ten tries over three minutes: a wrong endpoint would look
/// like a hang.
#[cfg(any(feature = "azure", feature = "gcs", feature = "s3"))]
fn patience() -> object_store::RetryConfig {
    use std::time::Duration;
    let (init_backoff, max_backoff) = (Duration::from_millis(50), Duration::from_secs(3));
    let backoff = object_store::BackoffConfig { init_backoff, max_backoff, base: 2.0 };
    object_store::RetryConfig { backoff, max_retries: 5, retry_timeout: Duration::from_secs(30) }
}
