//! S3 and what speaks its protocol: the usual `AWS_*` variables.
use alluvium_env::{Error, Result};
use object_store::ClientConfigKey;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use url::Url;

/// A client for the bucket that `url` names.
pub(super) fn open(url: &Url, shown: &str) -> Result<AmazonS3> {
    configure(AmazonS3Builder::from_env(), url, shown)
}

fn configure(builder: AmazonS3Builder, url: &Url, shown: &str) -> Result<AmazonS3> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::invalid(format!("{shown} names no bucket; write s3://bucket/prefix")));
    }
    if let Some(missing) = missing(&builder) {
        return Err(Error::invalid(format!("cannot open {shown}: {missing}")));
    }
    builder.with_url(url.as_str()).with_retry(super::patience()).build().map_err(|e| {
        Error::invalid(format!("cannot open {shown}; check the AWS_* environment variables")).with_source(e)
    })
}

/// What the environment lacks, where the client's own error would not say it: it would ask Amazon's instance metadata
/// for keys of somebody else's endpoint, and call plain HTTP a "builder error".
fn missing(builder: &AmazonS3Builder) -> Option<String> {
    let set = |key| builder.get_config_value(&key).filter(|value| !value.is_empty());
    let is_true = |key| {
        set(key).is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "true" | "on" | "yes"))
    };
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint))?;
    if endpoint.starts_with("http://") && !is_true(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)) {
        return Some(format!(
            "the endpoint {endpoint} is not encrypted; set AWS_ALLOW_HTTP=true if that is meant"
        ));
    }
    let keys = [
        AmazonS3ConfigKey::AccessKeyId,
        AmazonS3ConfigKey::WebIdentityTokenFile,
        AmazonS3ConfigKey::ContainerCredentialsRelativeUri,
        AmazonS3ConfigKey::ContainerCredentialsFullUri,
    ];
    let has_keys =
        keys.into_iter().any(|key| set(key).is_some()) || is_true(AmazonS3ConfigKey::SkipSignature);
    (!has_keys)
        .then(|| format!("there are no keys for {endpoint}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(settings: &[(AmazonS3ConfigKey, &str)]) -> Option<String> {
        let builder =
            settings.iter().fold(AmazonS3Builder::new().with_region("here"), |builder, (key, value)| {
                builder.with_config(*key, *value)
            });
        let url = Url::parse("s3://bucket/prefix").unwrap();
        configure(builder, &url, "s3://bucket/prefix").err().map(|e| e.to_string())
    }

    #[test]
    fn an_endpoint_without_keys_or_encryption_is_refused_with_the_variable_to_set() {
        use AmazonS3ConfigKey::{AccessKeyId, Client, Endpoint, SecretAccessKey};
        let (keys, http) = ([(AccessKeyId, "a"), (SecretAccessKey, "b")], (Endpoint, "http://127.0.0.1:1"));
        let plain = refusal(&[http, keys[0], keys[1]]).unwrap();
        assert!(plain.contains("AWS_ALLOW_HTTP") && plain.contains("s3://bucket/prefix"), "{plain}");
        let allowed = (Client(ClientConfigKey::AllowHttp), "true");
        assert!(refusal(&[http, allowed]).unwrap().contains("set AWS_ACCESS_KEY_ID"));
        assert_eq!(refusal(&[http, allowed, keys[0], keys[1]]), None);
        assert_eq!(refusal(&[]), None, "Amazon's own endpoint may have keys from the instance");
    }

    #[test]
    fn a_url_without_a_bucket_is_refused() {
        let url = Url::parse("s3:///prefix").unwrap();
        assert!(open(&url, "s3:///prefix").unwrap_err().to_string().contains("names no bucket"));
    }
}
