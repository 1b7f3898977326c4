//! Google Cloud Storage: the usual `GOOGLE_*` variables, else what `gcloud` has left in the home folder, else the machine's own
//! account.
use alluvium_env::{Error, Result};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use url::Url;

/// A client for the bucket that `url` names.
pub(super) fn open(url: &Url, shown: &str) -> Result<GoogleCloudStorage> {
    configure(GoogleCloudStorageBuilder::from_env(), url, shown)
}

pub(super) fn configure(
    builder: GoogleCloudStorageBuilder,
    url: &Url,
    shown: &str,
) -> Result<GoogleCloudStorage> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::invalid(format!("{shown} names no bucket; write gs://bucket/prefix")));
    }
    builder.with_url(url.as_str()).with_retry(super::patience()).build().map_err(|e| {
        Error::invalid(format!("cannot open {shown}; check the GOOGLE_* environment variables"))
            .with_source(e)
    })
}
