//! Ctrl-C and SIGTERM: a last checkpoint, a sentence how to continue, and counts that are exact when one does.
use std::fs;
use std::process::{Child, Command, Stdio};

use crate::crash::input;
use crate::process::{succeed, summary, text, wait_until, wordcount};
use crate::text::assert_counts;

pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn stopped_job_continues(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let expected = input(folder.path(), 8);
    let arguments =
        ["text", "--repeat", "8", "--output", "counts.tsv", "--checkpoint-interval", "off", "--json"];
    let mut command = wordcount(folder.path());
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The handler is installed before the first object of the job is written.
    let ledger = folder.path().join(".alluvium/wordcount/ledger");
    wait_until("the job to start", || fs::read_dir(&ledger).is_ok_and(|entries| entries.count() > 0));
    signal(&child, name);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!folder.path().join("counts.tsv").exists(), "a stopped job wrote its output");
    let advice = stderr.lines().last().unwrap();
    let command_line =
        advice.split("continue with: alluvium wordcount ").nth(1).unwrap_or_else(|| panic!("{stderr}"));
    assert!(summary(&output)["distinct_keys"].is_null());
    // What it says is what is run; nothing in it needs quoting here.
    let output = succeed(wordcount(folder.path()).args(command_line.split(' ')));
    assert!(summary(&output)["restore"]["checkpoint"].is_u64());
    assert_counts(&folder.path().join("counts.tsv"), &expected);
}

#[test]
fn ctrl_c_takes_a_checkpoint_and_says_how_to_continue() {
    stopped_job_continues("-INT");
}

#[test]
fn sigterm_takes_a_checkpoint_and_says_how_to_continue() {
    stopped_job_continues("-TERM");
}

#[test]
fn a_job_that_waits_for_stdin_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wordcount(folder.path());
    command.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let open = child.stdin.take();
    let ledger = folder.path().join(".alluvium/wordcount/ledger");
    wait_until("the job to start", || fs::read_dir(&ledger).is_ok_and(|entries| entries.count() > 0));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    drop(open);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
