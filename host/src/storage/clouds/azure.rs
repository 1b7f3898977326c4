//! Azure's blob storage: the usual `AZURE_*` variables, else the machine's own identity.
use alluvium_env::{Error, Result};
use object_store::azure::{AzureConfigKey, MicrosoftAzure, MicrosoftAzureBuilder};
use url::Url;

/// A client for the container that `url` names.
pub(super) fn open(url: &Url, shown: &str) -> Result<MicrosoftAzure> {
    configure(MicrosoftAzureBuilder::from_env(), url, shown)
}

pub(super) fn configure(builder: MicrosoftAzureBuilder, url: &Url, shown: &str) -> Result<MicrosoftAzure> {
    if url.host_str().is_none_or(str::is_empty) {
        return Err(Error::invalid(format!("{shown} names no container; write az://container/prefix")));
    }
    let account = builder.get_config_value(&AzureConfigKey::AccountName);
    let way_out = if account.is_none() && url.username().is_empty() {
        "; set AZURE_STORAGE_ACCOUNT_NAME, or write abfss://container@account.dfs.core.windows.net/prefix"
    } else {
        "; check the AZURE_* environment variables"
    };
    builder
        .with_url(url.as_str())
        .with_retry(super::patience())
        .build()
        .map_err(|e| Error::invalid(format!("cannot open {shown}{way_out}")).with_source(e))
}
