//! The house rules no compiler checks: headers, sizes, who may name whom, and documents that match the code.
//!
//! Each rule is a function from text to the places that break it; the tests below the rules show that each can fail.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 600;

/// The house from the bottom up: a crate may name only crates of lower floors.
const FLOORS: [(&str, u32); 9] = [
    ("env", 0),
    ("state-api", 1),
    ("async-exec", 2),
    ("forst", 2),
    ("checkpoint", 2),
    ("sim", 3),
    ("host", 3),
    ("cli", 4),
    ("fuzz", 5),
];

/// Crates that must not know what a store is.
const WITHOUT_STORE: [&str; 3] = ["env", "state-api", "async-exec"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files of the project with one of these extensions, as (path below the root, text).
fn sources(extensions: &[&str]) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if extensions.iter().any(|extension| name.ends_with(extension)) {
                let text = read(&path);
                found.push((path.to_string_lossy().into_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "no {extensions:?} below {}", root().display());
    found
}

/// Applies a rule to every file and lists all that break it.
fn check(extensions: &[&str], rule: impl Fn(&str, &str) -> Option<String>) {
    let broken: Vec<String> = sources(extensions)
        .iter()
        .filter_map(|(path, text)| rule(path, text).map(|what| format!("{path}: {what}")))
        .collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn header(text: &str) -> Option<String> {
    let first = text.lines().next().unwrap_or_default();
    let teaches = first.strip_prefix("//! ").is_some_and(|sentence| !sentence.is_empty());
    (!teaches).then(|| "the first line is not a //! header".to_owned())
}

fn size(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES).then(|| format!("{lines} lines, more than {MAX_LINES}"))
}

/// A statement that computes whether something matches and throws the answer away.
fn discarded_match(text: &str) -> Option<String> {
    let opening = "matches!(";
    let starts = text.match_indices(opening).filter(|(at, _)| {
        let line = text.get(..*at).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        line.trim().is_empty()
    });
    for (at, _) in starts {
        let mut open = 0_usize;
        let rest = text.get(at + opening.len() - 1..).unwrap_or_default();
        let end = rest.char_indices().find(|(_, c)| {
            open = match c {
                '(' => open + 1,
                ')' => open - 1,
                _ => open,
            };
            open == 0
        });
        let after = end.and_then(|(end, _)| rest.get(end + 1..)).unwrap_or_default();
        if after.starts_with(';') {
            let line = text.get(..at).unwrap_or_default().lines().count() + 1;
            return Some(format!("line {line} discards a matches!"));
        }
    }
    None
}

/// Work that was put off in the text instead of in the tracker, and tests that do not run.
fn put_off(text: &str) -> Option<String> {
    // Put together here, so that this file does not break its own rule.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[ig", "nore"),
        concat!("unimpl", "emented!"),
    ];
    marks.iter().find(|mark| text.contains(**mark)).map(|mark| format!("contains {mark}"))
}

/// Decisions that a text cites: `D` and a number, not within a word.
fn decisions(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-' && c != '/');
    let is_decision = |word: &&str| {
        word.strip_prefix('D').is_some_and(|number| number.parse::<u8>().is_ok_and(|n| n < 100))
    };
    words.filter(is_decision).collect()
}

/// A module for fuzzers or micro-benches that is there without them.
fn tooling_for_all(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let open = (0..lines.len()).find(|&at| {
        let before = at.checked_sub(1).and_then(|at| lines.get(at));
        ["fuzzing", "benching"].iter().any(|tool| {
            lines.get(at) == Some(&format!("pub mod {tool};").as_str())
                && before != Some(&format!("#[cfg({tool})]").as_str())
        })
    });
    open.map(|at| format!("line {} is not for its tool alone", at + 1))
}

/// The crates of the house that a manifest names, in any of its dependency tables.
fn named_crates(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().filter_map(|line| line.trim().strip_prefix("alluvium-"));
    let names = lines.map(|rest| rest.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
    names.collect()
}

fn climbs(name: &str, manifest: &str, floors: &BTreeMap<&str, u32>) -> Vec<String> {
    let Some(own) = floors.get(name) else { return vec![format!("{name} has no floor in the house")] };
    let named = named_crates(manifest);
    let wrong = named.iter().filter(|other| floors.get(other.as_str()).is_none_or(|floor| floor >= own));
    wrong.map(|other| format!("{name} names {other}")).collect()
}

/// The fenced blocks of a document in one language.
fn blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let mut parts = document.split("```");
    let mut found = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        if let Some(code) = block.strip_prefix(language).and_then(|rest| rest.strip_prefix('\n')) {
            found.push(code);
        }
    }
    found
}

#[test]
fn every_file_opens_with_its_purpose() {
    check(&[".rs"], |_, text| header(text));
}

#[test]
fn no_file_is_longer_than_can_be_read() {
    check(&[".rs"], |_, text| size(text));
}

#[test]
fn no_answer_is_thrown_away() {
    check(&[".rs"], |_, text| discarded_match(text));
}

#[test]
fn nothing_is_put_off() {
    check(&[".rs", ".toml", ".md", ".yml"], |_, text| put_off(text));
}

#[test]
fn what_fuzzers_and_benches_see_nobody_else_does() {
    check(&[".rs"], |_, text| tooling_for_all(text));
}

