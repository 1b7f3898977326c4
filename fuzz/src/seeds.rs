//! What the targets begin with: the golden files, taken apart.
use std::fs;
use std::path::{Path, PathBuf};

use alluvium_checkpoint::fuzzing::{ledger_seed, payloads};
use alluvium_forst::fuzzing::{payload_seeds, seeds};

/// Writes a folder for each target, with what it has to begin with.
pub(crate) fn write(folder: &Path, targets: &[&str]) {
    for target in targets {
        fs::create_dir_all(folder.join(target)).unwrap();
    }
    let mut number = 0;
    let mut keep = |target: &str, seed: &[u8]| {
        number += 1;
        fs::write(folder.join(target).join(format!("golden-{number}")), seed).unwrap();
    };
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")) {
        let object = fs::read(&path).unwrap();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (target, seed) in seeds(&name, &object) {
            keep(target, &seed);
        }
        if let Some(seed) = ledger_seed(&object) {
            keep("ledger", &seed);
            for (target, seed) in payloads(&object).iter().flat_map(|payload| payload_seeds(payload)) {
                keep(target, &seed);
            }
        }
    }
    keep("pointer", &[0, 1, 28, 32, 0, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31, 0]);
    keep("stamps", &[1, 18, 0, 10, 0, 0, 0, 0, 0x68, 0xe5, 0xcf, 0x8b, 1, 0, 0, b'a', b'b', 8, 0, 0, 0]);
    let source = "0105000000000000 00612e747874 0900000000000000 0100000000000000 0000000000000000 0300000000000000 00000000 00000000";
    keep("source", &bytes_of(source));
    // A key, a value with a stamp, and the one state they are of: sums by the second, that expire.
    let operators = "0500 000000016b 1000 01000000000000000000000000000000 0a1d 0801 1208 7265647563696e67 1a07 73756d3a753634 2206 08e807 20c00c 10a40d";
    keep("operators", &bytes_of(operators));
    let page = include_str!("../../docs/formats/savepoint.md");
    let worked = |info: &str| {
        let block = page.split(&format!("```hex {info}\n")).nth(1).unwrap().split("```").next().unwrap();
        block.lines().filter_map(|line| line.split("  ").nth(1)).flat_map(bytes_of).collect::<Vec<u8>>()
    };
    keep("canonical", &worked("payload"));
    let file = worked("file");
    keep("entries", &file[..16]);
    // The first block, as the target takes it: without its stored length and its checksum.
    let end = file.len() - 25;
    keep("entries", &file[16..end]);
    keep("entries", &[&file[16..20], &file[24..end - 4]].concat());
    let page = include_str!("../../docs/formats/hint.md");
    let rows = page.split("```worked\n").nth(1).unwrap().lines().take_while(|row| !row.starts_with("```"));
    let hint = bytes_of(&rows.filter_map(|row| row.split('│').next()).collect::<String>());
    keep("hint", &hint[8..hint.len() - 4]);
    let page = include_str!("../../docs/formats/compaction.md");
    for block in page.split("```worked ").skip(1) {
        let (kind, rows) = block.split_once('\n').unwrap();
        let rows = rows.lines().take_while(|row| !row.starts_with("```"));
        let hex: String = rows.filter_map(|row| row.split('│').next()).collect();
        for (target, seed) in seeds(&format!("worked.{kind}"), &bytes_of(&hex)) {
            keep(target, &seed);
        }
    }
}

/// What hex digits stand for, whatever is between them.
fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
