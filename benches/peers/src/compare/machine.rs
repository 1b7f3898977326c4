//! The machine that measures: what it is, and how much of it others take meanwhile.
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use alluvium_env::cores;
use serde::Serialize;

/// Versions of the peers stand there.
const LOCK: &str = include_str!("../../Cargo.lock");
const PEERS: [&str; 4] = ["cobble", "fjall", "rocksdb", "slatedb"];
/// What `run` links, if it says so.
const ROCKSDB_VERSION: &str = "ROCKSDB_VERSION";
/// The places of a process's own times, and those of its children that have ended, behind its name in `/proc/self/stat`.
const OWN_TIMES: std::ops::Range<usize> = 11..15;
/// The places of idle times in the first line of `/proc/stat`.
const IDLE: std::ops::Range<usize> = 3..5;
/// Times of guests are in those of users already.
const TIMES: usize = 8;

/// When, where and with what measurements are made.
#[derive(Serialize)]
pub(super) struct Begun {
    run: Run,
}

#[derive(Serialize)]
struct Run {
    date: String,
    commit: String,
    machine: String,
    versions: BTreeMap<&'static str, String>,
    command: String,
}

impl Begun {
    /// Of this moment.
    pub(super) fn now() -> Self {
        let words: Vec<String> = std::env::args().skip(2).collect();
        let run = Run {
            date: said("date", &["-u", "+%Y-%m-%d"]),
            commit: said("git", &["describe", "--always", "--dirty", "--abbrev=9"]),
            machine: machine(),
            versions: PEERS.into_iter().filter_map(|peer| Some((peer, version(peer)?))).collect(),
            command: format!("benches/peers/run {}", words.join(" ")),
        };
        Self { run }
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([':', '\t', ' ']).to_owned())
    };
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let kibibytes =
        field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let gibibytes = (kibibytes.unwrap_or(0) + (1 << 19)) >> 20;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} × {model}, {gibibytes} GiB, Linux {}", cores(), kernel.trim())
}

fn version(peer: &str) -> Option<String> {
    if peer == "rocksdb"
        && let Ok(version) = std::env::var(ROCKSDB_VERSION)
    {
        return Some(version);
    }
    let at = LOCK.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{peer}\"\n")))?;
    Some(at.split("version = \"").nth(1)?.split('"').next()?.to_owned())
}

/// Counters of all processors and of this program, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    all: u64,
    idle: u64,
    own: u64,
}

impl Ticks {
    /// At this moment; of children those that have ended.
    pub(super) fn now() -> Option<Self> {
        Self::of(&fs::read_to_string("/proc/stat").ok()?, &fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn of(all: &str, own: &str) -> Option<Self> {
        let numbers =
            |text: &str| text.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect::<Vec<u64>>();
        let times = numbers(all.lines().next()?.strip_prefix("cpu ")?);
        // The name may hold anything, so what comes behind it is counted.
        let behind = numbers(own.rsplit_once(')')?.1);
        let own = behind.get(OWN_TIMES)?.iter().sum();
        Some(Self { all: times.get(..TIMES)?.iter().sum(), idle: times.get(IDLE)?.iter().sum(), own })
    }

    /// Percent of the machine that neither idled nor worked for us since then.
    #[expect(clippy::cast_precision_loss, reason = "a percentage")]
    pub(super) fn others_percent_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let others = all.saturating_sub(self.idle - before.idle).saturating_sub(self.own - before.own);
        Some((others as f64 / all as f64 * 1000.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_neither_idled_nor_was_ours_is_what_others_took() {
        let before = Ticks::of(
            "cpu  100 0 50 1000 10 0 5 0 0 0\ncpu0 1\n",
            "7 (a ) name) S 1 1 1 0 -1 0 0 0 0 0 20 10 3 2 20 0 1",
        );
        let after = Ticks::of(
            "cpu  150 0 70 1100 20 0 5 20 0 0\n",
            "7 (a ) name) S 1 1 1 0 -1 0 0 0 0 0 60 20 5 10 20 0 1",
        );
        // 200 ticks: 110 idle, 60 ours, 30 of others.
        assert_eq!(after.unwrap().others_percent_since(before.unwrap()), Some(15.0));
        assert_eq!(before.unwrap().others_percent_since(before.unwrap()), None);
    }

    #[test]
    fn every_peer_has_a_version() {
        assert!(PEERS.iter().all(|peer| version(peer).is_some_and(|version| version.contains('.'))));
    }
}
