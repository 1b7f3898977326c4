//! The way from one root to another: by the store itself where it holds both.
use std::sync::Arc;

use alluvium_checkpoint::{SharedStore, Transfer};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use url::Url;

use super::{Storage, clouds};

/// How objects come from one state URL's root into another's. Two folders of one disk share files, which are never changed;
/// two prefixes of one bucket are copied by the server. Elsewhere the bytes come by here.
pub fn transfer(from: &Storage, to: &Storage) -> Transfer {
    Transfer { from: Arc::clone(&from.store), to: Arc::clone(&to.store), shared: shared(&from.url, &to.url) }
}

fn shared(from: &str, to: &str) -> Option<SharedStore> {
    let [from, to] = [Url::parse(from).ok()?, Url::parse(to).ok()?];
    if (from.scheme(), from.authority()) != (to.scheme(), to.authority()) {
        return None;
    }
    if from.scheme() == "file" {
        let root = |url: &Url| Path::from_absolute_path(url.to_file_path().ok()?).ok();
        let store = Arc::new(LocalFileSystem::new().with_fsync(true));
        return Some(SharedStore { store, from: root(&from)?, to: root(&to)? });
    }
    let root = |url: &Url| Path::from_url_path(url.path()).ok();
    Some(SharedStore { store: bucket(&from)?, from: root(&from)?, to: root(&to)? })
}

/// The whole of a bucket.
fn bucket(url: &Url) -> Option<Arc<dyn ObjectStore>> {
    clouds::has(url.scheme()).then(|| clouds::bucket(url, url.as_str()).ok())?
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use object_store::ObjectStoreExt;

    use super::*;
    use crate::storage::open_folder;

    #[test]
    fn folders_of_one_disk_share_files_and_other_schemes_share_nothing() {
        let (folder, io) = (tempfile::tempdir().unwrap(), IoRuntime::new(1).unwrap());
        let [from, to] = ["a b", "c"].map(|name| open_folder(&folder.path().join(name)).unwrap());
        let name = Path::from("state/1.sst");
        io.block_on(async {
            from.store.put(&name, "x".into()).await.unwrap();
            let SharedStore { store, from: a, to: b } = transfer(&from, &to).shared.unwrap();
            let below = |root: Path| root.parts().chain(name.parts()).collect::<Path>();
            store.copy(&below(a), &below(b)).await.unwrap();
            assert_eq!(to.store.get(&name).await.unwrap().bytes().await.unwrap(), "x");
        });
        for (from, to) in [
            ("memory:///", "memory:///"),
            ("file:///a", "s3://a/b"),
            ("s3://a/x", "s3://b/x"),
            ("az://a@c/x", "az://b@c/x"),
        ] {
            assert!(shared(from, to).is_none(), "{from} to {to}");
        }
    }
}
