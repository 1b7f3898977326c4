//! `alluvium state` reads checkpoints as the job counted, beside a running job and on S3.
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::golden::{copy, golden};
use crate::process::{alluvium, fail, succeed, text, wait_until, wordcount};
use crate::s3_server::S3Server;
use crate::sst::tables_below;
use crate::text::{count, multilingual};

fn state(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = alluvium(folder, "state");
    command.args(arguments);
    command
}

/// The lines of JSON on stdout.
fn lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A word, which is in hexadecimal digits and as it is encoded if a terminal would not show it.
fn word(line: &Value) -> String {
    let Some(hex) = line["key"]["hex"].as_str() else { return line["key"].as_str().unwrap().to_owned() };
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    let encoded: Vec<u8> = bytes.collect();
    String::from_utf8(encoded[..encoded.len() - 2].to_vec()).unwrap()
}

/// Shows sums of `u64`, a line of JSON each.
const COUNTS: [&str; 4] = ["--value-type", "u64", "--sum", "--json"];

#[test]
fn a_checkpoint_holds_what_the_job_counted() {
    let folder = tempfile::tempdir().unwrap();
    let written = multilingual(6, 5 << 18, 30_000_000);
    fs::write(folder.path().join("text"), &written).unwrap();
    let expected = count(&written, 2);
    for (how, kind) in [("add", "reducing"), ("get-put", "value")] {
        let url = format!("file://{}/{how}", folder.path().display());
        let arguments = ["text", "--repeat", "2", "--memory", "48MiB", "--parallelism", "2", "--count", how];
        succeed(wordcount(folder.path()).args(arguments).args(["--state", &url]));
        assert!(!tables_below(&folder.path().join(how)).is_empty(), "all of it is in logs");
        holds_exactly(folder.path(), how, kind, &expected);
        let canonical = format!("{how}-canonical");
        let mut create = alluvium(folder.path(), "savepoint");
        succeed(create.args(["create", "--canonical", "--state", how, "--to", &canonical]));
        holds_exactly(folder.path(), &canonical, kind, &expected);
    }
}

/// Whatever is asked of a state says what was counted.
fn holds_exactly(folder: &Path, of: &str, kind: &str, expected: &BTreeMap<String, u64>) {
    let at = ["--checkpoint", of];
    let scanned = succeed(state(folder, &["scan", "counts"]).args(COUNTS).args(at));
    let scanned = lines(&scanned.stdout);
    let found: BTreeMap<String, u64> =
        scanned.iter().map(|line| (word(line), line["value"].as_u64().unwrap())).collect();
    assert!(found == *expected && scanned.len() == expected.len(), "{of}: {} words", scanned.len());
    assert!(scanned.is_sorted_by_key(|line| (line["key_group"].as_u64(), word(line))));

    let listed = |exact: &[&str]| {
        let output = succeed(state(folder, &["ls", "--json"]).args(at).args(exact));
        let lines = lines(&output.stdout);
        assert_eq!((&lines[0]["type"], &lines[0]["finished"]), (&"checkpoint".into(), &true.into()));
        assert_eq!((&lines[1]["name"], &lines[1]["kind"]), (&"counts".into(), &kind.into()));
        assert_eq!(lines[1]["key_groups"], 128);
        lines[1]["entries"].as_u64().unwrap()
    };
    let (exact, about) = (listed(&["--exact"]), listed(&[]));
    assert_eq!(exact, expected.len() as u64);
    assert!((exact..=4 * exact).contains(&about), "{about} is no estimate of {exact}");

    for (word, count) in expected.iter().step_by(expected.len() / 5) {
        let output = succeed(state(folder, &["get", "counts", word]).args(COUNTS).args(at));
        assert_eq!(lines(&output.stdout)[0]["value"], *count, "{word}");
    }
    let arguments = ["scan", "counts", "--prefix", "riv", "--value-type", "u64", "--sum"];
    let output = succeed(state(folder, &arguments).args(at));
    let mut found: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    found.sort();
    let words = expected.iter().filter(|(word, _)| word.starts_with("riv"));
    let mut words: Vec<_> = words.map(|(word, count)| format!("{word}\t{count}")).collect();
    words.sort();
    assert!(!words.is_empty() && found == words);
    let output = succeed(state(folder, &["scan", "counts", "--limit", "3"]).args(at));
    assert_eq!(text(&output.stdout).lines().count(), 3);
}

