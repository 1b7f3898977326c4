//! Counts are exact, whatever the input is made of and however it is read.
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::process::{succeed, summary, text, wordcount};
use crate::text::{assert_counts, count, multilingual};

#[test]
fn counts_equal_an_independent_count_of_many_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let written = multilingual(1, 6 << 20, 60_000);
    fs::write(folder.path().join("text"), &written).unwrap();
    let expected = count(&written, 3);
    for how in ["add", "get-put"] {
        let output = succeed(wordcount(folder.path()).args([
            "text",
            "--repeat",
            "3",
            "--memory",
            "64MiB",
            "--count",
            how,
            "--output",
            "counts.tsv",
            "--json",
        ]));
        assert_counts(&folder.path().join("counts.tsv"), &expected);
        let summary = summary(&output);
        assert_eq!(summary["records"], expected.values().sum::<u64>());
        assert_eq!(summary["distinct_keys"], expected.len());
    }
}

#[test]
fn more_state_than_memory_is_counted_exactly() {
    let folder = tempfile::tempdir().unwrap();
    // Most words are new: the state outgrows its memtables and is read back from tables.
    let written = multilingual(2, 12 << 20, 30_000_000);
    fs::write(folder.path().join("text"), &written).unwrap();
    let expected = count(&written, 2);
    let output = succeed(wordcount(folder.path()).args([
        "text",
        "--repeat",
        "2",
        "--memory",
        "48MiB",
        "--count",
        "get-put",
        "--parallelism",
        "2",
        "--json",
        "--output",
        "counts.tsv",
        "--cache-dir",
        "cache",
        "--cache-size",
        "16MiB",
    ]));
    assert_counts(&folder.path().join("counts.tsv"), &expected);
    let summary = summary(&output);
    assert!(summary["cache"]["misses"].as_u64().unwrap() > 0, "memory held everything: {summary}");
}

#[test]
fn the_summary_has_the_documented_fields_and_is_the_last_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "To be, or not to be").unwrap();
    let output = succeed(wordcount(folder.path()).args(["text", "--json", "--state", "memory:///"]));
    let summary = summary(&output);
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&summary),
        [
            "cache",
            "checkpoints",
            "distinct_keys",
            "parallelism",
            "peak_rss_bytes",
            "records",
            "records_per_second",
            "restore",
            "seconds",
            "store",
        ]
    );
    assert_eq!(keys(&summary["checkpoints"]), ["completed", "failed", "last"]);
    assert_eq!(
        keys(&summary["checkpoints"]["last"]),
        ["async_millis", "id", "inputs_kept", "sync_micros", "uploaded_bytes"]
    );
    assert_eq!(keys(&summary["restore"]), ["checkpoint", "millis_to_first_record"]);
    assert_eq!(keys(&summary["store"]), ["bytes_read", "bytes_written", "deletes", "gets", "lists", "puts"]);
    assert_eq!(keys(&summary["cache"]), ["disk_hits", "memory_hits", "misses"]);
    assert_eq!((&summary["records"], &summary["distinct_keys"]), (&6.into(), &4.into()));
    assert!(output.stderr.is_empty(), "not a terminal, yet: {}", text(&output.stderr));
}

#[test]
fn the_table_shows_the_most_frequent_words() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("texts")).unwrap();
    fs::write(folder.path().join("texts/a"), "water ".repeat(1234)).unwrap();
    fs::write(folder.path().join("texts/b"), "Wasser Wasser вода").unwrap();
    fs::write(folder.path().join("texts/binary"), b"water\0water").unwrap();
    let output = succeed(wordcount(folder.path()).args(["texts", "--top", "2", "--parallelism", "3"]));
    let stdout = text(&output.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["count", "word"]);
    assert_eq!((&rows[2], &rows[3]), (&vec!["1,234", "water"], &vec!["2", "wasser"]));
    assert!(!stdout.contains("вода"), "{stdout}");
    assert!(stdout.contains("1,237 words, 3 distinct"), "{stdout}");
    assert!(text(&output.stderr).starts_with("Skipped texts/binary: not text"), "{}", text(&output.stderr));
}

#[test]
fn stdin_is_input_with_and_without_a_dash() {
    let folder = tempfile::tempdir().unwrap();
    for dash in [true, false] {
        let mut command = wordcount(folder.path());
        command.args(dash.then_some("-")).args(["--output", "counts.tsv"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Hello, hello world").unwrap();
        assert!(child.wait().unwrap().success());
        let written = fs::read_to_string(folder.path().join("counts.tsv")).unwrap();
        assert_eq!(written, "hello\t2\nworld\t1\n");
    }
}

#[test]
fn the_default_state_is_a_folder_here_and_a_second_run_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    for _ in 0..3 {
        let output = succeed(wordcount(folder.path()).args([".", "--json"]));
        // The folder being read holds the state; its files are not input.
        assert_eq!(summary(&output)["records"], 3);
    }
    assert!(folder.path().join(".alluvium/wordcount/ledger").is_dir());
}

#[test]
fn help_shows_every_option_and_examples() {
    let folder = tempfile::tempdir().unwrap();
    let help = text(&succeed(wordcount(folder.path()).arg("--help")).stdout);
    for part in [
        "--state",
        "--memory",
        "--cache-dir",
        "--cache-size",
        "--parallelism",
        "--checkpoint-interval",
        "--restore",
        "--output",
        "--top",
        "--repeat",
        "--json",
        "Examples:",
        "Exit codes:",
        "AWS_ENDPOINT_URL",
    ] {
        assert!(help.contains(part), "--help lacks {part}");
    }
    assert!(!help.contains('\u{1b}'), "colours in a pipe");
}
