//! What is wrong is said in one sentence that names it, with the right exit code, and nothing is lost or overwritten.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{fail, succeed, summary, text, wait_until, wordcount};

/// A user who may read what is readable to all and no more.
const NOBODY: u32 = 65534;

fn folder_with_text() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    folder
}

#[test]
fn a_missing_file_is_named_and_nothing_is_created() {
    let folder = folder_with_text();
    let error = fail(wordcount(folder.path()).args(["text", "no-such-file", "--output", "counts.tsv"]), 1);
    assert!(error.contains("no-such-file") && error.contains("No such file"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was created");
}

/// As root every folder is readable, so there the binary runs as somebody else.
fn as_nobody(folder: &Path) -> Command {
    let mut command = wordcount(folder);
    let root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    if root {
        let copy = folder.join("alluvium");
        fs::copy(env!("CARGO_BIN_EXE_alluvium"), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        command = Command::new(copy);
        command.arg("wordcount").current_dir(folder).uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    }
    command
}

#[test]
fn an_unreadable_folder_is_named() {
    let folder = folder_with_text();
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    let error = fail(as_nobody(folder.path()).args([".", "--state", "memory:///"]), 1);
    assert!(error.contains("locked") && error.contains("Permission denied"), "{error}");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_unknown_scheme_is_answered_with_those_there_are() {
    let folder = folder_with_text();
    for url in ["ftp://host/state", "state", "s3:/bucket", "s3://"] {
        let error = fail(wordcount(folder.path()).args(["text", "--state", url]), 1);
        assert!(error.contains(url) && error.contains("s3://bucket/prefix"), "{error}");
    }
}

#[test]
fn a_cache_larger_than_its_disk_is_refused_before_the_job_starts() {
    let folder = folder_with_text();
    let arguments = ["text", "--cache-dir", "cache", "--cache-size", "900TiB", "--output", "counts.tsv"];
    let error = fail(wordcount(folder.path()).args(arguments), 1);
    assert!(error.contains("cache") && error.contains("--cache-size"), "{error}");
    assert!(!folder.path().join("counts.tsv").exists());
}

#[test]
fn contradicting_options_are_wrong_usage_and_both_are_named() {
    let folder = folder_with_text();
    for (arguments, named) in [
        (&["text", "--memory", "16MiB", "--parallelism", "8"][..], ["--memory 16MiB", "--parallelism 8"]),
        (&["text", "--memory", "1KiB"], ["--memory", "--parallelism"]),
        (&["-", "--repeat", "2"], ["--repeat 2", "stdin"]),
        (&["-", "-"], ["-", "twice"]),
        (&["text", "--restore", "latest", "--state", "memory:///"], ["--restore", "memory:///"]),
        (&["text", "--cache-dir", "state/c", "--state", "file:///state"], ["--cache-dir", "--state"]),
        (
            &["text", "--remote-compaction-min-size", "2MiB"],
            ["--remote-compaction-min-size 2MiB", "--compaction home"],
        ),
    ] {
        let mut command = wordcount(folder.path());
        let absolute = format!("file://{}/state", folder.path().display());
        command.args(arguments.iter().map(|word| if *word == "file:///state" { &absolute } else { *word }));
        let error = fail(&mut command, 2);
        assert!(named.iter().all(|name| error.contains(name)), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was created");
}

#[test]
fn what_cannot_be_parsed_is_wrong_usage() {
    let folder = folder_with_text();
    for arguments in [
        &["text", "--memory", "lots"][..],
        &["text", "--cache-size", "1GiB"],
        &["text", "--checkpoint-interval", "sometimes"],
        &["text", "--restore", "yesterday"],
        &["text", "--compression", "brotli"],
        &["text", "--cold-compression", "zstd:9"],
        &["text", "--parallelism", "0"],
        &["text", "--parallelism", "129"],
        &["text", "--repeat", "0"],
        &["text", "--no-such-option"],
    ] {
        let output = wordcount(folder.path()).args(arguments).output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(arguments[1]), "{stderr}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_the_job_starts() {
    let folder = folder_with_text();
    for output in ["missing/counts.tsv", ".", "/dev/null"] {
        let error = fail(wordcount(folder.path()).args(["text", "--output", output]), 1);
        assert!(error.contains("--output") && error.contains(output), "{error}");
    }
    assert!(!folder.path().join(".alluvium").exists(), "the job had started");
}

#[test]
fn a_checkpoint_that_is_not_there_is_answered_with_those_there_are() {
    let folder = folder_with_text();
    succeed(wordcount(folder.path()).arg("text"));
    let error = fail(wordcount(folder.path()).args(["text", "--restore", "77"]), 1);
    assert!(error.contains("77") && error.contains('1'), "{error}");
}

#[test]
fn another_input_or_another_way_to_count_is_not_continued() {
    let folder = folder_with_text();
    fs::write(folder.path().join("other"), "c d e f").unwrap();
    succeed(wordcount(folder.path()).arg("text"));
    let error = fail(wordcount(folder.path()).args(["other", "--restore", "latest"]), 1);
    assert!(error.contains("1 file of 5 bytes") && error.contains("1 file of 7 bytes"), "{error}");
    let error = fail(wordcount(folder.path()).args(["text", "--restore", "latest", "--count", "get-put"]), 1);
    assert!(error.contains("--count add") && error.contains("--count get-put"), "{error}");
    // Nothing was lost by trying.
    let output = succeed(wordcount(folder.path()).args(["text", "--restore", "latest", "--json"]));
    assert_eq!(summary(&output)["distinct_keys"], 2);
}

#[test]
fn latest_without_a_checkpoint_starts_at_the_beginning_and_says_so() {
    let folder = folder_with_text();
    let output = succeed(wordcount(folder.path()).args(["text", "--restore", "latest", "--json"]));
    assert_eq!(summary(&output)["records"], 3);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("no checkpoint") && stderr.contains("beginning"), "{stderr}");
}

#[test]
fn a_second_job_on_the_same_state_is_refused_and_the_first_goes_on() {
    let folder = folder_with_text();
    let mut command = wordcount(folder.path());
    command.args(["-", "--output", "counts.tsv"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut first = command.spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"one two ").unwrap();
    let ledger = folder.path().join(".alluvium/wordcount/ledger");
    wait_until("the first job to start", || fs::read_dir(&ledger).is_ok_and(|entries| entries.count() > 0));
    let error = fail(wordcount(folder.path()).arg("text"), 1);
    assert!(error.contains("another job") && error.contains(".alluvium/wordcount"), "{error}");
    stdin.write_all(b"two").unwrap();
    drop(stdin);
    assert!(first.wait().unwrap().success());
    assert_eq!(fs::read_to_string(folder.path().join("counts.tsv")).unwrap(), "one\t1\ntwo\t2\n");
}
