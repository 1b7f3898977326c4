//! One flipped byte in any object a checkpoint depends on: the object is named, nothing is overwritten, and with the
//! byte back in place the job continues.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{fail, succeed, summary, wordcount};
use crate::text::multilingual;

fn files_below(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.file_name().unwrap() != "LOCK" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn snapshot(state: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    files_below(state, &mut found);
    found
}

#[test]
fn a_flipped_byte_is_reported_with_its_object_and_destroys_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Enough different words for tables besides the log.
    fs::write(folder.path().join("text"), multilingual(5, 3 << 20, 30_000_000)).unwrap();
    let arguments = ["text", "--memory", "48MiB", "--parallelism", "2", "--json"];
    let output = succeed(wordcount(folder.path()).args(arguments));
    let distinct = summary(&output)["distinct_keys"].clone();
    let state = folder.path().join(".alluvium/wordcount");
    let before = snapshot(&state);
    let ledger = before.keys().rfind(|path| path.starts_with(state.join("ledger")));
    let large = before
        .iter()
        .filter(|(path, _)| path.starts_with(state.join("state")))
        .max_by_key(|(_, bytes)| bytes.len());
    let objects = [ledger.unwrap(), large.unwrap().0];
    for path in objects {
        let mut bytes = before[path].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(path, &bytes).unwrap();
        let error = fail(wordcount(folder.path()).args(arguments).args(["--restore", "latest"]), 1);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name), "{error} does not name {name}");
        fs::write(path, &before[path]).unwrap();
        let after = snapshot(&state);
        for (path, bytes) in &before {
            assert!(after.get(path) == Some(bytes), "{} was lost or overwritten", path.display());
        }
    }
    let output = succeed(wordcount(folder.path()).args(arguments).args(["--restore", "latest"]));
    assert_eq!(summary(&output)["distinct_keys"], distinct);
}
