//! `kill -9` at random moments and at every step of the checkpoint protocol, each time continued at another parallelism:
//! the counts are exact, and nothing is left on the store.
//!
//! A test kills twenty times. `cli/tests/kills` has them kill two hundred times, by `ALLUVIUM_KILLS`.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use alluvium_env::Entropy;
use serde_json::Value;

use crate::moments::{Moment, pages};
use crate::process::{alluvium, kill_hard, succeed, summary, text, wordcount};
use crate::text::{Counts, assert_counts, count, multilingual};

/// A job that is killed again and again until it has had its kills, then runs to its end.
pub(crate) struct Crashes<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) seed: u64,
    /// Where the objects of the n-th job lie, and its URL.
    pub(crate) state: &'a dyn Fn(u32) -> (PathBuf, String),
    /// What a command must know of the store.
    pub(crate) configure: &'a dyn Fn(&mut Command),
}

/// How often a job is killed.
fn kills() -> u32 {
    std::env::var("ALLUVIUM_KILLS").map_or(20, |kills| kills.parse().expect("ALLUVIUM_KILLS is a number"))
}

impl Crashes<'_> {
    /// Runs the job that `command` describes. A job that ends before all kills are spent is checked and followed by
    /// another one.
    pub(crate) fn run(&self, expected: &Counts, command: impl Fn() -> Command) {
        let (random, kills) = (Entropy::from_seed(self.seed), kills());
        let (mut killed, mut by_page, mut job, mut restored) = (0, 0, 0, 0);
        loop {
            let (objects, url) = (self.state)(job);
            let start = |parallelism: u64| {
                let mut command = command();
                (self.configure)(&mut command);
                command.args(["--state", &url, "--checkpoint-interval", "100ms", "--restore", "latest"]);
                command.args(["--output", "counts.tsv", "--json", "--parallelism", &parallelism.to_string()]);
                command
            };
            let mut command = start(1 + random.next_u64() % 4);
            command.args(["--checkpoints-at-once", &(1 + random.next_u64() % 2).to_string()]);
            // Half of them by page, each of which goes on from the other; with so little memory that there are tables. A page is
            // one table here, whole or given up: with part of it gone it is met by forst/tests/paging.rs and the simulation only.
            let paged = random.next_u64() % 2 == 0;
            let (memory, tables) = if paged { ("42MiB", "1") } else { ("64MiB", "1024") };
            command.args(["--memory", memory, "--paged-tables", tables]);
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let moment = Moment::draw(&random, paged);
            if killed < kills && moment.wait(&objects, &mut child) {
                kill_hard(&mut child);
                killed += 1;
                by_page += u32::from(pages(&objects) > 0);
                continue;
            }
            let output = child.wait_with_output().unwrap();
            let seed = self.seed;
            assert!(output.status.success(), "seed {seed}, kill {killed}: {}", text(&output.stderr));
            assert_counts(&self.folder.join("counts.tsv"), expected);
            restored += u32::from(!summary(&output)["restore"]["checkpoint"].is_null());
            self.nothing_is_left(&url, start(1));
            if killed == kills {
                assert!(restored > 0, "no job was ever continued: the kills tested nothing");
                assert!(by_page * 8 > kills, "{by_page} of {kills} kills met a page");
                return;
            }
            job += 1;
        }
    }

    /// Whatever kills have left is gone after the sweep of one more start. (What that attempt leaves itself, because it was on its
    /// way for longer than a store waits at its end, the next start sweeps.)
    fn nothing_is_left(&self, url: &str, mut again: Command) {
        let left = self.garbage(url);
        if !left.is_empty() {
            succeed(&mut again);
            let still: Vec<_> = self.garbage(url).intersection(&left).cloned().collect();
            assert!(still.is_empty(), "seed {}: {still:?} survived a sweep", self.seed);
        }
    }

    /// The objects that nobody needs.
    fn garbage(&self, url: &str) -> BTreeSet<String> {
        let mut gc = alluvium(self.folder, "gc");
        (self.configure)(&mut gc);
        let output = succeed(gc.args(["--state", url, "--dry-run", "--json"]));
        let lines = text(&output.stdout);
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["name"].as_str().map(str::to_owned)).collect()
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
    let state = |job| {
        let objects = folder.path().join(format!("state-{job}"));
        let url = format!("file://{}", objects.display());
        (objects, url)
    };
    Crashes { folder: folder.path(), seed, state: &state, configure: &|_| {} }.run(&expected, || {
        let mut command = wordcount(folder.path());
        command.args(["text", "--count", how, "--repeat", &repeat.to_string()]);
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
