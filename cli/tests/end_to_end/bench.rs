//! `alluvium bench` measures what it says it does, compares what comes back, and refuses what contradicts itself.
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{alluvium, fail, succeed, summary, text};
use crate::s3_server::S3Server;

/// Runs a benchmark in a folder of its own and returns its figures.
fn figures(folder: &Path, arguments: &[&str]) -> Value {
    let output = succeed(alluvium(folder, "bench").args(arguments).arg("--json"));
    assert!(output.stderr.is_empty(), "not a terminal, yet: {}", text(&output.stderr));
    summary(&output)
}

fn number(figures: &Value, path: &str) -> f64 {
    figures.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {figures}"))
}

#[test]
fn every_case_runs_in_every_mode_on_both_backends_and_gets_right_answers() {
    let folder = tempfile::tempdir().unwrap();
    for (case, modes) in [
        ("load", &["sync", "async"][..]),
        ("get", &["sync", "async"]),
        ("rmw", &["sync", "async"]),
        ("add", &["sync", "async"]),
        ("append", &["sync"]),
        ("map-scan", &["sync"]),
        ("mixed", &["sync"]),
        ("scan", &["sync"]),
    ] {
        for (mode, backend) in modes.iter().flat_map(|mode| [(*mode, "forst"), (*mode, "heap")]) {
            let mut arguments = vec![case, "--keys", "20k", "--mode", mode, "--backend", backend];
            if !["load", "scan"].contains(&case) {
                arguments.extend(["--records", "2k", "--warm-up", "100"]);
            }
            if ["map-scan", "mixed"].contains(&case) {
                arguments.extend(["--scan-length", "300"]);
            }
            // Small enough that some of it is on the store.
            arguments.extend(["--memory", "40MiB", "--parallelism", "2"]);
            let figures = figures(folder.path(), &arguments);
            let operations = if ["load", "scan"].contains(&case) { 20_000.0 } else { 2000.0 };
            assert!((number(&figures, "/operations") - operations).abs() < 0.5, "{figures}");
            assert!(number(&figures, "/operations_per_second") > 0.0, "{figures}");
            assert!(number(&figures, "/cpu/micros_per_operation") > 0.0, "{figures}");
            if !["load", "scan"].contains(&case) {
                assert!(number(&figures, "/verified") >= 1000.0, "{figures}");
            }
        }
    }
}

#[test]
fn operations_overlap_in_every_way_there_is_and_no_change_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    // So few keys, drawn so unevenly, that operations on one key meet all the time.
    let common =
        ["--keys", "30k", "--records", "30k", "--zipf", "1.1", "--memory", "36MiB", "--order", "random"];
    for how in [
        &["--mode", "sync"][..],
        &["--mode", "sync", "--in-flight", "64"],
        &["--mode", "sync", "--batch", "64"],
        &["--mode", "async", "--in-flight", "128"],
    ] {
        for case in ["rmw", "add"] {
            let figures = figures(folder.path(), &[&[case], &common[..], how].concat());
            assert!(number(&figures, "/verified") >= 1000.0, "{figures}");
        }
    }
}

#[test]
fn absent_keys_need_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let common =
        ["--keys", "100k", "--records", "2k", "--memory", "40MiB", "--mode", "sync", "--latency", "1ms"];
    let absent = figures(folder.path(), &[&["get", "--absent", "100"], &common[..]].concat());
    let gets = number(&absent, "/store/gets_per_operation");
    assert!(gets <= 0.01, "{gets} requests for a key that is not there");
    let present = figures(folder.path(), &[&["get"], &common[..]].concat());
    assert!(number(&present, "/store/gets") > 100.0, "memory held everything: {present}");
}

#[test]
fn an_injected_latency_is_what_a_cold_read_takes() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["get", "--keys", "400k", "--memory", "40MiB", "--mode", "sync", "--latency", "20ms"];
    let one = figures(folder.path(), &[&common[..], &["--records", "50"]].concat());
    let p50 = number(&one, "/latency/p50_micros");
    assert!((20_000.0..40_000.0).contains(&p50), "{p50} µs for one round trip");
    let batch = figures(folder.path(), &[&common[..], &["--records", "640", "--batch", "64"]].concat());
    assert_eq!(batch["latency"]["of"], "batch");
    let p50 = number(&batch, "/latency/p50_micros");
    assert!((20_000.0..80_000.0).contains(&p50), "{p50} µs for 64 keys at once");
}

