//! Runs the binary.
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// `alluvium wordcount` in a folder of its own.
pub(crate) fn wordcount(folder: &Path) -> Command {
    alluvium(folder, "wordcount")
}

/// A command in a folder of its own, with no S3 settings of whoever runs the tests.
pub(crate) fn alluvium(folder: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alluvium"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command.arg(subcommand).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs to the end and insists on success.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", text(&output.stderr));
    output
}

/// Runs to the end and insists on this exit code, and on one sentence on stderr, which it returns.
pub(crate) fn fail(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert_sentence(&stderr);
    assert!(output.stdout.is_empty(), "a failed job printed results: {}", text(&output.stdout));
    stderr
}

/// One line, one sentence, from us, of a length that is read.
pub(crate) fn assert_sentence(stderr: &str) {
    assert!(stderr.starts_with("alluvium: ") && stderr.ends_with(".\n"), "not a sentence: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "more than one line: {stderr}");
    assert!(stderr.len() < 500, "too long to be read: {stderr}");
    for leak in ["Error {", "{ kind", "<?xml", "panicked", "Generic "] {
        assert!(!stderr.contains(leak), "shows {leak}: {stderr}");
    }
}

/// The JSON summary, the last line of stdout.
pub(crate) fn summary(output: &Output) -> Value {
    serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lets a moment pass: the time of a kill, or between two looks at something that must happen.
#[expect(
    clippy::disallowed_methods,
    reason = "another process runs meanwhile; its moments are what is tested"
)]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks until something has happened, at most two minutes.
pub(crate) fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if happened() {
            return;
        }
        pause(Duration::from_millis(10));
    }
    panic!("waited two minutes for {what}");
}

/// Ends a child whatever it is doing, as a lost machine would.
pub(crate) fn kill_hard(child: &mut Child) {
    // It may have ended by itself just before.
    let _ = child.kill();
    child.wait().unwrap();
}
