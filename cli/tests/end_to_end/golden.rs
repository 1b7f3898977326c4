//! Jobs that older builds stopped in the middle end in this one with exact counts (`tests/golden/README.md`).
//!
//! `ALLUVIUM_GOLDEN=v4 cargo test -p alluvium-cli --test end_to_end golden` has this build stop one for a new generation.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::{succeed, summary, text, wait_until, wordcount};
use crate::stop::signal;
use crate::text::{assert_counts, count};

/// Generations with a job in them.
const GENERATIONS: [&str; 1] = ["v3"];
/// So that a job takes long enough to be stopped.
const REPEAT: u64 = 20_000;

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

fn folder_with_words() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(golden().join("words.txt"), folder.path().join("words.txt")).unwrap();
    folder
}

#[test]
fn a_golden_job_of_this_build_is_stopped() {
    let Some(generation) = std::env::var_os("ALLUVIUM_GOLDEN") else { return };
    let folder = folder_with_words();
    let mut command = wordcount(folder.path());
    command.args(["words.txt", "--repeat", &REPEAT.to_string(), "--parallelism", "2"]);
    command.args(["--checkpoint-interval", "100ms"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let state = folder.path().join(".alluvium/wordcount");
    let ledger = state.join("ledger");
    wait_until("a checkpoint", || fs::read_dir(&ledger).is_ok_and(|entries| entries.count() > 1));
    signal(&child, "-INT");
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stderr).contains("continue with"), "it had ended: {}", text(&output.stderr));
    copy(&state, &golden().join(generation).join("job"));
}

#[test]
fn a_job_that_an_older_build_stopped_ends_with_exact_counts_at_another_parallelism() {
    let expected = count(&fs::read_to_string(golden().join("words.txt")).unwrap(), REPEAT);
    for generation in GENERATIONS {
        let folder = folder_with_words();
        copy(&golden().join(generation).join("job"), &folder.path().join(".alluvium/wordcount"));
        let mut command = wordcount(folder.path());
        command.args(["words.txt", "--repeat", &REPEAT.to_string(), "--parallelism", "3"]);
        command.args(["--restore", "latest", "--output", "counts.tsv", "--json"]);
        let output = succeed(&mut command);
        assert!(summary(&output)["restore"]["checkpoint"].is_u64(), "{generation}");
        assert_counts(&folder.path().join("counts.tsv"), &expected);
    }
}
