//! One flipped byte in any object a checkpoint depends on: the object is named, nothing is overwritten, and with the
//! byte back in place the job continues.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{assert_sentence, succeed, summary, text, wordcount};
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

fn copy(files: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let moved = files.iter().map(|(path, bytes)| (to.join(path.strip_prefix(from).unwrap()), bytes.clone()));
    let moved: BTreeMap<PathBuf, Vec<u8>> = moved.collect();
    for (path, bytes) in &moved {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    moved
}

#[test]
fn a_flipped_byte_is_reported_with_its_object_and_destroys_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Enough different words for tables besides the log.
    fs::write(folder.path().join("text"), multilingual(5, 3 << 20, 30_000_000)).unwrap();
    let arguments = ["text", "--memory", "48MiB", "--parallelism", "2", "--checkpoints-kept", "1", "--json"];
    let output = succeed(wordcount(folder.path()).args(arguments));
    let distinct = summary(&output)["distinct_keys"].clone();
    let state = folder.path().join(".alluvium/wordcount");
    let whole = snapshot(&state);
    let ledger = whole.keys().rfind(|path| path.starts_with(state.join("ledger"))).unwrap();
    let mut by_size: Vec<&PathBuf> =
        whole.keys().filter(|path| path.starts_with(state.join("state"))).collect();
    by_size.sort_by_key(|path| std::cmp::Reverse(whole[*path].len()));
    let mut reported = Vec::new();
    for (case, damaged) in by_size.into_iter().take(6).chain([ledger]).enumerate() {
        // A copy for each, since a run that succeeds moves on.
        let place = folder.path().join(format!(".damaged-{case}"));
        let files = copy(&whole, &state, &place);
        let name = damaged.file_name().unwrap().to_str().unwrap();
        let damaged = place.join(damaged.strip_prefix(&state).unwrap());
        let mut bytes = files[&damaged].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&damaged, &bytes).unwrap();
        let mut command = wordcount(folder.path());
        command.args(arguments).args([
            "--restore",
            "latest",
            "--state",
            &format!("file://{}", place.display()),
        ]);
        let output = command.output().unwrap();
        if output.status.success() {
            // A pack is there for its other pieces: this one is a hint, without which a job goes on, or a log that a flush has made
            // superfluous; and the answer must be as right as ever. All else is needed: of an older checkpoint nothing is there.
            let is_pack = damaged.extension().is_some_and(|kind| kind == "pack");
            assert!(is_pack, "{name} was damaged, and nobody saw it");
            assert_eq!(summary(&output)["distinct_keys"], distinct);
            continue;
        }
        let error = text(&output.stderr);
        assert_sentence(&error);
        assert!(error.contains(name), "{error} does not name {name}");
        let after = snapshot(&place);
        // A newer checkpoint lets go of what it does not need, since compactions go on; without one nothing may vanish.
        let newest = |files: &BTreeMap<PathBuf, Vec<u8>>| {
            files.keys().rfind(|path| path.starts_with(place.join("ledger"))).cloned()
        };
        let moved_on = newest(&after) > newest(&files);
        for (path, bytes) in files.iter().filter(|(path, _)| **path != damaged) {
            match after.get(path) {
                Some(now) => assert!(now == bytes, "{} was overwritten", path.display()),
                None => assert!(moved_on, "{} was lost", path.display()),
            }
        }
        // With the byte back in place the job continues.
        fs::write(&damaged, &files[&damaged]).unwrap();
        assert_eq!(summary(&succeed(&mut command))["distinct_keys"], distinct);
        reported.push(name.to_owned());
    }
    assert!(
        reported.len() > 1 && reported.contains(&ledger.file_name().unwrap().to_str().unwrap().to_owned()),
        "{reported:?}"
    );
}