#[test]
fn crates_name_only_lower_floors() {
    let floors = BTreeMap::from(FLOORS);
    let mut wrong = Vec::new();
    for (path, manifest) in sources(&["Cargo.toml"]) {
        // The root package is the facade: it re-exports every room.
        if let Some(name) = path.strip_suffix("/Cargo.toml").filter(|name| !name.contains('/')) {
            let manifest: String = manifest
                .lines()
                .skip_while(|line| !line.contains("ependencies]"))
                .collect::<Vec<_>>()
                .join("\n");
            wrong.extend(climbs(name, &manifest, &floors));
        }
    }
    for name in WITHOUT_STORE {
        if read(format!("{name}/Cargo.toml")).contains("object_store") {
            wrong.push(format!("{name} knows a store"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_engine_does_not_know_who_uses_it() {
    check(&[".rs"], |path, text| {
        let engine = path.starts_with("forst/src/") && !path.starts_with("forst/src/backend/");
        (engine && text.contains("alluvium_state_api")).then(|| "the engine names state-api".to_owned())
    });
}

#[test]
fn the_readme_shows_the_operator_as_it_is() {
    let (readme, operator) = (read("README.md"), read("cli/src/wordcount/operator.rs"));
    let shown = blocks(&readme, "rust");
    assert!(!shown.is_empty(), "the README shows no operator");
    for code in shown {
        assert!(operator.contains(code), "not in cli/src/wordcount/operator.rs:\n{code}");
    }
}

#[test]
fn the_readmes_commands_are_run_by_ci() {
    let (readme, ci) = (read("README.md"), read(".ci/run"));
    let shown = blocks(&readme, "sh");
    let lines = shown.iter().flat_map(|block| block.lines()).filter(|line| line.starts_with("cargo "));
    let commands: Vec<&str> = lines.map(|line| line.split(" #").next().unwrap_or(line).trim_end()).collect();
    assert!(commands.len() >= 2, "the README's two commands are gone");
    for command in commands {
        assert!(ci.lines().any(|line| line == format!("run {command}")), "not in .ci/run: {command}");
    }
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let tests: String = sources(&[".rs"]).into_iter().map(|(_, text)| text).collect();
    let document = read("docs/invariants.md");
    let mut guarded = 0;
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| invariant")) {
        let names: Vec<&str> =
            line.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test guards: {line}");
        for name in names {
            let function = name.rsplit("::").next().unwrap_or(name);
            assert!(tests.contains(&format!("fn {function}(")), "no test is called {name}");
            guarded += 1;
        }
    }
    assert!(guarded > 0, "docs/invariants.md has no table");
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn documents_point_at_what_exists() {
    let mut wrong = Vec::new();
    for (path, text) in sources(&[".md"]) {
        let folder = Path::new(&path).parent().unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let local = links.filter(|link| !link.is_empty() && !link.contains("://"));
        let linked = local.map(|link| folder.join(link));
        // Paths in backticks are given from the root.
        let code = text.split('`').skip(1).step_by(2).filter(|code| is_rust(code) && code.contains('/'));
        let plain = code.filter(|code| !code.contains(['{', '*', ' '])).map(PathBuf::from);
        for target in linked.chain(plain).filter(|target| !root().join(target).exists()) {
            wrong.push(format!("{path}: {}", target.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_decision_that_is_cited_is_listed() {
    let document = read("docs/decisions.md");
    let listed: BTreeSet<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("## ")?.split_once(':').map(|(decision, _)| decision))
        .collect();
    check(&[".rs", ".md"], |_, text| {
        let unlisted: Vec<_> = decisions(text).difference(&listed).copied().collect();
        (!unlisted.is_empty()).then(|| format!("cites {unlisted:?}, which docs/decisions.md does not have"))
    });
}

#[test]
fn the_rules_can_fail() {
    assert_eq!(decisions("as D7 and D12, (D14); not A-D3, D1x, 0xD5"), BTreeSet::from(["D7", "D12", "D14"]));
    assert!(header("use std::fs;").is_some() && header("//! Reads.\n").is_none());
    assert!(size(&"\n".repeat(601)).is_some() && size(&"\n".repeat(600)).is_none());
    assert!(discarded_match("fn f() {\n    matches!(a, Some((1, _)));\n}").is_some());
    assert!(discarded_match("fn f() -> bool {\n    matches!(a, Some(1))\n}").is_none());
    assert!(discarded_match("    assert!(matches!(a, Some(1)));").is_none());
    assert!(put_off(concat!("// TO", "DO: later")).is_some() && put_off("// done").is_none());
    assert!(tooling_for_all("mod a;\npub mod fuzzing;").is_some());
    assert!(tooling_for_all("#[cfg(fuzzing)]\npub mod benching;").is_some());
    assert!(tooling_for_all("#[cfg(fuzzing)]\npub mod fuzzing;").is_none());
    let floors = BTreeMap::from(FLOORS);
    assert_eq!(climbs("forst", "alluvium-checkpoint.workspace = true", &floors), ["forst names checkpoint"]);
    assert_eq!(climbs("host", "alluvium-cli = { path = \"cli\" }", &floors), ["host names cli"]);
    assert!(climbs("host", "alluvium-forst.workspace = true", &floors).is_empty());
    assert_eq!(climbs("attic", "", &floors), ["attic has no floor in the house"]);
    assert_eq!(blocks("a\n```sh\ncargo x\n```\n```rust\nfn f\n```\n", "rust"), ["fn f\n"]);
}
