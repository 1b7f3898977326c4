//! `alluvium sst verify` of a whole state: what its retained checkpoints name is there and is what they say, or is named.
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::golden::{copy, golden};
use crate::process::{alluvium, assert_sentence, fail, succeed, text};

const GENERATIONS: [&str; 7] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7"];

/// Kinds of objects, and a generation that has them.
const KINDS: [(&str, &str); 4] = [("v3", "sst"), ("v3", "val"), ("v3", "delta"), ("v6", "page")];

fn state_of(generation: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden().join(generation).join("store"), folder.path());
    folder
}

/// What verifying a state prints, by the line's type, and what it says on stderr.
fn verified(state: &Path, options: &[&str]) -> (impl Fn(&str) -> Vec<Value>, String) {
    let output = alluvium(state, "sst").args(["verify", ".", "--json"]).args(options).output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(!error.is_empty())), "{error}");
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (move |kind: &str| lines.iter().filter(|line| line["type"] == kind).cloned().collect(), error)
}

/// The objects of a state, the newest first.
fn objects(state: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = vec![state.join("state")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found.reverse();
    found
}

fn of_kind(objects: &[PathBuf], kind: &str) -> Option<PathBuf> {
    objects.iter().find(|path| path.extension().is_some_and(|ending| ending == kind)).cloned()
}

#[test]
fn a_state_of_every_generation_is_complete_and_is_what_its_checkpoints_say() {
    for generation in GENERATIONS {
        let folder = state_of(generation);
        let count = objects(folder.path()).len();
        for options in [&[][..], &["--quick"]] {
            let (lines, error) = verified(folder.path(), options);
            assert_eq!(error, "", "{generation}, {options:?}: {:?}", lines("finding"));
            let summary = lines("summary").remove(0);
            let named = summary["named_objects"].as_u64().unwrap();
            assert!(named > 3 && summary["missing_objects"] == 0, "{generation}: {summary}");
            assert_eq!(named + summary["orphans"].as_u64().unwrap(), count as u64, "{generation}: {summary}");
            let counted = ["tables", "value_files", "deltas"].map(|kind| summary[kind].as_u64().unwrap());
            assert!(
                counted[0] > 0 && counted[2] > 0 && (counted[1] > 0) == (generation != "v1"),
                "{summary}"
            );
        }
    }
}

#[test]
fn an_object_that_is_missing_is_named_with_the_checkpoints_that_need_it() {
    for (generation, kind) in KINDS {
        let folder = state_of(generation);
        let lost = of_kind(&objects(folder.path()), kind).unwrap();
        fs::remove_file(&lost).unwrap();
        let name = lost.file_name().unwrap().to_str().unwrap();
        for options in [&[][..], &["--quick"]] {
            let (lines, error) = verified(folder.path(), options);
            assert_sentence(&error);
            assert!(error.contains("1 objects that retained checkpoints need are missing"), "{error}");
            let missing = lines("missing");
            assert_eq!((missing.len(), lines("finding").len()), (1, 0), "{options:?}: {missing:?}");
            assert!(missing[0]["object"].as_str().unwrap().ends_with(name), "{missing:?}");
            assert!(missing[0]["needed_by"].as_str().unwrap().starts_with("checkpoint"), "{missing:?}");
            assert!(missing[0]["size_bytes"].as_u64() > Some(0), "{missing:?}");
            assert_eq!(lines("summary")[0]["missing_objects"], 1);
        }
        let output = alluvium(folder.path(), "sst").args(["verify", "."]).output().unwrap();
        let shown = text(&output.stdout);
        assert!(shown.contains(&format!("{name} is missing: ")) && shown.contains("1 missing"), "{shown}");
    }
}

#[test]
fn an_object_that_was_cut_or_replaced_by_another_is_found_by_what_its_checkpoint_says() {
    for (generation, kind) in KINDS {
        let folder = state_of(generation);
        let cut = of_kind(&objects(folder.path()), kind).unwrap();
        let whole = fs::read(&cut).unwrap();
        fs::write(&cut, &whole[..whole.len() - 7]).unwrap();
        let name = cut.file_name().unwrap().to_str().unwrap();
        for options in [&[][..], &["--quick"]] {
            let (lines, error) = verified(folder.path(), options);
            assert!(error.contains("1 are damaged") && !error.contains("missing"), "{error}");
            let findings = lines("finding");
            let first = &findings[0];
            assert!(first["object"].as_str().unwrap().ends_with(name), "{first}");
            assert_eq!((&first["part"], &first["offset"]), (&"the object".into(), &(whole.len() - 7).into()));
            let expected = format!("{} bytes, as checkpoint", whole.len());
            assert!(first["expected"].as_str().unwrap().starts_with(&expected), "{first}");
            assert_eq!(first["found"], format!("{} bytes", whole.len() - 7));
        }
    }
    // A table that is sound, but another one.
    let folder = state_of("v3");
    let is_table = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sst");
    let tables: Vec<_> = objects(folder.path()).into_iter().filter(is_table).collect();
    fs::copy(&tables[1], &tables[0]).unwrap();
    let (lines, error) = verified(folder.path(), &["--quick"]);
    assert!(error.contains("1 are damaged") && !lines("finding").is_empty(), "{error}");
}

#[test]
fn what_pages_name_is_shown_and_saved_and_collected_around() {
    let folder = state_of("v6");
    let shown = text(&succeed(alluvium(folder.path(), "sst").args(["verify", "."])).stdout);
    assert!(shown.contains(" pages; ") && shown.contains("sound"), "{shown}");
    let before = objects(folder.path());
    let saved = tempfile::tempdir().unwrap();
    let saved = saved.path().join("saved");
    let to = format!("file://{}", saved.display());
    let made = succeed(alluvium(folder.path(), "savepoint").args(["create", "--state", ".", "--to", &to]));
    drop(made);
    let (lines, error) = verified(&saved, &[]);
    assert_eq!((error.as_str(), &lines("summary")[0]["pages"]), ("", &2.into()));
    assert_eq!(lines("summary")[0]["named_objects"], objects(&saved).len());
    // A page that cannot be followed is named, and nothing is deleted.
    let page = of_kind(&before, "page").unwrap();
    let sound = fs::read(&page).unwrap();
    fs::write(&page, &sound[1..]).unwrap();
    let error = fail(alluvium(folder.path(), "gc").args(["--state", "."]), 1);
    assert!(error.contains(".page is damaged"), "{error}");
    assert_eq!(objects(folder.path()), before);
    fs::write(&page, &sound).unwrap();
    succeed(alluvium(folder.path(), "gc").args(["--state", "."]));
    assert_eq!(objects(folder.path()), before, "nothing of it was garbage");
}

#[test]
fn what_no_checkpoint_names_is_told_and_is_no_fault() {
    let folder = state_of("v2");
    let (lines, _) = verified(folder.path(), &[]);
    let before = lines("summary")[0]["orphans"].as_u64().unwrap();
    let table = of_kind(&objects(folder.path()), "sst").unwrap();
    let size = fs::copy(&table, table.with_file_name("999999999999.sst")).unwrap();
    for options in [&[][..], &["--quick"]] {
        let (lines, error) = verified(folder.path(), options);
        assert_eq!(error, "");
        let orphans = lines("orphan");
        let strange =
            orphans.iter().find(|line| line["object"].as_str().unwrap().ends_with("999999999999.sst"));
        assert_eq!(strange.map(|line| &line["size_bytes"]), Some(&size.into()), "{orphans:?}");
        assert_eq!(lines("summary")[0]["orphans"], before + 1);
    }
    let shown = text(&succeed(alluvium(folder.path(), "sst").args(["verify", "."])).stdout);
    assert!(shown.contains("are in no retained checkpoint"), "{shown}");
}

#[test]
fn a_state_of_which_all_objects_are_gone_is_not_taken_for_an_empty_one() {
    let folder = state_of("v3");
    let count = objects(folder.path()).len();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    let (lines, error) = verified(folder.path(), &[]);
    assert!(error.contains("need are missing"), "{error}");
    let missing = lines("missing").len();
    assert!(missing > 3 && missing <= count, "{missing} of {count}");
    fs::remove_dir_all(folder.path().join("ledger")).unwrap();
    for options in [&["verify", "."][..], &["verify", ".", "--quick"]] {
        let error = fail(alluvium(folder.path(), "sst").args(options), 1);
        assert!(error.contains("there is no table"), "{error}");
    }
    fs::copy(golden().join("words.txt"), folder.path().join("1.delta")).unwrap();
    let error = fail(alluvium(folder.path(), "sst").args(["verify", ".", "--quick"]), 1);
    assert!(error.contains("--quick") && error.contains("no checkpoint"), "{error}");
}
