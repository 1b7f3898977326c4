//! State on an S3 server: exact through kills and a server restart, clear about what is wrong with it.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::crash::{Crashes, input};
use crate::process::{assert_sentence, fail, succeed, summary, text, wait_until, wordcount};
use crate::s3_server::S3Server;

fn on(server: &S3Server, folder: &Path, url: &str) -> Command {
    let mut command = wordcount(folder);
    server.configure(&mut command);
    command.args(["text", "--state", url]);
    command
}

#[test]
fn counts_on_s3_survive_kills_at_changing_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    let server = S3Server::start(buckets.path());
    let repeat = 4;
    let expected = input(folder.path(), repeat);
    let state = |job| {
        let objects = buckets.path().join(format!("bucket/job-{job}"));
        (objects, format!("s3://bucket/job-{job}"))
    };
    let configure = |command: &mut Command| server.configure(command);
    Crashes { folder: folder.path(), seed: 43, state: &state, configure: &configure }.run(&expected, || {
        let mut command = wordcount(folder.path());
        command.args(["text", "--count", "get-put", "--repeat", &repeat.to_string()]);
        command
    });
}

#[test]
fn another_server_with_the_same_objects_can_continue() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    fs::write(folder.path().join("text"), "a b c a").unwrap();
    let first = S3Server::start(buckets.path());
    succeed(&mut on(&first, folder.path(), "s3://bucket/words"));
    drop(first);
    // Another port: names in checkpoints must be relative to the root.
    let second = S3Server::start(buckets.path());
    let output =
        succeed(on(&second, folder.path(), "s3://bucket/words").args(["--restore", "latest", "--json"]));
    let summary = summary(&output);
    assert_eq!((&summary["distinct_keys"], &summary["records"]), (&3.into(), &0.into()));
    assert!(summary["restore"]["checkpoint"].is_u64());
}

#[test]
fn a_bucket_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a").unwrap();
    let server = S3Server::start(buckets.path());
    let error = fail(&mut on(&server, folder.path(), "s3://missing-bucket/words"), 1);
    assert!(error.contains("missing-bucket") && error.contains("bucket"), "{error}");
    assert_eq!(fs::read_dir(buckets.path()).unwrap().count(), 0, "a bucket was made");
}

#[test]
fn wrong_keys_are_said_to_be_wrong_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    fs::write(folder.path().join("text"), "a").unwrap();
    let server = S3Server::start(buckets.path());
    for (variable, value) in [("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "wrong-secret")] {
        let error = fail(on(&server, folder.path(), "s3://bucket/words").env(variable, value), 1);
        assert!(error.contains("AWS_ACCESS_KEY_ID") && !error.contains("wrong-secret"), "{error}");
    }
    assert_eq!(fs::read_dir(buckets.path().join("bucket")).unwrap().count(), 0, "something was written");
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a").unwrap();
    let server = S3Server::start(buckets.path());
    let mut command = on(&server, folder.path(), "s3://bucket/words");
    drop(server);
    let error = fail(&mut command, 1);
    assert!(error.contains("s3://bucket/words"), "{error}");
}

#[test]
fn a_second_job_on_s3_takes_over_and_the_first_ends_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let buckets = tempfile::tempdir().unwrap();
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let server = S3Server::start(buckets.path());
    let mut command = wordcount(folder.path());
    server.configure(&mut command);
    command.args(["-", "--state", "s3://bucket/words", "--checkpoint-interval", "200ms"]);
    let mut first =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let open = first.stdin.take();
    let ledger = buckets.path().join("bucket/words/ledger");
    wait_until("the first job to start", || fs::read_dir(&ledger).is_ok_and(|entries| entries.count() > 1));
    let output = succeed(on(&server, folder.path(), "s3://bucket/words").arg("--json"));
    assert_eq!(summary(&output)["distinct_keys"], 2);
    let ended = first.wait_with_output().unwrap();
    drop(open);
    let stderr = text(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert_sentence(&stderr);
    assert!(stderr.contains("took over") && stderr.contains("s3://bucket/words"), "{stderr}");
    // What the zombie still did has not harmed its successor's checkpoint.
    let output =
        succeed(on(&server, folder.path(), "s3://bucket/words").args(["--restore", "latest", "--json"]));
    assert_eq!(summary(&output)["distinct_keys"], 2);
}
