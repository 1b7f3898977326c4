//! `--metrics` shows what a job did, in a file and on a port of this machine, and refuses what would show it to others.
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use crate::process::{alluvium, fail, succeed, summary, text, wait_until, wordcount};
use crate::text::multilingual;

/// A metric's value in an exposition.
fn value(exposition: &str, metric: &str) -> f64 {
    let line = exposition.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in\n{exposition}")).parse().unwrap()
}

/// The names that an exposition has.
fn names(exposition: &str) -> BTreeSet<String> {
    let types = exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect()
}

/// The names in the tables of the documentation.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    rows.map(|name| format!("alluvium_{name}")).collect()
}

#[test]
fn a_file_holds_what_the_job_did_when_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    // More than two memtables a subtask: however slowly they are flushed, one has been before the last record.
    fs::write(folder.path().join("text"), multilingual(8, 3 << 20, 30_000_000)).unwrap();
    let arguments = [".", "--memory", "48MiB", "--parallelism", "2", "--metrics", "now.prom", "--json"];
    let output = succeed(wordcount(folder.path()).args(arguments));
    let (summary, shown) = (summary(&output), fs::read_to_string(folder.path().join("now.prom")).unwrap());
    assert!(shown.ends_with("# EOF\n"), "{shown}");
    for (metric, counted) in [
        ("alluvium_job_records_total", &summary["records"]),
        ("alluvium_job_checkpoints_total", &summary["checkpoints"]["completed"]),
        ("alluvium_store_requests_total{kind=\"put\"}", &summary["store"]["puts"]),
        ("alluvium_store_moved_bytes_total{kind=\"written\"}", &summary["store"]["bytes_written"]),
        ("alluvium_forst_block_reads_total{tier=\"memory\"}", &summary["cache"]["memory_hits"]),
    ] {
        assert!(
            (value(&shown, metric) - counted.as_f64().unwrap()).abs() < 0.5,
            "{metric}: {counted}\n{shown}"
        );
    }
    assert!(value(&shown, "alluvium_forst_jobs_total{kind=\"flush\"}") > 0.0);
    assert_eq!(names(&shown), documented());
    assert!(value(&shown, "alluvium_store_request_duration_seconds_count{kind=\"put\"}") > 0.0);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "something was left behind: {left:?}");
}

#[test]
fn a_benchmark_shows_what_its_stores_did() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["get", "--keys", "20k", "--records", "2k", "--memory", "40MiB", "--metrics", "now.prom", "--json"];
    let figures = summary(&succeed(alluvium(folder.path(), "bench").args(arguments)));
    let shown = fs::read_to_string(folder.path().join("now.prom")).unwrap();
    assert!(shown.ends_with("# EOF\n"), "{shown}");
    let gets = value(&shown, "alluvium_store_requests_total{kind=\"get\"}");
    assert!(gets > 0.0 && gets >= figures["store"]["gets"].as_f64().unwrap(), "{figures}\n{shown}");
    assert!(value(&shown, "alluvium_forst_jobs_total{kind=\"flush\"}") > 0.0, "the load is not shown");
    assert!(names(&shown).is_subset(&documented()), "{shown}");
}

#[test]
fn stores_that_a_benchmark_restores_are_shown_with_those_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let job = ["checkpoint", "--keys", "100k", "--memory", "48MiB", "--change", "0.1", "--seconds", "1"];
    let more = ["--restore-at", "1", "--read-back", "--metrics", "now.prom", "--json"];
    succeed(alluvium(folder.path(), "bench").args([&job[..], &more[..]].concat()));
    let shown = fs::read_to_string(folder.path().join("now.prom")).unwrap();
    let tiers = ["memory", "disk", "store"];
    let blocks =
        tiers.map(|tier| value(&shown, &format!("alluvium_forst_block_reads_total{{tier=\"{tier}\"}}")));
    // The first run reads what it changes, a hundred keys; the second one every key.
    assert!(blocks.iter().sum::<f64>() > 10_000.0, "{shown}");
    assert!(names(&shown).is_subset(&documented()), "{shown}");
}

/// Asks a port for something and returns status line and body.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn a_port_answers_while_the_job_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wordcount(folder.path());
    command.args(["-", "--metrics", "127.0.0.1:0", "--state", "memory:///"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut job = command.spawn().unwrap();
    let mut stdin = job.stdin.take().unwrap();
    stdin.write_all(b"one two two ").unwrap();
    let mut line = String::new();
    BufReader::new(job.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split_once("http://").unwrap().1.split_once('/').unwrap().0.to_owned();
    wait_until("two records to be counted", || {
        let (status, body) = ask(&address, "GET /metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        value(&body, "alluvium_job_records_total") >= 2.0
    });
    assert!(ask(&address, "GET /").0.contains("404"));
    assert!(ask(&address, "DELETE /metrics").0.contains("405"));
    // A client that says nothing keeps nobody from ending.
    let _silent = TcpStream::connect(&address).unwrap();
    drop(stdin);
    assert!(job.wait().unwrap().success());
}

#[test]
fn metrics_that_cannot_be_shown_or_would_be_shown_to_others_are_refused_before_the_job_starts() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text"), "a b a").unwrap();
    let error = fail(wordcount(folder.path()).args(["text", "--metrics", "missing/now.prom"]), 1);
    assert!(error.contains("--metrics missing/now.prom"), "{error}");
    let output = wordcount(folder.path()).args(["text", "--metrics", "0.0.0.0:9100"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("127.0.0.1:PORT"), "{}", text(&output.stderr));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = fail(wordcount(folder.path()).args(["text", "--metrics", &address]), 1);
    assert!(error.contains(&address) && error.contains("another port"), "{error}");
}
