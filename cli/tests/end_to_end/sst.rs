//! `alluvium sst` shows what tables hold and finds what is wrong with them, beside a running job and on S3.
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::process::{
    alluvium, assert_sentence, fail, kill_hard, pause, succeed, text, wait_until, wordcount,
};
use crate::s3_server::S3Server;
use crate::text::multilingual;

/// All tables below a folder, sorted.
pub(crate) fn tables_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let below = |path: PathBuf| {
        if path.is_dir() { tables_below(&path) } else { vec![path] }
    };
    let mut tables: Vec<PathBuf> = entries.flat_map(|entry| below(entry.unwrap().path())).collect();
    tables.retain(|path| path.extension().is_some_and(|extension| extension == "sst"));
    tables.sort();
    tables
}

/// Enough different words for tables besides the log.
fn write_text(folder: &Path) {
    fs::write(folder.join("text"), multilingual(5, 3 << 20, 30_000_000)).unwrap();
}

const JOB: [&str; 5] = ["text", "--memory", "48MiB", "--parallelism", "2"];

/// A state with tables, and the folder it is in.
fn state_with_tables() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    write_text(folder.path());
    succeed(wordcount(folder.path()).args(JOB));
    let tables = tables_below(&folder.path().join(".alluvium/wordcount/state"));
    assert!(!tables.is_empty());
    (folder, tables)
}

fn sst(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = alluvium(folder, "sst");
    command.args(arguments);
    command
}

/// The lines of JSON on stdout.
fn lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of_type<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == kind).collect()
}

fn sum(lines: &[&Value], field: &str) -> u64 {
    lines.iter().map(|line| line[field].as_u64().unwrap()).sum()
}

#[test]
fn a_dump_holds_every_entry_in_order_and_its_parts_add_up() {
    let (folder, tables) = state_with_tables();
    let table = tables[0].to_str().unwrap();
    let output = succeed(&mut sst(folder.path(), &["dump", table, "--entries", "--hex", "--json"]));
    let lines = lines(&output.stdout);
    let (head, blocks) = (of_type(&lines, "table")[0], of_type(&lines, "block"));
    let (groups, entries) = (of_type(&lines, "key_group"), of_type(&lines, "entry"));
    assert_eq!(head["size_bytes"], fs::metadata(table).unwrap().len());
    assert_eq!((head["entries"].as_u64().unwrap(), sum(&groups, "entries")), {
        let count = entries.len() as u64;
        (count, count)
    });
    assert_eq!(head["blocks"], blocks.len());
    assert_eq!(head["data_bytes"], sum(&blocks, "size_bytes"));
    assert!(entries.is_sorted_by(|a, b| a["key"].as_str() < b["key"].as_str()));
    // A count is 8 bytes, and each word is in its key group as the directory has it.
    for entry in &entries {
        assert_eq!(entry["value"].as_str().unwrap().len(), 16, "{entry}");
        assert!(groups.iter().any(|group| group["group"] == entry["key_group"]), "{entry}");
    }
    let shown = text(&succeed(&mut sst(folder.path(), &["dump", table, "--entries", "--limit", "3"])).stdout);
    assert!(shown.starts_with("table ") && shown.contains("key group"), "{shown}");
    assert_eq!(shown.lines().filter(|line| line.contains("  merge ")).count(), 3, "{shown}");
}

#[test]
fn every_byte_is_verified_while_the_job_runs_and_the_job_does_not_notice() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wordcount(folder.path());
    command
        .args(["-", "--memory", "48MiB", "--parallelism", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut job = Running(command.spawn().unwrap());
    let mut stdin = job.0.stdin.take().unwrap();
    stdin.write_all(multilingual(5, 3 << 20, 30_000_000).as_bytes()).unwrap();
    let state = folder.path().join(".alluvium/wordcount");
    wait_until("a table", || !tables_below(&state).is_empty());
    let output = succeed(&mut sst(folder.path(), &["verify", ".alluvium/wordcount", "--json"]));
    let lines = lines(&output.stdout);
    let summary = of_type(&lines, "summary")[0];
    assert_eq!((&summary["findings"], &summary["damaged_objects"]), (&0.into(), &0.into()), "{summary}");
    assert_eq!(summary["missing_objects"], 0, "{summary}");
    assert!(summary["tables"].as_u64().unwrap() > 0 && summary["bytes"].as_u64().unwrap() > 0, "{summary}");
    drop(stdin);
    assert!(job.0.wait().unwrap().success());
}

/// A job that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        kill_hard(&mut self.0);
    }
}

