//! Compares gungraun's summaries with the instruction counts that are kept: `compare counts.txt [--keep] <summaries`.
//!
//! A path that takes more than [`TOLERANCE_PERCENT`] more instructions than it did ends the comparison with exit code 1.
//! One that takes that much less is named, so that it will be kept. `--keep` writes what was counted.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::process::ExitCode;

use serde_json::Value;

/// What another processor may add or spare: callgrind shows the instructions of the machine it runs on, and checksums,
/// hashes and copies choose theirs by that. So does the compiler, who cuts a crate that has grown in other places and then
/// inlines otherwise: `records_encode` took a tenth more when codecs beside it were added. Between two machines of one kind
/// the counts of one build differ by less than one in a thousand.
const TOLERANCE_PERCENT: u64 = 15;

const HEAD: &str = "\
# Instructions of the hot paths, as callgrind counts them on x86_64; benches/micro/run counts --keep writes this file.
";

/// What a summary says: the path's name and its instructions.
fn count(summary: &Value) -> Option<(String, u64)> {
    let name = summary.get("function_name")?.as_str()?.to_owned();
    let count = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new")?;
    Some((name, count.as_u64()?))
}

/// Lines of a name and a number.
fn kept(text: &str) -> Result<BTreeMap<&str, u64>, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|line| {
            let number =
                line.split_once(' ').and_then(|(name, count)| Some((name, count.trim().parse().ok()?)));
            number.ok_or_else(|| format!("not a name and a number: {line}"))
        })
        .collect()
}

fn compare(counted: &BTreeMap<String, u64>, kept: &BTreeMap<&str, u64>) -> bool {
    let mut good = true;
    for (name, now) in counted {
        let Some(before) = kept.get(name.as_str()) else {
            println!("{name:<24}{now:>12}   NEW: keep it");
            good = false;
            continue;
        };
        let change = (*now as f64 / *before as f64 - 1.0) * 100.0;
        let verdict = match change {
            more if more > TOLERANCE_PERCENT as f64 => {
                good = false;
                "   MORE than the tolerance"
            }
            less if less < -(TOLERANCE_PERCENT as f64) => "   less: keep it, so that it stays",
            _ => "",
        };
        println!("{name:<24}{now:>12}{change:>+9.2} %{verdict}");
    }
    for name in kept.keys().filter(|name| !counted.contains_key(**name)) {
        println!("{name:<24} is kept, but was not counted");
        good = false;
    }
    good
}

fn run() -> Result<bool, String> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file?")?;
    let mut counted = BTreeMap::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let Ok(summary) = serde_json::from_str::<Value>(&line) else { continue };
        let (name, count) = count(&summary).ok_or_else(|| format!("a summary without a count: {line}"))?;
        counted.insert(name, count);
    }
    if counted.is_empty() {
        return Err("nothing was counted".to_owned());
    }
    if arguments.any(|argument| argument == "--keep") {
        let mut text = HEAD.to_owned();
        for (name, count) in &counted {
            writeln!(text, "{name} {count}").map_err(|e| e.to_string())?;
        }
        std::fs::write(&file, text).map_err(|e| format!("{file}: {e}"))?;
    }
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    Ok(compare(&counted, &kept(&text)?))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!(
                "a hot path takes more than {TOLERANCE_PERCENT} % more instructions than counts.txt says, or has no line there"
            );
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("compare: {problem}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_instructions_than_the_tolerance_fail_and_fewer_do_not() {
        let kept = kept("# head\npath 1000\n").unwrap();
        for (now, good) in [(1000, true), (1149, true), (1151, false), (500, true)] {
            assert_eq!(compare(&BTreeMap::from([("path".to_owned(), now)]), &kept), good, "{now}");
        }
        assert!(!compare(&BTreeMap::new(), &kept), "a path that is no longer counted");
        let more = BTreeMap::from([("path".to_owned(), 1000), ("other".to_owned(), 1)]);
        assert!(!compare(&more, &kept), "a path that nobody kept");
    }
}