#[test]
fn a_slow_tail_is_asked_twice_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["get", "--keys", "400k", "--memory", "40MiB", "--mode", "sync", "--latency", "10ms"];
    let tail = ["--slow-tail", "3%:400ms", "--records", "400"];
    let slow = figures(folder.path(), &[&common[..], &tail].concat());
    let p99 = number(&slow, "/latency/p99_micros");
    assert!(p99 >= 400_000.0, "{p99} µs with three slow reads in a hundred");
    // Forty milliseconds between what is usual and what is asked twice: a busy machine must not spend the requests that are kept for slow answers.
    let hedged = figures(folder.path(), &[&common[..], &tail, &["--hedge", "5"]].concat());
    let (p99, twice) = (number(&hedged, "/latency/p99_micros"), number(&hedged, "/store/gets_per_operation"));
    assert!(p99 < 300_000.0, "{p99} µs though slow reads are asked twice");
    assert!(twice < number(&slow, "/store/gets_per_operation") * 1.06, "{twice} requests an operation");
}

#[test]
fn a_job_takes_checkpoints_and_every_update_is_there_once_at_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let job = ["checkpoint", "--keys", "20k", "--change", "50", "--interval", "200ms", "--seconds", "2"];
    let store = ["--memory", "80MiB", "--parallelism", "2", "--latency", "2ms", "--restore-at", "3,1"];
    let common = [&job[..], &store[..]].concat();
    // The job compares what it reads back with what was sent; a difference ends it.
    let more = ["--read-back", "--states", "3", "--cache-dir", "cache", "--cache-size", "64MiB"];
    let figures = figures(folder.path(), &[&common[..], &more].concat());
    assert!(number(&figures, "/checkpoints/completed") >= 1.0, "{figures}");
    assert!((number(&figures, "/states") - 3.0).abs() < 0.5, "{figures}");
    // Nothing of a run's disk cache is there for the next.
    for restart in ["restore-0", "restore-1"] {
        assert!(folder.path().join("cache").join(restart).is_dir(), "{restart}");
    }
    assert!(number(&figures, "/checkpoints/uploaded_bytes") > 0.0, "{figures}");
    for (index, parallelism) in [3.0, 1.0].into_iter().enumerate() {
        let restored = |name: &str| number(&figures, &format!("/restores/{index}/{name}"));
        assert!((restored("parallelism") - parallelism).abs() < 0.5, "{figures}");
        assert!(restored("millis_to_all_read_back") >= restored("millis_to_first_record"), "{figures}");
        assert!(restored("gets") >= 1.0, "{figures}");
    }
    let updates = self::figures(folder.path(), &common);
    assert!(number(&updates, "/restores/1/millis_to_old_rate") > 0.0, "{updates}");
    for left in ["ledger", "state/00000001/0000"] {
        let left = fs::read_dir(folder.path().join(".alluvium/bench/bench").join(left));
        assert!(left.is_err() || left.unwrap().count() == 0, "files stay behind");
    }
}

#[test]
fn writes_are_counted_to_the_last_byte_and_nothing_stays_behind() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["rmw", "--keys", "20k", "--records", "40k", "--memory", "40MiB", "--value-bytes", "200"];
    let figures = figures(folder.path(), &arguments);
    assert!((number(&figures, "/user_bytes_written") - 40_000.0 * 216.0).abs() < 0.5, "{figures}");
    let (during, left) = (number(&figures, "/store/bytes_written"), number(&figures, "/debt/bytes_written"));
    let amplification = (during + left) / (40_000.0 * 216.0);
    assert!((number(&figures, "/amplification/write") - amplification).abs() < 1e-5, "{figures}");
    assert!(number(&figures, "/amplification/space") > 0.3, "{figures}");
    let per_second = figures["per_second"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap());
    assert_eq!(per_second.sum::<u64>(), 40_000);
    let left = fs::read_dir(folder.path().join(".alluvium/bench/bench/state/00000001/0000"));
    assert!(left.is_err() || left.unwrap().count() == 0, "files stay behind");
}

