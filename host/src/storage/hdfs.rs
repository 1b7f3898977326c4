//! HDFS, by a client in Rust that speaks its protocol: no JVM. An object is written beside its name and then renamed, which
//! the name node refuses where the name is taken: that is the conditional create of design D10.
//!
//! **Failure**: a URL that names no file system is `Invalid`. Whether a name node answers, the first request tells.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::ObjectStore;
use url::Url;

/// The client's own patience is 15 attempts over minutes: a wrong port would look like a hang. These take 13 s.
const PATIENCE: [(&str, &str); 2] =
    [("dfs.client.failover.max.attempts", "6"), ("dfs.client.failover.sleep.base.millis", "100")];

/// A client for the file system that `url` names: a name node with its port, or a name service that the Hadoop settings in
/// `HADOOP_CONF_DIR` know, who also know how to log in.
pub(super) fn open(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(Error::invalid(format!(
            "{shown} names no name node; write hdfs://host:port/folder, or hdfs://service/folder with HADOOP_CONF_DIR"
        )));
    };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let name_node = format!("{}://{host}{port}", url.scheme());
    let client = HdfsObjectStoreBuilder::new().with_url(name_node).with_config(PATIENCE);
    let store = client.build().map_err(|e| {
        Error::invalid(format!("cannot open {shown}; check host and port, or HADOOP_CONF_DIR")).with_source(e)
    })?;
    super::prefixed(store, url, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(url: &str) -> Result<Arc<dyn ObjectStore>> {
        open(&Url::parse(url).unwrap(), url)
    }

    #[test]
    fn a_name_node_is_not_asked_before_it_is_needed_and_none_is_refused() {
        assert!(opened("hdfs://namenode:8020/a/state").is_ok());
        let refused = opened("hdfs:///a/state").unwrap_err();
        assert!(refused.to_string().contains("hdfs://host:port/folder"), "{refused}");
    }

    #[test]
    fn a_service_that_the_settings_do_not_know_is_refused() {
        let refused = opened("hdfs://no-such-service/state").unwrap_err();
        assert!(refused.to_string().contains("HADOOP_CONF_DIR"), "{refused}");
    }
}
