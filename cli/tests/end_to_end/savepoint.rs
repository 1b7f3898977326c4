//! `alluvium savepoint` and `alluvium checkpoint`, and jobs that begin from another root: exact, whole, and nobody disturbed.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{alluvium, fail, succeed, summary, text, wait_until, wordcount};
use crate::s3_server::S3Server;
use crate::stop::signal;
use crate::text::{assert_counts, count, multilingual};

const REPEAT: [&str; 2] = ["--repeat", "4"];

pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = alluvium(folder, arguments[0]);
    command.args(&arguments[1..]);
    command
}

/// A job that is stopped in the middle, with tables and kept positions, in `.alluvium/wordcount`.
pub(crate) fn stopped(folder: &Path) -> BTreeMap<String, u64> {
    let written = multilingual(5, 1 << 20, 3_000_000);
    fs::write(folder.join("text"), &written).unwrap();
    let expected = count(&written, 4);
    let mut command = wordcount(folder);
    command
        .args(["text", "--memory", "48MiB", "--checkpoint-interval", "20ms", "--parallelism", "2"])
        .args(REPEAT);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let state = folder.join(".alluvium/wordcount/state/00000001");
    let written = |subtask: &str| fs::read_dir(state.join(subtask)).map_or(0, Iterator::count);
    wait_until("checkpoints with state", || written("0000") + written("0001") > 4);
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("continue with"), "it had ended: {}", text(&output.stderr));
    expected
}

/// Every file below a folder, with its bytes.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub(crate) fn lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Goes on from another root in one of its own, at some parallelism, and counts exactly.
pub(crate) fn goes_on(folder: &Path, arguments: &[&str], expected: &BTreeMap<String, u64>) {
    let mut command = wordcount(folder);
    command
        .args(["text", "--memory", "48MiB", "--json", "--output", "counts.tsv"])
        .args(REPEAT)
        .args(arguments);
    let output = succeed(&mut command);
    assert!(summary(&output)["restore"]["checkpoint"].is_u64());
    assert_counts(&folder.join("counts.tsv"), expected);
}

#[test]
fn jobs_fork_from_a_savepoint_after_its_state_is_gone_and_leave_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let expected = stopped(folder.path());
    let made = succeed(&mut run(folder.path(), &["savepoint", "create", "--to", "saved/one", "--json"]));
    let made = &lines(&made.stdout)[0];
    assert!(made["objects"].as_u64() > Some(0) && made["url"].as_str().unwrap().ends_with("saved/one"));
    fs::remove_dir_all(folder.path().join(".alluvium")).unwrap();

    let listed = succeed(&mut run(folder.path(), &["savepoint", "ls", "saved", "--json"]));
    assert_eq!(lines(&listed.stdout)[0]["checkpoint"], made["checkpoint"]);
    let verified =
        succeed(&mut run(folder.path(), &["checkpoint", "verify", "--state", "saved/one", "--json"]));
    let verified = lines(&verified.stdout).pop().unwrap();
    assert_eq!((&verified["findings"], &verified["named_objects"]), (&0.into(), &made["objects"]));
    let shown = succeed(&mut run(folder.path(), &["checkpoint", "show", "--state", "saved/one", "--json"]));
    let objects = lines(&shown.stdout).iter().filter(|line| line["type"] == "object").count();
    assert_eq!(made["objects"], objects);

    let before = files(&folder.path().join("saved"));
    for (fork, parallelism) in [("fork-1", "1"), ("fork-2", "3")] {
        let state = format!("file://{}/{fork}", folder.path().display());
        let arguments = ["--restore", "saved/one", "--state", &state, "--parallelism", parallelism];
        goes_on(folder.path(), &arguments, &expected);
        assert!(files(&folder.path().join("saved")) == before, "{fork} touched the savepoint");
        succeed(&mut run(folder.path(), &["sst", "verify", fork]));
    }
    // A savepoint is a state: one goes on in it, too.
    let state = format!("file://{}/saved/one", folder.path().display());
    goes_on(folder.path(), &["--restore", "latest", "--state", &state], &expected);
}