#[test]
fn a_benchmark_on_a_bucket_leaves_what_was_there_and_nothing_else() {
    let (folder, buckets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let others = buckets.path().join("bucket/here/state/00000001/0000");
    fs::create_dir_all(&others).unwrap();
    fs::write(others.join("1.sst"), "a job's").unwrap();
    // Of a benchmark that was killed.
    let orphans = buckets.path().join("bucket/here/bench/state/00000001/0000");
    fs::create_dir_all(&orphans).unwrap();
    fs::write(orphans.join("99.sst"), "an orphan").unwrap();
    let server = S3Server::start(buckets.path());
    let mut command = alluvium(folder.path(), "bench");
    server.configure(&mut command);
    // More than memory holds.
    let arguments =
        ["get", "--keys", "40k", "--records", "2k", "--memory", "40MiB", "--state", "s3://bucket/here"];
    let figures = summary(&succeed(command.args(arguments).arg("--json")));
    assert!(number(&figures, "/store/gets") > 0.0, "{figures}");
    assert_eq!(fs::read_dir(&others).unwrap().count(), 1, "another's state is touched");
    let left = fs::read_dir(&orphans).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files stay behind");
}

#[test]
fn what_compresses_takes_less_with_every_compression() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["load", "--keys", "30k", "--memory", "40MiB", "--value-bytes", "400"];
    let stored = ["none", "lz4", "zstd"].map(|name| {
        let figures = figures(folder.path(), &[&common[..], &["--compression", name]].concat());
        let shown = figures["compression"].as_str().unwrap();
        assert!(shown.starts_with(name), "{figures}");
        number(&figures, "/amplification/space")
    });
    assert!(stored[0] > 0.99 && stored[1] < 0.75 * stored[0] && stored[2] < stored[1], "{stored:?}");
}

#[test]
fn a_time_limit_ends_the_measurement() {
    let folder = tempfile::tempdir().unwrap();
    for mode in ["sync", "async"] {
        let figures = figures(folder.path(), &["get", "--keys", "1k", "--seconds", "1", "--mode", mode]);
        let seconds = number(&figures, "/seconds");
        assert!((1.0..1.5).contains(&seconds), "{seconds}");
    }
}

#[test]
fn the_table_has_a_line_for_every_figure() {
    let folder = tempfile::tempdir().unwrap();
    let table = text(
        &succeed(alluvium(folder.path(), "bench").args(["rmw", "--keys", "2k", "--records", "2k"])).stdout,
    );
    for line in
        ["keys", "load", "rate", "latency", "CPU", "reads", "writes", "debt", "amplification", "peak memory"]
    {
        assert!(table.lines().any(|row| row.trim_start().starts_with(line)), "{line} is missing in\n{table}");
    }
}