#[test]
fn a_running_job_is_read_beside_and_does_not_notice() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wordcount(folder.path());
    command
        .args(["-", "--checkpoint-interval", "20ms", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut job = command.spawn().unwrap();
    let mut stdin = job.stdin.take().unwrap();
    stdin.write_all(b"one two two ").unwrap();
    let seen = |arguments: &[&str]| state(folder.path(), arguments).output().unwrap();
    let counts = ["get", "counts", "two", "--value-type", "u64", "--sum"];
    wait_until("a checkpoint with both", || text(&seen(&counts).stdout) == "2\n");
    let output = succeed(&mut state(folder.path(), &["ls"]));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("wordcount --count add, incarnation 1") && shown.contains("counts  reducing"),
        "{shown}"
    );
    for _ in 0..20 {
        // Checkpoints come and go all the time: the latest is read, or the one after it.
        assert_eq!(text(&succeed(&mut state(folder.path(), &counts)).stdout), "2\n");
    }
    stdin.write_all(b"two").unwrap();
    drop(stdin);
    let output = job.wait_with_output().unwrap();
    assert!(output.status.success());
    let summary: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert_eq!((&summary["records"], &summary["distinct_keys"]), (&4.into(), &2.into()));
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    succeed(wordcount(folder.path()).args(["text", "--parallelism", "1"]));
    for (arguments, named) in [
        (&["ls", "--checkpoint", "missing"][..], "missing"),
        (&["ls", "--checkpoint", "empty"], "no checkpoint in empty"),
        (&["ls", "--checkpoint", "memory:///"], "memory:///"),
        (&["ls", "--checkpoint", "ftp://host/x"], "ftp"),
        (&["ls", "--id", "77"], "there are 1"),
        (&["scan", "words"], "there are counts"),
        (&["get", "words", "a"], "there are counts"),
        (&["get", "counts", "c"], "nothing of key \"c\" in state \"counts\""),
        (&["get", "counts", "x", "--key-type", "u64"], "no u64"),
    ] {
        let error = fail(&mut state(folder.path(), arguments), 1);
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
    for (arguments, named) in [
        (&["get", "counts", "a", "--sum"][..], "--value-type u64"),
        (&["scan", "counts", "--prefix", "1", "--key-type", "u64"], "--key-type hex"),
    ] {
        let error = fail(&mut state(folder.path(), arguments), 2);
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path().join("empty")).unwrap().count(), 0, "something was created");
    // The latest checkpoint of so few words is a log and no table.
    let damaged = fs::read_dir(folder.path().join(".alluvium/wordcount/state/00000001/0000")).unwrap();
    for path in damaged.map(|entry| entry.unwrap().path()) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let error = fail(&mut state(folder.path(), &["ls"]), 1);
    assert!(error.contains(".delta") && error.contains("checksum"), "{error}");
}

#[test]
fn operator_states_are_listed_with_their_sizes_and_their_elements_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden().join("v5").join("store"), &folder.path().join("store"));
    let at = ["--checkpoint", "store"];
    let output = succeed(state(folder.path(), &["ls", "--json"]).args(at));
    let listed = lines(&output.stdout).into_iter().filter(|line| line["type"] == "operator_state");
    let listed: Vec<_> = listed
        .map(|line| {
            let [elements, bytes, subtasks] =
                ["elements", "bytes", "subtasks"].map(|field| line[field].as_u64().unwrap());
            (line["name"].clone(), line["kind"].clone(), elements, bytes, subtasks)
        })
        .collect();
    let expected =
        [("offsets", "list", 3, 3, 2), ("workers", "union list", 2, 11, 2), ("rules", "broadcast", 2, 14, 1)];
    assert_eq!(listed, expected.map(|(name, kind, n, bytes, by)| (name.into(), kind.into(), n, bytes, by)));
    let output = succeed(state(folder.path(), &["ls"]).args(at));
    assert!(text(&output.stdout).contains("workers         union list"), "{}", text(&output.stdout));

    let scanned = |arguments: &[&str]| {
        let output = succeed(state(folder.path(), &["scan", "--operator"]).args(at).args(arguments));
        text(&output.stdout)
    };
    assert_eq!(
        (scanned(&["offsets"]).as_str(), scanned(&["rules"]).as_str()),
        ("a\nb\nc\n", "0x6575\tblock\n0x7573\tallow\n")
    );
    assert_eq!(scanned(&["workers", "--limit", "1", "--json"]), "{\"subtask\":0,\"value\":\"first\"}\n");
    // As it is shown, and as it is stored.
    for key in [&["0x6575"][..], &["6575", "--key-type", "hex"]] {
        let get = ["get", "rules", "--operator"];
        let output = succeed(state(folder.path(), &get).args(key).args(at));
        assert_eq!(text(&output.stdout), "block\n");
        let output = succeed(state(folder.path(), &get).args(key).args(at).arg("--json"));
        assert_eq!(text(&output.stdout), "{\"subtask\":0,\"key\":{\"hex\":\"6575\"},\"value\":\"block\"}\n");
    }
    for (arguments, named) in [
        (&["scan", "rules"][..], "it is an operator state: add --operator"),
        (&["get", "rules", "eu"], "it is an operator state: add --operator"),
        (&["scan", "nothing", "--operator"], "there are offsets, workers, rules"),
        (&["get", "nothing", "eu", "--operator"], "there are offsets, workers, rules"),
        (&["get", "rules", "0x00", "--operator"], "nothing of key \"0x00\" in operator state \"rules\""),
        (&["get", "workers", "0", "--operator"], "is a union list, whose elements have no keys"),
    ] {
        let error = fail(state(folder.path(), arguments).args(at), 1);
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
}

#[test]
fn a_checkpoint_in_a_bucket_is_read() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let server = S3Server::start(buckets.path());
    let mut job = wordcount(folder.path());
    server.configure(&mut job);
    succeed(job.args(["text", "--state", "s3://bucket/words"]));
    let mut get = state(folder.path(), &["get", "counts", "a", "--value-type", "u64"]);
    server.configure(&mut get);
    assert_eq!(text(&succeed(get.args(["--checkpoint", "s3://bucket/words"])).stdout), "2\n");
}
