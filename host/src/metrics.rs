//! Metrics as text.
use alluvium_env::{Error, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// All metrics of a registry as `OpenMetrics` text, which Prometheus reads.
///
/// ```
/// use prometheus_client::registry::Registry;
///
/// let (storage, control) = (alluvium_host::storage::open("memory:///")?, alluvium_host::JobControl::new());
/// let mut registry = Registry::with_prefix("alluvium");
/// storage.requests.register(&mut registry);
/// control.register(&mut registry);
/// let text = alluvium_host::exposition(&registry)?;
/// assert!(text.contains("alluvium_job_records_total 0"));
/// assert!(text.ends_with("# EOF\n"));
/// # Ok::<(), alluvium_env::Error>(())
/// ```
///
/// # Errors
/// `Internal` if a metric cannot be written; none of Alluvium's.
pub fn exposition(registry: &Registry) -> Result<String> {
    let mut text = String::new();
    encode(&mut text, registry)
        .map_err(|e| Error::internal("a metric cannot be written as text").with_source(e))?;
    Ok(text)
}