#[test]
fn a_page_is_made_of_kept_figures_with_ratios_medians_and_plots() {
    let folder = tempfile::tempdir().unwrap();
    let measured = figures(folder.path(), &["get", "--keys", "2k", "--records", "2k", "--mode", "sync"]);
    let peer = |rate: f64| serde_json::json!({ "compare": "get", "row": "rocksdb", "figures": { "operations_per_second": rate } });
    let far = |row: &str, micros: u32| {
        let figures =
            serde_json::json!({ "latency_micros": micros, "operations_per_second": 1e6 / f64::from(micros) });
        serde_json::json!({ "compare": "by-distance", "row": row, "point": format!("{} ms", f64::from(micros) / 1e3), "figures": figures })
    };
    let own = number(&measured, "/operations_per_second");
    let lines = [
        serde_json::json!({ "run": { "date": "today", "commit": "c0ffee", "machine": "a small one", "command": "benches/peers/run" } }),
        serde_json::json!({ "compare": "get", "row": "alluvium calls", "figures": measured }),
        peer(own),
        peer(own * 2.0),
        peer(own * 4.0),
        far("alluvium records", 100),
        far("alluvium records", 1500),
    ];
    let kept = lines.map(|line| line.to_string()).join("\n");
    fs::write(folder.path().join("kept.jsonl"), kept).unwrap();
    succeed(alluvium(folder.path(), "bench").args(["report", "kept.jsonl", "--to", "page"]));
    let page = fs::read_to_string(folder.path().join("page/README.md")).unwrap();
    for part in [
        "c0ffee",
        "has written it from `kept.jsonl`.",
        "`get`: Single reads\n\n2000 keys of 16 + 100 bytes, 512 MiB of memory.\n\n|",
        "0.50 (behind)",
        "|\n\nA peer is ahead in `get` (rocksdb)",
        "3 rounds",
        "![Cold reads, by the distance of the store]",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    let plot = fs::read_to_string(folder.path().join("page/throughput-by-distance.svg")).unwrap();
    assert!(plot.contains("alluvium records") && plot.matches("<circle").count() >= 2, "{plot}");
    fs::write(folder.path().join("kept.jsonl"), "{\"compare\":1}").unwrap();
    let error = fail(alluvium(folder.path(), "bench").args(["report", "kept.jsonl"]), 1);
    assert!(error.contains("line 1 of kept.jsonl is no measurement"), "{error}");
}

#[test]
fn contradicting_options_are_wrong_usage_and_both_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, named) in [
        (&["get", "--records", "5", "--seconds", "5"][..], ["--seconds 5", "--records 5"]),
        (&["load", "--records", "5"], ["--records 5", "load"]),
        (&["scan", "--zipf", "1"], ["--zipf 1", "scan"]),
        (&["rmw", "--absent", "5"], ["--absent 5", "rmw"]),
        (&["add", "--value-bytes", "50"], ["--value-bytes 50", "add"]),
        (&["rmw", "--value-bytes", "4"], ["--value-bytes 4", "rmw"]),
        (&["get", "--scan-length", "4"], ["--scan-length 4", "get"]),
        (&["map-scan", "--keys", "50"], ["--keys 50", "--scan-length 100"]),
        (&["append", "--mode", "async"], ["--mode async", "append"]),
        (&["checkpoint", "--mode", "sync"], ["--mode sync", "checkpoint"]),
        (&["checkpoint", "--records", "5"], ["--records 5", "checkpoint"]),
        (&["checkpoint", "--zipf", "1"], ["--zipf 1", "checkpoint"]),
        (&["get", "--restore-at", "3,2"], ["--restore-at 3", "get"]),
        (&["checkpoint", "--memory", "60MiB", "--restore-at", "64"], ["--memory 60MiB", "--parallelism 64"]),
        (&["get", "--mode", "sync", "--batch", "4", "--in-flight", "8"], ["--batch 4", "--in-flight 8"]),
        (&["get", "--backend", "heap", "--latency", "1ms"], ["--latency 1ms", "--backend heap"]),
        (&["get", "--backend", "heap", "--hedge", "2"], ["--hedge 2", "--backend heap"]),
        (&["get", "--latency", "20ms", "--slow-tail", "1%:15ms"], ["--slow-tail", "--latency 20ms"]),
        (&["get", "--backend", "heap", "--state", "memory:///"], ["--state memory:///", "--backend heap"]),
        (&["get", "--keys", "1", "--parallelism", "2"], ["--keys 1", "--parallelism 2"]),
        (&["get", "--memory", "30MiB", "--parallelism", "8"], ["--memory 30MiB", "--parallelism 8"]),
        (&["get", "--memory", "36MiB", "--in-flight", "100000"], ["--memory 36MiB", "--in-flight 100000"]),
        (&["get", "--cache-dir", ".alluvium/bench/cache"], ["--cache-dir", "--state"]),
        (
            &["get", "--backend", "heap", "--cold-compression", "zstd"],
            ["--cold-compression zstd", "--backend heap"],
        ),
        (&["get", "--backend", "heap", "--metrics", "now.prom"], ["--metrics now.prom", "--backend heap"]),
        (
            &["get", "--remote-compaction-min-size", "1MiB"],
            ["--remote-compaction-min-size 1MiB", "--compaction home"],
        ),
    ] {
        let error = fail(alluvium(folder.path(), "bench").args(arguments), 2);
        assert!(named.iter().all(|name| error.contains(name)), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was created");
}