#[test]
fn a_flipped_bit_is_found_with_object_offset_expected_and_found() {
    let (folder, tables) = state_with_tables();
    let path = &tables[0];
    let name = path.file_name().unwrap().to_str().unwrap();
    let whole = fs::read(path).unwrap();
    for at in [whole.len() / 3, whole.len() - 30] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(path, &bytes).unwrap();
        let output = sst(folder.path(), &["verify", ".alluvium/wordcount", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert_sentence(&error);
        assert!(error.contains("1 are damaged"), "{error}");
        let lines = lines(&output.stdout);
        let finding = of_type(&lines, "finding")[0];
        assert!(finding["object"].as_str().unwrap().ends_with(name), "{finding}");
        assert!(finding["offset"].as_u64().unwrap() <= at as u64, "{finding}");
        assert_ne!(finding["expected"], finding["found"], "{finding}");
        let output = sst(folder.path(), &["verify", path.to_str().unwrap()]).output().unwrap();
        let shown = text(&output.stdout);
        assert!(shown.contains(name) && shown.contains("expected ") && shown.contains("found "), "{shown}");
    }
    // What a dump of it can still read is shown, and what it cannot is named.
    let mut bytes = whole.clone();
    bytes[whole.len() / 3] ^= 0x10;
    fs::write(path, &bytes).unwrap();
    let output = sst(folder.path(), &["dump", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert_sentence(&error);
    assert!(error.contains(name) && error.contains("offset"), "{error}");
    assert!(text(&output.stdout).starts_with("table "));
    fs::write(path, &whole).unwrap();
    succeed(&mut sst(folder.path(), &["verify", ".alluvium/wordcount"]));
}

#[test]
fn value_files_and_deltas_are_verified_as_tables_are() {
    let folder = tempfile::tempdir().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v2/store/state/00000001/0000");
    for entry in fs::read_dir(golden).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let sound = lines(&succeed(&mut sst(folder.path(), &["verify", ".", "--json"])).stdout);
    let summary = of_type(&sound, "summary")[0];
    for (field, count) in [("tables", 2), ("value_files", 2), ("deltas", 2)] {
        assert_eq!(summary[field], count, "{summary}");
    }
    assert!(summary["values"].as_u64() > Some(0) && summary["entries"].as_u64() > Some(0), "{summary}");
    for name in ["000000000006.val", "000000000009.delta"] {
        let path = folder.path().join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let output = sst(folder.path(), &["verify", ".", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let lines = lines(&output.stdout);
        let found = of_type(&lines, "finding");
        assert!(found.len() == 1 && found[0]["object"].as_str().unwrap().ends_with(name), "{found:?}");
        let error = fail_with_findings(&mut sst(folder.path(), &["verify", name]));
        assert!(error.contains("of 1 objects 1 are damaged"), "{error}");
        fs::write(&path, whole).unwrap();
    }
}

fn fail_with_findings(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stdout.is_empty());
    text(&output.stderr)
}

#[test]
fn what_is_no_table_or_not_there_is_named_and_nothing_is_created() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "not a table").unwrap();
    fs::write(folder.path().join("short.sst"), "x").unwrap();
    for (arguments, named) in [
        (["dump", "missing/1.sst"], "missing"),
        (["dump", "1.sst"], "1.sst"),
        (["dump", "."], "one table"),
        (["dump", "text"], "text"),
        (["verify", "missing"], "missing"),
        (["verify", "text"], "not a folder"),
        (["verify", "memory:///"], "memory:///"),
        (["verify", "ftp://host/state"], "ftp"),
        (["verify", "s3:/bucket"], "s3:/bucket"),
    ] {
        let error = fail(&mut sst(folder.path(), &arguments), 1);
        assert!(error.contains(named), "{arguments:?}: {error}");
    }
    let output = sst(folder.path(), &["verify", "."]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("short.sst: the footer at offset 0"), "{}", text(&output.stdout));
    fs::remove_file(folder.path().join("short.sst")).unwrap();
    let error = fail(&mut sst(folder.path(), &["verify", "."]), 1);
    assert!(error.contains("no table"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was created");
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_dump_without_a_complaint() {
    let (folder, tables) = state_with_tables();
    let mut command = sst(folder.path(), &["dump", tables[0].to_str().unwrap(), "--entries"]);
    let mut dump = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    drop(dump.0.stdout.take());
    while dump.0.try_wait().unwrap().is_none() {
        pause(std::time::Duration::from_millis(5));
    }
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut dump.0.stderr.take().unwrap(), &mut stderr).unwrap();
    assert_eq!((dump.0.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn tables_in_a_bucket_are_verified_and_dumped() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(buckets.path().join("bucket")).unwrap();
    write_text(folder.path());
    let server = S3Server::start(buckets.path());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alluvium"));
        server.configure(&mut command);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        succeed(&mut command)
    };
    let job: Vec<&str> =
        ["wordcount"].into_iter().chain(JOB).chain(["--state", "s3://bucket/words"]).collect();
    run(&job);
    let lines = lines(&run(&["sst", "verify", "s3://bucket/words", "--json"]).stdout);
    assert!(of_type(&lines, "summary")[0]["entries"].as_u64().unwrap() > 0, "{lines:?}");
    let table = tables_below(&buckets.path().join("bucket/words"))[0].clone();
    let name = table.strip_prefix(buckets.path()).unwrap().to_str().unwrap();
    let shown = text(&run(&["sst", "dump", &format!("s3://{name}")]).stdout);
    assert!(shown.contains(&format!("s3://{name}")), "{shown}");
}
