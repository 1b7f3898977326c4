//! `alluvium compactor` beside a job: killed in the middle, followed by another one, and the counts are exact.
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use alluvium_env::Entropy;

use crate::process::{alluvium, fail, kill_hard, succeed, text, wait_until, wordcount};
use crate::text::{Counts, assert_counts};

/// Objects of a kind that the job and its compactors share. A file with a `#` is none: a folder's client writes beside the
/// name, and one that is killed meanwhile leaves that behind.
fn shared(state: &Path, kind: &str) -> Vec<String> {
    let folders = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let objects = folders(&state.join("compaction")).flat_map(|path| folders(&path).collect::<Vec<_>>());
    let objects = objects.flat_map(|path| folders(&path).collect::<Vec<_>>());
    let names = objects.map(|path| path.to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(kind) && !name.contains('#')).collect()
}

/// Writes words that mostly were never seen before until something has happened.
fn feed(stdin: &mut ChildStdin, counts: &mut Counts, mut happened: impl FnMut() -> bool) {
    let random = Entropy::from_seed(counts.len() as u64);
    for _ in 0..5_000 {
        let mut batch = String::new();
        for _ in 0..2_000 {
            let word = format!("w{:010x}", random.next_u64() % (1 << 34));
            batch.push_str(&word);
            batch.push('\n');
            *counts.entry(word).or_default() += 1;
        }
        stdin.write_all(batch.as_bytes()).unwrap();
        if happened() {
            return;
        }
    }
    panic!("ten million words later it has not happened");
}

fn compactor(folder: &Path, log: &str) -> (Child, impl Fn() -> String + use<>) {
    let log = folder.join(log);
    let mut command = alluvium(folder, "compactor");
    command.args(["--state", "state", "--poll", "50ms"]);
    let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
    (child, move || fs::read_to_string(&log).unwrap())
}

#[test]
fn counts_are_exact_while_a_compactor_dies_and_another_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (state, mut counts) = (folder.path().join("state"), Counts::new());
    let url = format!("file://{}", state.display());
    let mut command = wordcount(folder.path());
    command.args(["-", "--state", &url, "--memory", "36MiB", "--parallelism", "1", "--output", "counts.tsv"]);
    // What state this small has to compact is less than what is worth a job by default.
    command.args(["--compaction", "remote", "--remote-compaction-min-size", "64KiB"]);
    command.args(["--checkpoint-interval", "300ms"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut job = command.spawn().unwrap();
    let mut stdin = job.stdin.take().unwrap();
    wait_until("the state", || state.exists());
    let (mut first, _) = compactor(folder.path(), "first.log");
    feed(&mut stdin, &mut counts, || !shared(&state, ".claim").is_empty());
    kill_hard(&mut first);
    let (second, log) = compactor(folder.path(), "second.log");
    let done = || log().lines().filter(|line| line.starts_with("Done: ")).count();
    feed(&mut stdin, &mut counts, || done() > 0);
    drop(stdin);
    let output = job.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_counts(&folder.path().join("counts.tsv"), &counts);
    let terminated = Command::new("kill").args(["-TERM", &second.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    let ended = second.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", log());
    assert!(log().lines().last().unwrap().contains("compactions, "), "{}", log());
    assert_eq!(shared(&state, ""), Vec::<String>::new(), "something was left in the store:\n{}", log());
}

#[test]
fn a_compactor_with_nothing_to_do_ends_if_it_is_told_to_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    for ending in [&["--once"][..], &["--idle-exit", "20ms", "--poll", "1ms"][..]] {
        let output = succeed(alluvium(folder.path(), "compactor").args(["--state", "state"]).args(ending));
        assert!(text(&output.stderr).contains("0 compactions"), "{}", text(&output.stderr));
    }
    assert_eq!(fs::read_dir(folder.path().join("state")).unwrap().count(), 0);
}

#[test]
fn a_compactor_that_cannot_work_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let compactor = |arguments: &[&str], code| {
        fail(alluvium(folder.path(), "compactor").args(["--state"]).args(arguments), code)
    };
    assert!(compactor(&["nowhere"], 1).contains("nowhere"));
    assert!(compactor(&["memory:///"], 1).contains("ends with its process"));
    assert!(compactor(&[".", "--memory", "20MiB"], 2).contains("--memory 20MiB"));
    let mut job = wordcount(folder.path());
    let sentence = fail(job.args([".", "--state", "memory:///", "--compaction", "remote"]), 2);
    assert!(sentence.contains("--compaction remote") && sentence.contains("memory:///"), "{sentence}");
}
