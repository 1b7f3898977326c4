//! `alluvium savepoint restore`: states made of savepoints, in which jobs go on without the savepoint.
use std::fs;

use crate::process::{fail, succeed, text};
use crate::savepoint::{files, goes_on, lines, run, stopped};

#[test]
fn a_state_that_was_made_of_a_savepoint_goes_on_when_the_savepoint_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let expected = stopped(folder.path());
    succeed(&mut run(folder.path(), &["savepoint", "create", "--to", "native"]));
    succeed(&mut run(folder.path(), &["savepoint", "create", "--canonical", "--to", "canonical"]));
    fs::remove_dir_all(folder.path().join(".alluvium")).unwrap();
    for (savepoint, state, parallelism) in [("native", "one", "3"), ("canonical", "two", "1")] {
        let before = files(&folder.path().join(savepoint));
        let restored = succeed(&mut run(
            folder.path(),
            &["savepoint", "restore", savepoint, "--state", state, "--json"],
        ));
        let restored = &lines(&restored.stdout)[0];
        let has = |name: &str, end: &str| restored[name].as_str().is_some_and(|url| url.ends_with(end));
        assert!(has("from", savepoint) && has("url", state) && restored["objects"].as_u64() > Some(0));
        assert_eq!(
            (&restored["job"], &restored["canonical"]),
            (&"wordcount --count add".into(), &(state == "two").into())
        );
        assert!(files(&folder.path().join(savepoint)) == before, "the savepoint is only read");
        fs::remove_dir_all(folder.path().join(savepoint)).unwrap();

        let url = format!("file://{}/{state}", folder.path().display());
        let arguments = ["--restore", "latest", "--state", &url, "--parallelism", parallelism];
        goes_on(folder.path(), &arguments, &expected);
        succeed(&mut run(folder.path(), &["checkpoint", "verify", "--state", state]));
    }
}

#[test]
fn a_savepoint_is_restored_into_nothing_but_an_empty_root() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b c a").unwrap();
    succeed(&mut run(folder.path(), &["wordcount", "text"]));
    succeed(&mut run(folder.path(), &["savepoint", "create", "--to", "saved"]));
    let refused = |arguments: &[&str], words: &[&str]| {
        let stderr = fail(&mut run(folder.path(), &[&["savepoint", "restore"], arguments].concat()), 1);
        for word in words {
            assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        }
    };
    let before = files(&folder.path().join(".alluvium"));
    refused(&["saved"], &["holds a state of its own already", "choose an empty folder or prefix"]);
    refused(&["saved", "--state", "saved"], &["saved"]);
    refused(&["saved#9", "--state", "x"], &["checkpoint 9", "there are 1"]);
    refused(&["nowhere", "--state", "x"], &["nowhere"]);
    assert!(files(&folder.path().join(".alluvium")) == before && !folder.path().join("x").exists());
    fs::create_dir(folder.path().join("notes")).unwrap();
    fs::write(folder.path().join("notes/mine"), "mine").unwrap();
    refused(&["saved", "--state", "notes"], &["notes holds something else already, mine for one"]);

    let create = |to: &str| fail(&mut run(folder.path(), &["savepoint", "create", "--to", to]), 1);
    assert!(create("notes").contains("notes holds something else already, mine for one"));
    assert!(create("saved").contains("saved holds a state of its own already"));
    let names = files(&folder.path().join("notes")).into_keys();
    assert!(names.filter(|name| !name.ends_with("/mine")).all(|name| name.ends_with("LOCK")));

    // What was interrupted before its last object is made whole by the same command.
    let restore = ["savepoint", "restore", "saved", "--state", "again"];
    let told = succeed(&mut run(folder.path(), &restore));
    let told = text(&told.stdout);
    assert!(
        told.contains("again is a state of job wordcount --count add now")
            && told.contains("--restore latest"),
        "{told}"
    );
    let last = files(&folder.path().join("again/ledger")).pop_last().unwrap().0;
    fs::remove_file(last).unwrap();
    succeed(&mut run(folder.path(), &restore));
    succeed(&mut run(folder.path(), &["checkpoint", "verify", "--state", "again"]));
    refused(&["saved", "--state", "again"], &["again holds a state of its own already"]);
}