#[test]
fn a_canonical_savepoint_goes_on_at_any_parallelism_and_is_made_again_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let expected = stopped(folder.path());
    let canonical = ["savepoint", "create", "--canonical"];
    succeed(run(folder.path(), &canonical).args(["--to", "one"]));
    succeed(run(folder.path(), &canonical).args(["--state", "one", "--to", "two"]));
    let entries = |of: &str| {
        let names = files(&folder.path().join(of).join("state")).into_iter();
        names.map(|(name, bytes)| (name.rsplit_once('/').unwrap().1.to_owned(), bytes)).collect::<Vec<_>>()
    };
    assert!(
        entries("one") == entries("two") && !entries("one").is_empty(),
        "what is read is what was written"
    );
    fs::remove_dir_all(folder.path().join(".alluvium")).unwrap();
    for (fork, parallelism) in [("fork-1", "1"), ("fork-3", "3")] {
        let state = format!("file://{}/{fork}", folder.path().display());
        let arguments = ["--restore", "./two", "--state", &state, "--parallelism", parallelism];
        goes_on(folder.path(), &arguments, &expected);
    }
    let verified = succeed(&mut run(folder.path(), &["checkpoint", "verify", "--state", "one", "--json"]));
    let verified = lines(&verified.stdout).pop().unwrap();
    assert_eq!((&verified["findings"], &verified["missing_objects"]), (&0.into(), &0.into()));
    assert_eq!(verified["entry_files"], verified["named_objects"]);
    // Damage is named, by file and offset.
    let (name, mut bytes) = files(&folder.path().join("one/state")).pop_first().unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&name, bytes).unwrap();
    let state = format!("file://{}/fork-4", folder.path().display());
    let stderr = fail(
        wordcount(folder.path()).args(["text", "--restore", "./one", "--state", &state]).args(REPEAT),
        1,
    );
    assert!(stderr.contains(".entries at offset") && stderr.contains("expected checksum"), "{stderr}");
    let found = run(folder.path(), &["checkpoint", "verify", "--state", "one"]).output().unwrap();
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stdout).contains(".entries at offset"), "{}", text(&found.stdout));
}

#[test]
fn a_diff_finds_what_was_counted_since_and_an_export_is_everything() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b c a").unwrap();
    succeed(wordcount(folder.path()).arg("text"));
    succeed(&mut run(folder.path(), &["savepoint", "create", "--to", "one"]));
    succeed(&mut run(folder.path(), &["savepoint", "create", "--canonical", "--to", "same"]));
    fs::write(folder.path().join("text"), "a b c a a d").unwrap();
    let other = format!("file://{}/other", folder.path().display());
    succeed(wordcount(folder.path()).args(["text", "--state", &other]));
    let sums = ["--value-type", "u64", "--sum"];
    let diff = |before: &str, after: &str| {
        let arguments = ["savepoint", "diff", before, after, "--json"];
        lines(&succeed(run(folder.path(), &arguments).args(sums)).stdout)
    };
    let same = diff("one", "same");
    assert_eq!((same.len(), &same[0]["equal"]), (1, &3.into()), "{same:?}");
    let mut found = diff("one", "other#1");
    let summary = found.pop().unwrap();
    let counts =
        ["added", "removed", "changed", "equal", "uncertain"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [1, 0, 1, 2, 0]);
    found.sort_by_key(|line| line["key"].to_string());
    assert_eq!((&found[0]["before"]["value"], &found[0]["after"]["value"]), (&2.into(), &3.into()));
    assert_eq!((&found[1]["key"], &found[1]["change"]), (&"d".into(), &"added".into()));
    let shown =
        succeed(run(folder.path(), &["savepoint", "diff", "other", "one", "--limit", "0"]).args(sums));
    assert_eq!(text(&shown.stdout), "0 added, 1 removed, 1 changed, 2 equal\n");

    for state in ["one", "same"] {
        let arguments = ["savepoint", "export", "--state", state, "--format", "jsonl"];
        let mut exported = lines(&succeed(run(folder.path(), &arguments).args(sums)).stdout);
        exported.sort_by_key(|line| line["key"].to_string());
        let of = |line: &Value| (line["key"].as_str().unwrap().to_owned(), line["value"].as_u64().unwrap());
        let expected = [("a", 2), ("b", 1), ("c", 1)].map(|(word, count)| (word.to_owned(), count));
        assert_eq!(exported.iter().map(of).collect::<Vec<_>>(), expected);
        assert!(exported.iter().all(|line| line["state"] == "counts" && line["kind"] == "reducing"));
    }
    let stderr = fail(&mut run(folder.path(), &["savepoint", "diff", "one", "same", "--only", "x"]), 1);
    assert!(stderr.contains("no state \"x\": there are counts"), "{stderr}");
    fail(&mut run(folder.path(), &["savepoint", "diff", "one", "nowhere"]), 1);
}

