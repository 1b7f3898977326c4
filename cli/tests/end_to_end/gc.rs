//! `alluvium gc`: what killed jobs leave is shown, then deleted; checkpoints stay, and a running job is left alone.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::process::{alluvium, fail, kill_hard, succeed, summary, text, wait_until, wordcount};
use crate::s3_server::S3Server;

fn gc(folder: &Path, state: &str, more: &[&str]) -> Command {
    let mut command = alluvium(folder, "gc");
    command.args(["--state", state]).args(more);
    command
}

/// The last line of JSON.
fn sums(command: &mut Command) -> Value {
    summary(&succeed(command.arg("--json")))
}

/// A job that has taken the state over and waits for input. It takes no checkpoint by itself: the test server may let two
/// racing creates both win, where a real store has one lose.
fn started(mut command: Command, ledger: &Path) -> std::process::Child {
    command.args(["-", "--checkpoint-interval", "1h"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a claim", || fs::read_dir(ledger).is_ok_and(|entries| entries.count() > 0));
    child
}

#[test]
fn what_a_killed_job_left_in_a_folder_goes_and_its_checkpoints_stay() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let url = format!("file://{}", state.display());
    succeed(wordcount(folder.path()).args(["text", "--state", &url]));
    // A flush that runs while the job ends may leave a table.
    succeed(&mut gc(folder.path(), "state", &[]));
    let files = state.join("state/00000001/0");
    fs::create_dir_all(&files).unwrap();
    for (name, bytes) in [("99.sst", 1_000), ("98.delta#1", 500)] {
        fs::write(files.join(name), vec![0; bytes]).unwrap();
    }
    fs::write(state.join("ledger/00000000000000000009#3"), "half an entry").unwrap();

    let shown = succeed(&mut gc(folder.path(), "state", &["--dry-run"]));
    let shown = text(&shown.stdout);
    assert!(shown.contains("state/00000001/0/99.sst  1000 bytes"), "{shown}");
    assert!(
        shown.contains("3 objects of 1.5KiB are garbage") && shown.contains("Nothing was deleted"),
        "{shown}"
    );
    assert!(files.join("99.sst").exists() && files.join("98.delta#1").exists());
    let before = fs::read_dir(state.join("ledger")).unwrap().count();

    let sums = sums(&mut gc(folder.path(), "state", &[]));
    assert_eq!((&sums["orphans"], &sums["deleted"], &sums["bytes"]), (&3.into(), &3.into(), &1500.into()));
    assert!(!files.join("99.sst").exists() && !files.join("98.delta#1").exists());
    assert_eq!(
        fs::read_dir(state.join("ledger")).unwrap().count(),
        before,
        "one leftover less, one claim more"
    );
    let again = self::sums(&mut gc(folder.path(), "state", &[]));
    assert_eq!(again["orphans"], 0);
    let next =
        succeed(wordcount(folder.path()).args(["text", "--state", &url, "--restore", "latest", "--json"]));
    assert_eq!(summary(&next)["distinct_keys"], 2);
}

#[test]
fn what_a_fork_without_a_checkpoint_has_brought_stays_until_it_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let url = |state: &str| format!("file://{}/{state}", folder.path().display());
    succeed(wordcount(folder.path()).args(["text", "--state", &url("state")]));
    let fork = ["text", "--restore", &url("state"), "--state", &url("fork")];
    succeed(wordcount(folder.path()).args(fork));
    // As if it had been killed when it had brought its first file.
    let mut entries: Vec<_> = fs::read_dir(folder.path().join("fork/ledger")).unwrap().collect();
    entries.sort_by_key(|entry| entry.as_ref().unwrap().path());
    entries.into_iter().skip(1).for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    let brought = folder.path().join("fork/state/00000001/0/77.sst");
    fs::create_dir_all(brought.parent().unwrap()).unwrap();
    fs::write(&brought, "a table").unwrap();

    let shown = succeed(&mut gc(folder.path(), "fork", &["--dry-run"]));
    let shown = text(&shown.stdout);
    assert!(shown.contains("were brought from checkpoint") && shown.contains("--abandon"), "{shown}");
    let kept = sums(&mut gc(folder.path(), "fork", &[]));
    assert!(kept["brought"].as_u64() > Some(0) && brought.exists(), "{kept}");
    let gone = sums(&mut gc(folder.path(), "fork", &["--abandon"]));
    assert_eq!((&gone["deleted"], &gone["brought"]), (&kept["brought"], &0.into()));
    assert!(!brought.exists());
    let error = fail(wordcount(folder.path()).args(fork), 1);
    assert!(error.contains("holds a state of its own already"), "{error}");
}

#[test]
fn a_folder_that_a_job_has_is_refused_and_one_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let state = format!("file://{}/state", folder.path().display());
    let mut command = wordcount(folder.path());
    command.args(["--state", &state]);
    let mut job = started(command, &folder.path().join("state/ledger"));
    for more in [&["--dry-run"][..], &[]] {
        let error = fail(&mut gc(folder.path(), &state, more), 1);
        assert!(error.contains("another job is running"), "{error}");
    }
    kill_hard(&mut job);
    succeed(&mut gc(folder.path(), &state, &[]));
    let error = fail(&mut gc(folder.path(), "missing", &[]), 1);
    assert!(error.contains("missing"), "{error}");
    assert!(!folder.path().join("missing").exists());
}

#[test]
fn on_s3_a_running_job_ends_only_where_that_is_said() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    let server = S3Server::start(buckets.path());
    let url = "s3://bucket/words";
    let on = |mut command: Command| {
        server.configure(&mut command);
        command
    };
    let mut command = on(wordcount(folder.path()));
    command.args(["--state", url]);
    let mut job = started(command, &buckets.path().join("bucket/words/ledger"));
    let error = fail(&mut on(gc(folder.path(), url, &[])), 1);
    assert!(error.contains("--take-over"), "{error}");
    let looked = sums(&mut on(gc(folder.path(), url, &["--dry-run"])));
    assert_eq!(looked["deleted"], 0);
    assert!(job.try_wait().unwrap().is_none(), "the job goes on");
    let taken = sums(&mut on(gc(folder.path(), url, &["--take-over"])));
    assert_eq!(taken["deleted"], taken["orphans"]);
    assert_eq!(job.wait().unwrap().code(), Some(1), "it was fenced");
}
