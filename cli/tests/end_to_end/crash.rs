//! `kill -9` at random moments, each time continued at another parallelism: the counts are exact.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use alluvium_env::Entropy;

use crate::process::{kill_hard, pause, text, wordcount};
use crate::text::{Counts, assert_counts, count, multilingual};

/// A job that is killed again and again until it has had its kills, then runs to its end.
pub(crate) struct Crashes<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) seed: u64,
    pub(crate) kills: u32,
}

impl Crashes<'_> {
    /// Runs the job `command` describes; `state` names the URL of the n-th job. A job that ends before all kills are
    /// spent is checked and followed by another one.
    pub(crate) fn run(&self, expected: &Counts, mut command: impl FnMut(u32) -> Command) {
        let random = Entropy::from_seed(self.seed);
        let (mut kills, mut job, mut restored) = (0, 0, 0);
        loop {
            let mut command = command(job);
            let parallelism = 1 + random.next_u64() % 4;
            command.args([
                "--checkpoint-interval",
                "200ms",
                "--restore",
                "latest",
                "--output",
                "counts.tsv",
                "--json",
            ]);
            command.args(["--parallelism", &parallelism.to_string()]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            if kills < self.kills {
                pause(Duration::from_millis(20 + random.next_u64() % 900));
                let ended = child.try_wait().unwrap().is_some();
                if !ended {
                    kill_hard(&mut child);
                    kills += 1;
                    continue;
                }
            }
            let output = child.wait_with_output().unwrap();
            let seed = self.seed;
            assert!(output.status.success(), "seed {seed}, kill {kills}: {}", text(&output.stderr));
            assert_counts(&self.folder.join("counts.tsv"), expected);
            restored += u32::from(!crate::process::summary(&output)["restore"]["checkpoint"].is_null());
            if kills == self.kills {
                assert!(restored > 0, "no job was ever continued: the kills tested nothing");
                return;
            }
            job += 1;
        }
    }
}

/// The text every job of a crash test counts, and how often.
pub(crate) fn input(folder: &Path, repeat: u64) -> Counts {
    let written = multilingual(3, 2 << 20, 40_000);
    fs::write(folder.join("text"), &written).unwrap();
    count(&written, repeat)
}

fn survives_twenty_kills(how: &str, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let repeat = 8;
    let expected = input(folder.path(), repeat);
    Crashes { folder: folder.path(), seed, kills: 20 }.run(&expected, |job| {
        let mut command = wordcount(folder.path());
        let state = format!("file://{}/state-{job}", folder.path().display());
        command.args(["text", "--memory", "64MiB", "--count", how, "--state", &state]);
        command.args(["--repeat", &repeat.to_string()]);
        command
    });
}

#[test]
fn adds_survive_twenty_kills_at_changing_parallelism() {
    survives_twenty_kills("add", 41);
}

#[test]
fn reads_and_writes_survive_twenty_kills_at_changing_parallelism() {
    survives_twenty_kills("get-put", 42);
}
