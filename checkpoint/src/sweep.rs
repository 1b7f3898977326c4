//! The sweep at the start: files that former attempts wrote and no retained checkpoint names are deleted.
//!
//! **Invariants**: runs after the claim, which fences every former attempt: none can complete a checkpoint that
//! names such a file. Files of this attempt belong to the registry, files of a later one to that. What a state without a
//! checkpoint has brought from its origin, a later attempt may bring again, so only an attempt that begins there too sweeps
//! those: the registry knows by then which its checkpoint names, and those are what all bring. The one listing of `state/`,
//! and of `compaction/`, where jobs for others are, in the life of a job.
//!
//! **Failure**: a listing that fails ends the sweep; the next start sweeps again.
use std::sync::{Arc, Weak};

use futures_util::TryStreamExt;

use crate::objects::Objects;
use crate::origin::OriginRecord;
use crate::registry::SharedFileRegistry;

/// Where backends keep their files, as `state/{incarnation:08}/…`, and the jobs that they have others do. Those go first:
/// a compactor that sees its job gone deletes what it has written.
pub(crate) const FOLDERS: [&str; 2] = ["compaction", "state"];
/// How many orphans are handed over at once.
pub(crate) const BULK: usize = 1000;

/// Which attempts' files are swept.
#[derive(Clone)]
pub(crate) struct Former {
    /// The attempt that sweeps: those before it.
    pub(crate) incarnation: u64,
    /// But for those whose files this can name.
    pub(crate) spares: Option<OriginRecord>,
}

impl Former {
    fn wrote(&self, folder: &str, name: &str) -> bool {
        incarnation_of(folder, name).is_some_and(|writer| {
            writer < self.incarnation && !self.spares.as_ref().is_some_and(|origin| origin.can_name(writer))
        })
    }
}

/// Starts the sweep in the background.
pub(crate) fn start(files: &Arc<SharedFileRegistry>, objects: Objects, former: Former) {
    // Weak: a job that has ended is not kept alive by its sweep.
    let weak = Arc::downgrade(files);
    files.deleter().sweep(async move { sweep(weak, objects, former).await });
}

/// Whether everything was seen.
async fn sweep(files: Weak<SharedFileRegistry>, objects: Objects, former: Former) -> bool {
    for folder in FOLDERS {
        if !sweep_folder(&files, &objects, (folder, &former)).await {
            return false;
        }
    }
    true
}

async fn sweep_folder(
    files: &Weak<SharedFileRegistry>,
    objects: &Objects,
    (folder, former): (&str, &Former),
) -> bool {
    let mut listing = objects.list(folder);
    let mut old = Vec::new();
    loop {
        let next = listing.try_next().await;
        let over = !matches!(next, Ok(Some(_)));
        if over || old.len() >= BULK {
            let Some(files) = files.upgrade() else { return false };
            files.delete_unused(std::mem::take(&mut old));
        }
        match next {
            Ok(Some(name)) if former.wrote(folder, &name) => old.push(name),
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The attempt that wrote a file; `None` for names that no backend gives, which are left alone.
pub(crate) fn incarnation_of(folder: &str, name: &str) -> Option<u64> {
    let (writer, _) = name.strip_prefix(folder)?.strip_prefix('/')?.split_once('/')?;
    let all_digits = writer.len() >= 8 && writer.bytes().all(|b| b.is_ascii_digit());
    if all_digits { writer.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use alluvium_state_api::FileOwnership;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn only_names_that_a_backend_gives_have_an_incarnation() {
        let of = |name| incarnation_of("state", name);
        assert_eq!(of("state/00000012/0/1.sst"), Some(12));
        assert_eq!(of("state/123456789/x"), Some(123_456_789));
        assert_eq!(incarnation_of("compaction", "compaction/00000012/0/1.job"), Some(12));
        for foreign in
            ["state/00000012", "state/12/x", "state/+0000012/x", "states/00000012/x", "x/state/00000012/x"]
        {
            assert_eq!(of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn only_unused_files_of_former_attempts_go() {
        let (io, objects) = (IoRuntime::new(1).unwrap(), Objects::new(Arc::new(InMemory::new())));
        let files = SharedFileRegistry::new(objects.clone(), io.clone());
        files.hold("state/00000001/used");
        let names = ["00000001/used", "00000001/orphan", "00000002/own", "00000003/later", "foreign"];
        let in_both = || FOLDERS.iter().flat_map(|folder| names.map(|name| format!("{folder}/{name}")));
        for name in in_both() {
            io.block_on(objects.create(&name, "x".into())).unwrap();
        }
        start(&files, objects.clone(), Former { incarnation: 2, spares: None });
        assert!(files.settle().swept);
        let list = |folder| io.block_on(objects.list(folder).try_collect::<Vec<String>>()).unwrap();
        let mut left: Vec<String> = FOLDERS.into_iter().flat_map(list).collect();
        left.sort();
        let gone = ["compaction/00000001/orphan", "compaction/00000001/used", "state/00000001/orphan"];
        let wanted: Vec<String> = in_both().filter(|name| !gone.contains(&name.as_str())).collect();
        assert_eq!(left, wanted);
    }
}