#[test]
fn a_claimed_checkpoint_goes_once_the_new_job_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let expected = stopped(folder.path());
    let state = format!("file://{}/next", folder.path().display());
    let arguments = ["--restore", ".alluvium/wordcount", "--restore-mode", "claim", "--state", &state];
    let latest =
        lines(&succeed(&mut run(folder.path(), &["checkpoint", "ls", "--json"])).stdout).pop().unwrap();
    goes_on(folder.path(), &arguments, &expected);
    let output = run(folder.path(), &["checkpoint", "ls", "--json"]).output().unwrap();
    let left = lines(&output.stdout);
    assert!(left.iter().all(|line| line["checkpoint"] != latest["checkpoint"]), "{left:?}");
    succeed(&mut run(folder.path(), &["checkpoint", "verify", "--state", "next"]));
    // The others go by hand, and nothing but claims is left.
    for line in left {
        let id = line["checkpoint"].to_string();
        succeed(&mut run(folder.path(), &["checkpoint", "rm", &id]));
    }
    let state = folder.path().join(".alluvium/wordcount/state");
    assert!(!state.exists() || files(&state).is_empty());
}

#[test]
fn between_buckets_and_folders_savepoints_and_forks_are_the_same() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    let server = S3Server::start(buckets.path());
    let expected = stopped(folder.path());
    let on_server = |arguments: &[&str]| {
        let mut command = run(folder.path(), arguments);
        server.configure(&mut command);
        succeed(&mut command)
    };
    // Streamed, then copied by the server, then streamed back.
    on_server(&["savepoint", "create", "--to", "s3://bucket/one"]);
    on_server(&["savepoint", "create", "--state", "s3://bucket/one", "--to", "s3://bucket/saved/two"]);
    on_server(&["checkpoint", "verify", "--state", "s3://bucket/saved/two"]);
    on_server(&["savepoint", "create", "--state", "s3://bucket/saved/two", "--to", "three"]);
    goes_on(
        folder.path(),
        &["--restore", "./three", "--state", &format!("file://{}/last", folder.path().display())],
        &expected,
    );
    let mut command = wordcount(folder.path());
    server.configure(&mut command);
    command.args([
        "text",
        "--output",
        "counts.tsv",
        "--restore",
        "s3://bucket/one",
        "--state",
        "s3://bucket/fork",
    ]);
    succeed(command.args(REPEAT));
    assert_counts(&folder.path().join("counts.tsv"), &expected);
    on_server(&["sst", "verify", "s3://bucket/fork"]);
}

#[test]
fn what_is_wrong_is_said_in_one_sentence_and_nothing_is_made() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b c a").unwrap();
    succeed(wordcount(folder.path()).arg("text"));
    succeed(&mut run(folder.path(), &["savepoint", "create", "--to", "saved"]));
    let refused = |arguments: &[&str], code, words: &[&str]| {
        let stderr = fail(&mut run(folder.path(), arguments), code);
        for word in words {
            assert!(stderr.contains(word), "{arguments:?}: {stderr}");
        }
    };
    refused(&["savepoint", "create", "--to", "saved"], 1, &["saved", "choose an empty folder"]);
    refused(&["savepoint", "create", "--state", "nowhere", "--to", "x"], 1, &["nowhere"]);
    refused(&["savepoint", "create", "--checkpoint", "9", "--to", "x"], 1, &["checkpoint 9", "there are 1"]);
    refused(&["savepoint", "ls", ".alluvium/wordcount/state"], 1, &["no savepoint"]);
    refused(&["checkpoint", "verify", "7"], 1, &["checkpoint 7 is not retained: there are 1"]);
    refused(&["checkpoint", "rm", "7"], 1, &["checkpoint 7 is not retained"]);
    refused(&["checkpoint", "rm", "1", "--state", "s3://b/x"], 2, &["--take-over"]);
    assert!(!folder.path().join("x").exists());
    let restore =
        |restore: &[&'static str]| [&["wordcount", "text", "--state", "memory:///"], restore].concat();
    refused(&restore(&["--restore", "./saved#9"]), 1, &["saved", "checkpoint 9", "there are 1"]);
    refused(&restore(&["--restore", "./nowhere"]), 1, &["nowhere"]);
    refused(&restore(&["--restore-mode", "claim"]), 2, &["--restore-mode", "--restore URL"]);
    refused(&restore(&["--restore", "./saved", "--count", "get-put"]), 1, &["count add", "count get-put"]);
    let own = ["wordcount", "text", "--restore", "./saved"];
    refused(&own, 1, &["holds a state of its own already"]);
    // A savepoint that has lost something names it.
    let lost = files(&folder.path().join("saved/state")).pop_first().unwrap().0;
    fs::remove_file(&lost).unwrap();
    refused(&["savepoint", "create", "--state", "saved", "--to", "y"], 1, &["state/00000001", "is missing"]);
    assert!(
        run(folder.path(), &["checkpoint", "ls", "--state", "y"]).output().unwrap().status.code() == Some(1)
    );
}
