//! Stores of other clouds, through `OpenDAL`.
//!
//! **Invariants**: a service is opened only if its *server* decides which of racing writers creates an object (design D10).
//! Several of `OpenDAL`'s say that they can, and look whether the object is there before they write it: of racing jobs
//! several would win. So those that were read and found to be right are listed here, and whatever cannot is refused.
//!
//! **Failure**: what is missing of a store's settings is `Invalid`. Whether it answers, the first request tells.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store_opendal::OpendalStore;
use opendal::Operator;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::{Cos, Oss};
use url::Url;

/// Opens the bucket that `url` names. Everything else comes from the environment: `OPENDAL_OSS_ENDPOINT` is the service's
/// setting `endpoint`, and so on; keys may also be where the cloud's own tools look for them.
pub(super) fn open(url: &Url, shown: &str) -> Result<Arc<dyn ObjectStore>> {
    let scheme = url.scheme();
    let variables = format!("OPENDAL_{}_", scheme.to_uppercase());
    let Some(bucket) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(Error::invalid(format!("{shown} names no bucket; write {scheme}://bucket/prefix")));
    };
    if url.query().is_some() {
        return Err(Error::invalid(format!(
            "{shown} has options behind a question mark, where others may read them; set them as {variables}…"
        )));
    }
    let root = ObjectPath::from_url_path(url.path()).map_err(|e| {
        Error::invalid(format!("{shown} has a path that cannot be used as a prefix")).with_source(e)
    })?;
    let set = std::env::vars()
        .filter_map(|(name, value)| Some((name.strip_prefix(&variables)?.to_lowercase(), value)));
    let named = [("bucket".to_owned(), bucket.to_owned()), ("root".to_owned(), format!("/{root}"))];
    let settings = set.chain(named);
    // There is a transport once it was installed; again is nothing.
    opendal::install_default();
    let operator = match scheme {
        "oss" => Operator::from_iter::<Oss>(settings),
        _ => Operator::from_iter::<Cos>(settings),
    };
    let operator = operator.map_err(|e| {
        Error::invalid(format!("cannot open {shown}; check the environment variables {variables}…"))
            .with_source(e)
    })?;
    Ok(Arc::new(adapted(operator, shown)?))
}

/// An operator as the store that the crates above know.
fn adapted(operator: Operator, shown: &str) -> Result<OpendalStore> {
    if !operator.info().capability().write_with_if_not_exists {
        return Err(Error::invalid(format!(
            "{shown} overwrites what it is told to create: two jobs could destroy each other's state; use a store with \
             conditional put"
        )));
    }
    let patient = operator.layer(TimeoutLayer::default()).layer(RetryLayer::default());
    // Which reads go together is decided above, by what it costs to wait.
    Ok(OpendalStore::new(patient).with_get_ranges_gap(0))
}

#[cfg(test)]
mod tests {
    use alluvium_checkpoint::CheckpointStore;
    use alluvium_env::{Entropy, ErrorKind, IoRuntime};
    use futures_util::TryStreamExt as _;
    use futures_util::future::join_all;
    use object_store::{Error as StoreError, ObjectStoreExt as _, PutMode};
    use opendal::layers::CapabilityOverrideLayer;
    use opendal::services::Memory;

    use super::*;

    fn memory() -> Operator {
        Operator::new(Memory::default()).unwrap()
    }

    #[test]
    fn of_racing_creates_one_wins_and_what_it_wrote_is_read_in_parts_listed_and_deleted() {
        let (store, io) = (adapted(memory(), "memory").unwrap(), IoRuntime::new(2).unwrap());
        let name = ObjectPath::from("state/1.sst");
        let create = |writer: u8| store.put_opts(&name, vec![writer; 100].into(), PutMode::Create.into());
        let (won, lost): (Vec<_>, Vec<_>) =
            io.block_on(join_all((0..16).map(create))).into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 15));
        let condition =
            |e: &StoreError| matches!(e, StoreError::AlreadyExists { .. } | StoreError::Precondition { .. });
        assert!(lost.iter().all(|lost| lost.as_ref().is_err_and(condition)), "{lost:?}");
        let whole = io.block_on(async { store.get(&name).await?.bytes().await }).unwrap();
        let parts = io.block_on(store.get_ranges(&name, &[90..100, 0..7])).unwrap();
        assert_eq!((whole.len(), parts), (100, vec![whole.slice(90..), whole.slice(..7)]));
        let below = |folder: &str| {
            let listing = store.list(Some(&ObjectPath::from(folder)));
            io.block_on(listing.map_ok(|object| (object.location, object.size)).try_collect::<Vec<_>>())
                .unwrap()
        };
        assert_eq!((below("state"), below("ledger")), (vec![(name.clone(), 100)], vec![]));
        io.block_on(store.delete(&name)).unwrap();
        assert!(matches!(io.block_on(store.get(&name)), Err(StoreError::NotFound { .. })));
    }

    #[test]
    fn attempts_at_a_job_follow_each_other_on_it() {
        let (store, io) = (Arc::new(adapted(memory(), "memory").unwrap()), IoRuntime::new(2).unwrap());
        let attempt = || {
            let opened = CheckpointStore::open(Arc::clone(&store) as _, io.clone(), &Entropy::from_os());
            opened.unwrap().incarnation
        };
        assert_eq!([attempt(), attempt(), attempt()], [1, 2, 3]);
    }

    #[test]
    fn a_service_without_conditional_create_is_refused() {
        let cannot = |mut capability: opendal::Capability| {
            capability.write_with_if_not_exists = false;
            capability
        };
        let refused =
            adapted(memory().layer(CapabilityOverrideLayer::new(cannot)), "oss://bucket/a").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        let sentence = refused.to_string();
        assert!(sentence.contains("oss://bucket/a") && sentence.contains("conditional put"), "{sentence}");
    }

    #[test]
    fn what_a_url_lacks_or_should_not_have_is_said() {
        for scheme in ["oss", "cos"] {
            for (rest, named) in [
                ("bucket/state", "OPENDAL_"),
                ("bucket/state?access_key_secret=hidden", "behind a question mark"),
                ("/state", "names no bucket"),
            ] {
                let url = Url::parse(&format!("{scheme}://{rest}")).unwrap();
                let error = open(&url, &super::super::redacted(&url)).map(|_| ()).unwrap_err();
                let sentence = error.to_string();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{sentence}");
                assert!(sentence.contains(named) && sentence.contains(scheme), "{sentence}");
                assert!(!sentence.contains("hidden"), "{sentence}");
            }
        }
    }
}
