//! S3 and what speaks its protocol: the usual `AWS_*` variables, and patience that fits a job that waits for reads.
use std::time::Duration;

use alluvium_env::{Error, Result};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{BackoffConfig, RetryConfig};
use url::Url;

/// The library's own patience is 10 tries over 180 s: a wrong endpoint would look like a hang.
const RETRIES: usize = 5;
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);

/// A client for the bucket that `url` names.
pub(super) fn open(url: &Url, shown: &str) -> Result<AmazonS3> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::invalid(format!("{shown} names no bucket; write s3://bucket/prefix")));
    }
    let backoff = BackoffConfig { init_backoff: FIRST_BACKOFF, max_backoff: LONGEST_BACKOFF, base: 2.0 };
    AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT })
        .build()
        .map_err(|e| {
            Error::invalid(format!("cannot open {shown}; check the AWS_* environment variables"))
                .with_source(e)
        })
}
