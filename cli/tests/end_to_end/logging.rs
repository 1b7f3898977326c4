//! `RUST_LOG` shows flushes, compactions and fetches with their fields, and nothing that is secret.
use std::fs;

use crate::process::{assert_sentence, succeed, text, wordcount};
use crate::s3_server::S3Server;
use crate::text::multilingual;

/// The lines that end a span.
fn spans<'a>(log: &'a str, name: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(&format!(" {name}{{")) && line.contains(" close ")).collect()
}

#[test]
fn jobs_and_fetches_are_shown_with_their_fields_and_no_secret_is() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    // Some state does not fit, so that counts have to be fetched.
    fs::write(folder.path().join("text"), multilingual(5, 3 << 20, 30_000_000)).unwrap();
    let server = S3Server::start(buckets.path());
    let mut command = wordcount(folder.path());
    server.configure(&mut command);
    command.args(["text", "--memory", "42MiB", "--parallelism", "2", "--count", "get-put"]);
    command.args(["--repeat", "2", "--state", "s3://bucket/words"]).env("RUST_LOG", "trace");
    let log = text(&succeed(&mut command).stderr);
    // What a store gives up when it ends has written nothing that it could tell of: two stores, each of its threads one.
    for (name, given_up, fields) in [
        ("flush", 4, &["memtable_bytes=", "tables=state/00000001/", ".sst", "bytes=", "time.busy="][..]),
        ("compaction", 4, &["level=", "inputs=", "input_bytes=", "tables=state/", "time.busy="]),
        ("fetch", 0, &["tables=", "blocks=", "time.idle="]),
    ] {
        let spans = spans(&log, name);
        let (done, rest): (Vec<_>, Vec<_>) = spans.into_iter().partition(|span| span.contains("tables="));
        assert!(!done.is_empty() && rest.len() <= given_up, "{} of {name}, and {rest:?}", done.len());
        for span in done {
            assert!(fields.iter().all(|field| span.contains(field)), "{span}");
        }
    }
    assert!(log.lines().any(|line| line.contains("reads blocks table=") && line.contains("requests=")));
    // What others log of their requests could hold them.
    for line in
        log.lines().filter(|line| [" TRACE ", " DEBUG ", " INFO ", " WARN "].iter().any(|l| line.contains(l)))
    {
        assert!(line.contains(" alluvium_forst::"), "of another crate: {line}");
    }
    for secret in ["not-a-secret", "signature", "alluvium-test", "authorization"] {
        assert!(!log.to_lowercase().contains(secret), "the log holds {secret}");
    }
}

#[test]
fn what_is_no_filter_is_wrong_usage_and_without_the_variable_nothing_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let output = wordcount(folder.path()).arg("text").env("RUST_LOG", "alluvium=loud").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert_sentence(&error);
    assert!(error.contains("RUST_LOG") && error.contains("alluvium_forst=debug"), "{error}");
    assert!(!folder.path().join(".alluvium").exists(), "the job had started");
    assert_eq!(text(&succeed(wordcount(folder.path()).arg("text")).stderr), "");
}
